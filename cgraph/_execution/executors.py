"""The executors of a Graph, for one sample at a time and for many side by side: their steps and their memory."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Sequence

import numpy as np

from cgraph._execution.arena import Arena
from cgraph._execution.learning import Learning
from cgraph._execution.per_sample import PerSampleBuilder
from cgraph._kernels.runtime import plan
from cgraph._kernels.runtime.memory import Memory
from cgraph._kernels.runtime.request import Request
from cgraph._kernels.runtime.step import EXTENT, Operand, Port, RowPort, Step
from cgraph._kernels.runtime.structs import structs
from cgraph._lowering.buffers import Allocator, Use
from cgraph._lowering.fusion import foldable_relus
from cgraph._lowering.lane_steps import LaneBuilder
from cgraph._lowering.layout import LayoutPlan
from cgraph._lowering.pipeline import Lowered
from cgraph._lowering.program import Buffer, FusedGroup, Kind, Program
from cgraph._lowering.sample_steps import SampleBuilder
from cgraph._lowering.stretches import Tiles, join, stretches
from cgraph._lowering.views import find_views, lane_uses
from cgraph._validation import Array
from cgraph.node import Node

MAX_REMEMBERED = 16  # nodes whose steps are remembered

# The steps that compute a node, and the port from which its data are fetched.
StepsToNode = tuple[plan.Steps, Port]


class Executor(ABC):
    """The steps of one layout, and the memory of each thread that runs them.

    Parameters
    ----------
    lanes : int
        The number of samples that lie side by side.
    data, scratch : Allocator
        The regions of memory that each thread needs.
    """

    def __init__(
        self, program: Program, arena: Arena, lanes: int, data: Allocator, scratch: Allocator
    ) -> None:
        self.lanes = lanes
        self.program = program
        self.arena = arena
        self.steps: dict[FusedGroup, Step] = {}
        self.allocators = data, data, scratch
        self._steps_to_node: dict[Node | None, StepsToNode] = {}
        self._ports: dict[Node, Port] = {}
        self._memories: dict[int, Memory] = {}
        self._arrays: list[Array] = []  # kept alive here, since a memory has only their addresses
        # For each thread its last binding, with the node and the leaves that it was made for.
        self._last_bindings: dict[int, tuple[Node | None, Collection[Node], plan.Binding]] = {}

    def binding(self, node: Node | None, fed: Collection[Node], thread: int = 0) -> plan.Binding:
        """Returns the binding that computes a node, or the loss (None), from the fed leaves."""
        last = self._last_bindings.get(thread)
        if last and last[0] is node and last[1] == fed:
            return last[2]
        steps, fetch_port = self._steps_to_node.get(node) or self._find_steps_to(node)
        memory = self._memories.get(thread) or self._add_memory(thread)
        unfed = [] if memory is self.arena.memory else self._unfed_leaves(fed)
        ports = self.feed_ports(fed), fetch_port, unfed
        binding = plan.Binding(steps, memory, self.lanes, *ports, self.arena.memory)
        self._last_bindings[thread] = node, fed, binding
        return binding

    def feed_ports(self, leaves: Iterable[Node]) -> list[Port]:
        """Returns the ports through which leaves are fed."""
        return [self._ports.get(leaf) or self._feed_port(leaf) for leaf in leaves]

    @property
    def nbytes(self) -> int:
        """The bytes of the memory that one more thread needs."""
        return (
            sum(allocator.size for allocator in self.allocators) * self.allocators[0].dtype.itemsize
        )

    @property
    def table_bytes(self) -> int:
        """The bytes of the tables of the steps, which all threads share."""
        return sum(step.table_bytes for step in self.steps.values())

    def _find_steps_to(self, node: Node | None) -> StepsToNode:
        """Finds and remembers the steps that compute a node; for the loss (None), all steps and the seed step."""
        if len(self._steps_to_node) == MAX_REMEMBERED:
            self._steps_to_node.clear()
        if node is None:
            steps = [*self._steps_of(self.program.groups, backward=True), self._seed()]
            port = self._port(self.program.outputs[0])
        else:
            groups = self.program.groups_above(self.program.channel_of[node][0])
            steps = self._steps_of(groups, backward=False)
            port = self._fetch_port(node, steps)
        found = self._steps_to_node[node] = plan.Steps(steps), port
        return found

    def _steps_of(self, groups: Sequence[FusedGroup], backward: bool) -> list[Step]:
        """Returns the steps that compute these groups, for passes with gradients or for forward passes alone."""
        return join(self.program, groups, self.steps, lambda _: self.arena.kernels)

    def _feed_port(self, leaf: Node) -> Port:
        port = self._ports[leaf] = self._port(leaf)
        return port

    def _unfed_leaves(self, fed: Collection[Node]) -> list[tuple[Port, int]]:
        """Returns, for each leaf that is not fed, its port and the offset in bytes of its data in the arena."""
        channel_of, item, fed = self.program.channel_of, self.arena.data.itemsize, set(fed)
        return [
            (self._ports.get(leaf) or self._feed_port(leaf), channel_of[leaf][0].offset * item)
            for leaf in self.program.leaves
            if leaf not in fed
        ]

    def _add_memory(self, thread: int) -> Memory:
        arrays = [allocator.zeros() for allocator in self.allocators]
        self._arrays += arrays
        memory = self._memories[thread] = self.arena.memory_of(thread, *arrays)
        return memory

    def has_buffer_of(self, node: Node | None) -> bool:
        """Returns whether the data of a node are kept, or those of the loss (None)."""
        return True

    @abstractmethod
    def _seed(self) -> Step:
        """Returns the step with which a backward pass begins."""

    @abstractmethod
    def _port(self, node: Node) -> Port:
        """Returns the port of a node that is alone in its buffer."""

    @abstractmethod
    def _fetch_port(self, node: Node, steps: list[Step]) -> Port:
        """Returns the port of any node; appends a step to `steps` where the data must be packed first."""


class SampleExecutor(Executor):
    """Computes one sample at a time; the first thread does so in the nodes' own arrays."""

    def __init__(
        self, lowered: Lowered, arena: Arena, builder: SampleBuilder, steps: dict[FusedGroup, Step]
    ) -> None:
        super().__init__(lowered.program, arena, 1, lowered.data, builder.scratch)
        self.steps = steps
        self._packed_channel_offset = lowered.packed_channel_offset
        self._memories[0] = arena.memory

    def all_steps(self) -> plan.Steps:
        """Returns all steps and the seed step."""
        return self._find_steps_to(None)[0]

    def _seed(self) -> Step:
        buffers = dict.fromkeys(group.buffer for group in self.program.groups)
        return self.seed_step(buffers)

    def seed_step(self, buffers: Iterable[Buffer]) -> Step:
        """Returns the step with which a backward pass through some buffers begins."""
        zeroed = [b for b in buffers if b.zeroed_first]
        firsts, counts = [b.offset for b in zeroed], [b.nodes[0].size * b.pitch for b in zeroed]
        cleared = structs(EXTENT, len(zeroed), first=firsts, count=counts)
        # A loss is the only channel of its buffer, since a sibling of it would not be an ancestor.
        loss = self.program.channel_of[self.program.outputs[0]][0].offset
        return self.arena.kernels.elementwise.SeedStep(loss, cleared)

    def _packing_step(self, buffer: Buffer, channel: int) -> Step:
        """Returns a step that copies one channel of a fused group, contiguously, to a place of its own."""
        sizes = np.array([buffer.nodes[channel].size], np.intp)
        x = data_operand(buffer.offset + channel, buffer.pitch)
        packed = data_operand(self._packed_channel_offset, 1)
        return self.arena.kernels.concatenation.ConcatenationStep([x], sizes, packed)

    def _port(self, node: Node) -> Port:
        item = node.dtype.itemsize
        return RowPort(self.program.channel_of[node][0].offset * item, node.size * item)

    def _fetch_port(self, node: Node, steps: list[Step]) -> Port:
        buffer, channel = self.program.channel_of[node]
        if buffer.pitch == 1:
            return self._port(node)
        steps.append(self._packing_step(buffer, channel))
        item = node.dtype.itemsize
        return RowPort(self._packed_channel_offset * item, node.size * item)


