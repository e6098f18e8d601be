"""The two executors of a Graph, for one sample at a time and for many side by side: their steps and their memory."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable
from typing import NamedTuple

import numpy as np

from cgraph._execution.arena import Arena
from cgraph._kernels import Build
from cgraph._kernels.runtime import plan
from cgraph._kernels.runtime.step import Port, RowPort, Step
from cgraph._lowering.buffers import Allocator, Use
from cgraph._lowering.fusion import foldable_relus
from cgraph._lowering.lane_steps import LaneBuilder
from cgraph._lowering.program import FusedGroup, Kind, Program
from cgraph._lowering.sample_steps import SampleBuilder
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
        self._memories: dict[int, plan.Memory] = {}
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
        return sum(step.table_bytes for step in distinct(self.steps.values()))

    def _find_steps_to(self, node: Node | None) -> StepsToNode:
        """Finds and remembers the steps that compute a node; for the loss (None), all steps and the seed step."""
        if len(self._steps_to_node) == MAX_REMEMBERED:
            self._steps_to_node.clear()
        if node is None:
            steps = [*distinct(self.steps.values()), self._seed()]
            port = self._port(self.program.outputs[0])
        else:
            groups = self.program.groups_above(self.program.channel_of[node][0])
            steps = distinct(self.steps[group] for group in groups if group in self.steps)
            port = self._fetch_port(node, steps)
        found = self._steps_to_node[node] = plan.Steps(steps), port
        return found

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

    def _add_memory(self, thread: int) -> plan.Memory:
        arrays = [allocator.zeros() for allocator in self.allocators]
        self._arrays += arrays
        memory = self._memories[thread] = self.arena.memory_of(thread, *arrays)
        return memory

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
        self,
        program: Program,
        arena: Arena,
        builder: SampleBuilder,
        data: Allocator,
        steps: dict[FusedGroup, Step],
    ) -> None:
        super().__init__(program, arena, 1, data, builder.scratch)
        self.steps = steps
        self._memories[0] = arena.memory

    def all_steps(self) -> plan.Steps:
        """Returns all steps and the seed step."""
        return self._find_steps_to(None)[0]

    def _seed(self) -> Step:
        return self.arena.seed_step()

    def _port(self, node: Node) -> Port:
        item = node.dtype.itemsize
        return RowPort(self.program.channel_of[node][0].offset * item, node.size * item)

    def _fetch_port(self, node: Node, steps: list[Step]) -> Port:
        buffer, channel = self.program.channel_of[node]
        if buffer.pitch == 1:
            return self._port(node)
        steps.append(self.arena.packing_step(buffer, channel))
        item = node.dtype.itemsize
        return RowPort(self.arena.packed_channel_offset * item, node.size * item)


class LaneExecutor(Executor):
    """Computes many samples side by side, in lanes."""

    def __init__(
        self, samples: SampleExecutor, kernels: Build, lowered: SampleLowering, lanes: int
    ) -> None:
        program, arena = samples.program, samples.arena
        builder = LaneBuilder(kernels, program.outputs[0].dtype, lanes, lowered.parameters_offset)
        super().__init__(program, arena, lanes, builder.data, builder.scratch)
        self._builder = builder
        relus = foldable_relus(program)
        self._folded_buffers = {relu.buffer for relu in relus.values()}
        for group in program.groups:
            if group.buffer not in self._folded_buffers:
                builder.allocate(group.buffer)
        for group in program.groups:
            if group in relus:
                relu = relus[group]
                self.steps[group] = builder.step(group, lowered.uses[relu], absorbed=relu)
            elif group.kind is not Kind.LEAF and group.buffer not in self._folded_buffers:
                self.steps[group] = builder.step(group, lowered.uses[group])

    def has_buffer_of(self, node: Node | None) -> bool:
        """Returns whether the data of a node are kept; those of a ReLU that is folded into a pooling are not."""
        return node is None or self.program.channel_of[node][0] not in self._folded_buffers

    def _seed(self) -> Step:
        offsets, lanes = self._builder.offsets, self.lanes
        zeroed_first = [(offsets[b], b.size * lanes) for b in offsets if b.zeroed_first]
        loss = offsets[self.program.channel_of[self.program.outputs[0]][0]]
        rows = np.array(zeroed_first, np.intp).reshape(-1, 2)
        return self._builder.kernels.elementwise.SeedStep(loss, rows, lanes)

    def _port(self, node: Node) -> Port:
        buffer, channel = self.program.channel_of[node]
        offset = self._builder.operand(Use(buffer, channel, False)).offset
        return self._builder.kernels.lanes_ports.LanePort(offset, node.size, self.lanes)

    def _fetch_port(self, node: Node, steps: list[Step]) -> Port:
        return self._port(node)


class SampleLowering(NamedTuple):
    """The results of lowering to steps for one sample that the steps over lanes share."""

    uses: dict[FusedGroup, list[Use]]
    parameters_offset: dict[FusedGroup, int]


def distinct(steps: Iterable[Step]) -> list[Step]:
    """Returns each step once, in order; a step may compute several fused groups."""
    return list(dict.fromkeys(steps))
