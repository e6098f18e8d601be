"""The executors of a Graph, for one sample at a time and for many side by side: their steps and their memory."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Sequence
from functools import cached_property

from cgraph._execution.arena import Arena
from cgraph._execution.goals import LOSS, Goal
from cgraph._execution.per_sample import PerSampleBuilder
from cgraph._kernels.runtime import plan
from cgraph._kernels.runtime.memory import Memory
from cgraph._kernels.runtime.step import (
    EXTENT,
    SEED,
    ChannelPort,
    GivenSeedStep,
    Port,
    RowPort,
    Step,
)
from cgraph._kernels.runtime.structs import structs
from cgraph._lowering.buffers import Allocator, Use
from cgraph._lowering.fusion import foldable_relus
from cgraph._lowering.lane_steps import LaneBuilder
from cgraph._lowering.layout import LayoutPlan
from cgraph._lowering.pipeline import Lowered
from cgraph._lowering.program import Buffer, FusedGroup, Kind
from cgraph._lowering.sample_steps import SampleBuilder
from cgraph._lowering.stretches import Tiles, join, stretches
from cgraph._lowering.views import find_views, lane_uses
from cgraph._validation import Array
from cgraph.node import Node

MAX_REMEMBERED = 16  # goals whose steps are remembered

# The steps that lead to a goal, and the ports from which its data are fetched.
StepsToGoal = tuple[plan.Steps, list[Port]]


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
        self, lowered: Lowered, arena: Arena, lanes: int, data: Allocator, scratch: Allocator
    ) -> None:
        self.lanes = self.block = lanes  # the lanes, and the number of samples that fill them
        self.program = lowered.program
        self.seeds, self.asides = lowered.seeds, lowered.asides
        self.arena = arena
        self.steps: dict[FusedGroup, Step] = {}
        self.allocators = data, data, scratch
        self._steps_to: dict[Goal, StepsToGoal] = {}
        self._ports: dict[Node, Port] = {}
        self._memories: dict[int, Memory] = {}
        self._arrays: list[Array] = []  # kept alive here, since a memory has only their addresses
        # For each thread its last binding, with the goal and the leaves that it was made for.
        self._last_bindings: dict[int, tuple[Goal, Collection[Node], plan.Binding]] = {}

    def binding(self, goal: Goal, fed: Collection[Node], thread: int = 0) -> plan.Binding:
        """Returns the binding that leads to a goal from the fed leaves."""
        last = self._last_bindings.get(thread)
        if last and last[0] == goal and last[1] == fed:
            return last[2]
        steps, fetch_ports = self._steps_to.get(goal) or self._find_steps_to(goal)
        memory = self._memories.get(thread) or self._add_memory(thread)
        carried = self.program.carried if goal.carries else {}
        unfed = self._unfed_leaves({*fed, *carried}) if thread or self.lanes > 1 else []
        feed_ports = self.feed_ports(fed) + [self._seed_port(node) for node in goal.seeds or ()]
        ports = feed_ports, fetch_ports, unfed
        carry = self._carry if carried else None, self.feed_ports(carried)
        binding = plan.Binding(steps, memory, self.block, *ports, self.arena.memory, *carry)
        self._last_bindings[thread] = goal, fed, binding
        return binding

    def feed_ports(self, leaves: Iterable[Node]) -> list[Port]:
        """Returns the ports through which leaves are fed."""
        return [self._ports.get(leaf) or self._feed_port(leaf) for leaf in leaves]

    @property
    def nbytes(self) -> int:
        """The bytes of the memory that one more thread needs."""
        return sum(each.size * each.dtype.itemsize for each in self.allocators)

    @property
    def table_bytes(self) -> int:
        """The bytes of the tables of the steps, which all threads share."""
        return sum(step.table_bytes for step in self.steps.values())

    def _find_steps_to(self, goal: Goal) -> StepsToGoal:
        """Finds and remembers the steps that lead to a goal; for a backward pass, all steps and the seed step."""
        if len(self._steps_to) == MAX_REMEMBERED:
            self._steps_to.clear()
        node, seeds, others, carries = goal
        if node is None or seeds is not None:
            steps = [*self._steps_of(self.program.groups, seeds, True), self._seed(seeds)]
        else:
            needed = [node, *others, *(self.program.carried.values() if carries else ())]
            buffers = (self.program.channel_of[each][0] for each in needed)
            groups = self.program.groups_above(*buffers)
            steps = self._steps_of(groups, seeds, False, needed)
        ports = [self._port(each) for each in (node or self.program.outputs[0], *others)]
        found = self._steps_to[goal] = plan.Steps(steps), ports
        return found

    def _steps_of(
        self,
        groups: Sequence[FusedGroup],
        seeds: Sequence[Node] | None,
        backward: bool,
        asked: Sequence[Node] = (),
    ) -> list[Step]:
        """Returns the steps that compute these groups, for passes with gradients or without; `seeds` as in a Goal.

        asked: the nodes whose data a pass without gradients keeps.
        """
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

    @cached_property
    def _carry(self) -> plan.CarryStep:
        """The step that moves the data of carried nodes to their leaves after each sample."""
        copies = [
            (*self._elements(node), self._elements(leaf)[0], self._aside(leaf))
            for leaf, node in self.program.carried.items()
        ]
        targets = [range(target, target + count) for _, _, count, target, _ in copies]
        rows = []
        for first, pitch, count, target, aside in copies:
            last = first + (count - 1) * pitch
            waits = any(first < each.stop and each.start <= last for each in targets)
            rows.append((first, pitch, count, target, aside if waits else -1))
        columns = dict(zip(plan.CARRY_COPY.names or (), zip(*rows, strict=True), strict=True))
        copied = structs(plan.CARRY_COPY, len(rows), **columns)
        return plan.CarryStep(copied, self.arena.data.itemsize)

    def has_buffers_for(self, goal: Goal) -> bool:
        """Returns whether the data of all nodes of a goal are kept."""
        return True

    @abstractmethod
    def _elements(self, node: Node) -> tuple[int, int, int]:
        """Returns where data of a node lie: the first element, from one to the next, and the number of elements."""

    @abstractmethod
    def _aside(self, leaf: Node) -> int:
        """Returns where new data of a carried leaf may wait."""

    @abstractmethod
    def _seed(self, seeds: Sequence[Node] | None) -> Step:
        """Returns the step with which a backward pass begins; `seeds` as in a Goal."""

    @abstractmethod
    def _port(self, node: Node) -> Port:
        """Returns the port of a node."""

    @abstractmethod
    def _seed_port(self, node: Node) -> Port:
        """Returns the port through which the gradient of an output is fed."""


class SampleExecutor(Executor):
    """Computes one sample at a time; the first thread does so in the nodes' own arrays."""

    def __init__(
        self, lowered: Lowered, arena: Arena, builder: SampleBuilder, steps: dict[FusedGroup, Step]
    ) -> None:
        super().__init__(lowered, arena, 1, lowered.data, builder.scratch)
        self.steps = steps
        self._memories[0] = arena.memory

    def all_steps(self) -> plan.Steps:
        """Returns all steps and the seed step."""
        return self._find_steps_to(LOSS)[0]

    def _seed(self, seeds: Sequence[Node] | None) -> Step:
        buffers = dict.fromkeys(group.buffer for group in self.program.groups)
        return self.seed_step(buffers, seeds)

    def seed_step(self, buffers: Iterable[Buffer], seeds: Sequence[Node] | None) -> Step:
        """Returns the step with which a backward pass through some buffers begins; `seeds` as in a Goal."""
        channels = [self.program.channel_of[node] for node in seeds or ()]
        seeded = {buffer for buffer, _ in channels}
        zeroed = [b for b in buffers if b.zeroed_first or b in seeded]
        firsts, counts = [b.offset for b in zeroed], [b.nodes[0].size * b.pitch for b in zeroed]
        cleared = structs(EXTENT, len(zeroed), first=firsts, count=counts)
        if seeds is None:
            loss, _, _ = self._elements(self.program.outputs[0])
            return self.arena.kernels.elementwise.SeedStep(loss, cleared)
        given = structs(
            SEED,
            len(seeds),
            source=[self.seeds[node].offset for node in seeds],
            first=[buffer.offset + channel for buffer, channel in channels],
            pitch=[buffer.pitch for buffer, _ in channels],
            count=[node.size for node in seeds],
        )
        return GivenSeedStep(cleared, given, self.arena.data.itemsize)

    def _elements(self, node: Node) -> tuple[int, int, int]:
        buffer, channel = self.program.channel_of[node]
        return buffer.offset + channel, buffer.pitch, node.size

    def _aside(self, leaf: Node) -> int:
        return self.asides[leaf].offset

    def _port(self, node: Node) -> Port:
        item = node.dtype.itemsize
        first, pitch, size = self._elements(node)
        if pitch == 1:
            return RowPort(first * item, size * item)
        return ChannelPort(first * item, size, pitch * item, item)

    def _seed_port(self, node: Node) -> Port:
        item = node.dtype.itemsize
        return RowPort(self.seeds[node].offset * item, node.size * item)


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
        super().__init__(lowered, arena, lanes, builder.data, builder.scratch)
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
        self._data_buffers = list(builder.offsets)
        for buffer in (*lowered.seeds.values(), *lowered.asides.values()):
            builder.allocate(buffer)
        joins = any(len(part) > 1 for part in stretches(program.groups))
        self._tiles = Tiles(builder.data) if joins else None
        for group in program.groups:
            if group in relus:
                relu = relus[group]
                self.steps[group] = builder.step(group, uses[relu], absorbed=relu)
            elif group.kind is not Kind.LEAF and group not in without_step:
                self.steps[group] = builder.step(group, uses[group])

    def has_buffers_for(self, goal: Goal) -> bool:
        """Returns whether the data of all nodes are kept; those of a ReLU that is folded into a pooling are not."""
        carried = self.program.carried.values() if goal.carries else ()
        nodes = [node for node in (goal.node, *goal.others, *carried) if node]
        return self._absent.isdisjoint(self.program.channel_of[node][0] for node in nodes)

    def _steps_of(
        self,
        groups: Sequence[FusedGroup],
        seeds: Sequence[Node] | None,
        backward: bool,
        asked: Sequence[Node] = (),
    ) -> list[Step]:
        def joined(part: Sequence[FusedGroup]) -> list[Step]:
            kernels_for = self._builder.kernels_for
            return join(self.program, part, self.steps, kernels_for, self._tiles, backward, asked)

        return self._per_sample.insert(groups, joined, seeds)

    def _seed(self, seeds: Sequence[Node] | None) -> Step:
        offsets, lanes, channel_of = self._builder.offsets, self.lanes, self.program.channel_of
        elsewhere = self._per_sample.seeded_here(seeds or ())
        here = [node for node in seeds or () if node not in elsewhere]
        begins = self._cleared | {channel_of[node][0] for node in here}
        written = self._per_sample.overwritten_buffers
        zeroed = [b for b in self._data_buffers if b in begins and b not in written]
        firsts, counts = [offsets[b] for b in zeroed], [b.size * lanes for b in zeroed]
        cleared = structs(EXTENT, len(zeroed), first=firsts, count=counts)
        if seeds is None:
            loss = self.offset(self.program.outputs[0])
            return self._builder.kernels.elementwise.SeedStep(loss, cleared, lanes)
        given = structs(
            SEED,
            len(here),
            source=[offsets[self.seeds[node]] for node in here],
            first=[self.offset(node) for node in here],
            pitch=1,
            count=[node.size * lanes for node in here],
        )
        return GivenSeedStep(cleared, given, self.arena.data.itemsize)

    def offset(self, node: Node) -> int:
        """Returns the offset of the data of a node."""
        buffer, channel = self.program.channel_of[node]
        return self._builder.operand(Use(buffer, channel, False)).offset

    def _elements(self, node: Node) -> tuple[int, int, int]:
        return self.offset(node), 1, node.size * self.lanes

    def _aside(self, leaf: Node) -> int:
        return self._builder.offsets[self.asides[leaf]]

    def _port(self, node: Node) -> Port:
        return self._lane_port(self.offset(node), node)

    def _seed_port(self, node: Node) -> Port:
        return self._lane_port(self._builder.offsets[self.seeds[node]], node)

    def _lane_port(self, offset: int, node: Node) -> Port:
        return self._builder.lane_kernels.elementwise.LanePort(offset, node.size, self.lanes)