class LaneExecutor(Executor):
    """Computes many samples side by side, in lanes; the groups that a layout excepts take one sample at a time."""

    def __init__(
        self,
        lowered: Lowered,
        layout_plan: LayoutPlan,
        samples: SampleExecutor,
        sample_builder: SampleBuilder,
        lanes: int,
    ) -> None:
        program, arena = lowered.program, samples.arena
        builder = LaneBuilder(
            arena.kernels, lowered.data.dtype, lanes, sample_builder.parameters_offset
        )
        super().__init__(program, arena, lanes, builder.data, builder.scratch)
        self._builder = builder
        per_sample = frozenset(layout_plan.per_sample)
        self._per_sample = PerSampleBuilder(samples, builder, layout_plan)
        relus = foldable_relus(program, per_sample)
        absorbed = {relu.buffer for relu in relus.values()}
        self._absent = absorbed | self._per_sample.inner_buffers
        views = find_views(program, per_sample)
        uses, self._cleared = lane_uses(program, views, lowered.uses)
        without_step = per_sample | {*relus.values()} | views.groups
        for group in program.groups:
            if group.buffer not in self._absent and group.buffer not in views.places:
                builder.allocate(group.buffer)
        for buffer, place in views.places.items():
            builder.place(buffer, *place)
        joins = any(len(part) > 1 for part in stretches(program.groups))
        self._tiles = Tiles(builder.data) if joins else None
        for group in program.groups:
            if group in relus:
                relu = relus[group]
                self.steps[group] = builder.step(group, uses[relu], absorbed=relu)
            elif group.kind is not Kind.LEAF and group not in without_step:
                self.steps[group] = builder.step(group, uses[group])

    def has_buffer_of(self, node: Node | None) -> bool:
        """Returns whether the data of a node are kept; those of a ReLU that is folded into a pooling are not."""
        return node is None or self.program.channel_of[node][0] not in self._absent

    def _steps_of(self, groups: Sequence[FusedGroup], backward: bool) -> list[Step]:
        def joined(part: Sequence[FusedGroup]) -> list[Step]:
            kernels_for = self._builder.kernels_for
            return join(self.program, part, self.steps, kernels_for, self._tiles, backward)

        return self._per_sample.insert(groups, joined)

    def _seed(self) -> Step:
        offsets, lanes = self._builder.offsets, self.lanes
        written = self._per_sample.overwritten_buffers
        zeroed = [b for b in offsets if b in self._cleared and b not in written]
        firsts, counts = [offsets[b] for b in zeroed], [b.size * lanes for b in zeroed]
        cleared = structs(EXTENT, len(zeroed), first=firsts, count=counts)
        loss = offsets[self.program.channel_of[self.program.outputs[0]][0]]
        return self._builder.kernels.elementwise.SeedStep(loss, cleared, lanes)

    def _port(self, node: Node) -> Port:
        buffer, channel = self.program.channel_of[node]
        offset = self._builder.operand(Use(buffer, channel, False)).offset
        return self._builder.lane_kernels.lanes_ports.LanePort(offset, node.size, self.lanes)

    def _fetch_port(self, node: Node, steps: list[Step]) -> Port:
        return self._port(node)


class Executors:
    """All executors of a Graph: one for a sample at a time, and those over lanes, which are made when first needed.

    Parameters
    ----------
    lowered : Lowered
        The program of the Graph, its buffers and its layout.
    samples : SampleExecutor
        The executor for one sample at a time.
    builder : SampleBuilder
        The builder of its steps, which knows the places of the parameters.
    """

    def __init__(self, lowered: Lowered, samples: SampleExecutor, builder: SampleBuilder) -> None:
        self.samples = samples
        self.arena = samples.arena
        self.layouts = lowered.layouts
        self._lowered = lowered
        self._builder = builder
        # The executors over lanes, by their number of lanes, for each layout: for passes with gradients, and without.
        self._lanes: dict[bool, dict[int, LaneExecutor]] = {True: {}, False: {}}
        if self.layouts.backward.has_steps_of(self.layouts.forward):
            self._lanes[False] = self._lanes[True]
        self._choices: dict[tuple[bool, frozenset[int]], tuple[list[Executor], bytes]] = {}
        self._learning: Learning | None = None

    def tell(self, learning: Learning) -> None:
        """Tells the steps of all executors, also of those that are made later, which parameters learn."""
        self._learning = learning
        for executor in (self.samples, *self.lanes):
            learning.tell(executor.steps)

    @property
    def lanes(self) -> list[LaneExecutor]:
        """The executors over lanes that have been made so far."""
        with_gradients, without = self._lanes[True], self._lanes[False]
        more = () if with_gradients is without else without.values()
        return [*with_gradients.values(), *more]

    def layout_of(self, request: Request) -> LayoutPlan:
        """Returns the layout that serves a request."""
        return self._layout(request.backward)

    @property
    def nbytes(self) -> int:
        """The bytes of memory that each thread needs, whatever the number of samples."""
        return sum(executor.nbytes for executor in self._all())

    @property
    def table_bytes(self) -> tuple[int, int]:
        """The bytes of the tables of the steps, which all threads share: for one sample at a time, and over lanes."""
        over_lanes = [executor for executor in self._all() if executor is not self.samples]
        return self.samples.table_bytes, sum(executor.table_bytes for executor in over_lanes)

    def _all(self) -> list[Executor]:
        """Returns the executors for all blocks, or that for single samples, with gradients and without."""
        found = (
            self._executor(backward, lanes)
            for backward in (True, False)
            for lanes in sorted(set(self._layout(backward).blocks) - {1}) or [1]
        )
        return list(dict.fromkeys(found))

    def bind(self, request: Request, thread: int = 0) -> tuple[list[plan.Binding], bytes]:
        """Returns the bindings of a request in the memory of a thread, and the choice of them that a Schedule needs."""
        node, leaves = request.node, request.feeds.leaves
        batch_size = min(request.batch or request.size, request.size)
        layout_plan = self.layout_of(request)
        used = layout_plan.used(batch_size) | layout_plan.used(request.size % batch_size)
        executors, choice = self._chosen(request.backward, frozenset(used))
        if not executors[0].has_buffer_of(node):
            executors, choice = [self.samples], bytes(1)
        return [executor.binding(node, leaves, thread) for executor in executors], choice

    def _chosen(self, backward: bool, used: frozenset[int]) -> tuple[list[Executor], bytes]:
        """Returns the executors for blocks of these lanes, widest first, and which takes how many samples."""
        found = self._choices.get((backward, used))
        if found is None:
            sizes = sorted(used, reverse=True)
            executors = [self._executor(backward, lanes) for lanes in sizes]
            blocks = self._layout(backward).blocks
            choice = bytes(sizes.index(lanes) if lanes in used else 0 for lanes in blocks)
            found = self._choices[backward, used] = executors, choice
        return found

    def _layout(self, backward: bool) -> LayoutPlan:
        return self.layouts.backward if backward else self.layouts.forward

    def _executor(self, backward: bool, lanes: int) -> Executor:
        """Returns the executor for blocks of so many lanes; it is made when it is first needed."""
        if lanes == 1:
            return self.samples
        executor = self._lanes[backward].get(lanes)
        if executor is None:
            layout_plan = self._layout(backward)
            executor = LaneExecutor(self._lowered, layout_plan, self.samples, self._builder, lanes)
            if self._learning is not None:
                self._learning.tell(executor.steps)
            self._lanes[backward][lanes] = executor
        return executor


def data_operand(offset: int, stride: int) -> Operand:
    """Returns an operand of which no gradient is computed."""
    return Operand(
        offset=offset,
        stride=stride,
        accumulate=False,
        requires_grad=False,
        requires_grad_parameters_only=False,
    )
