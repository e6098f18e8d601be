"""Two ways for samples through a Graph: one at a time, or many side by side; their steps and their memory."""

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
from cgraph._lowering.fusion import rectifiers
from cgraph._lowering.lane_steps import LaneBuilder
from cgraph._lowering.program import FusedGroup, Kind, Program
from cgraph._lowering.sample_steps import Builder
from cgraph._validation import Array
from cgraph.node import Node

MOST_PARTS = 16  # of a graph that are remembered, for one node each

# Steps, and where they leave what was asked for.
Part = tuple[plan.Steps, Port]


class Executor(ABC):
    """The steps of one layout, and the memory of each thread that runs them.

    Parameters
    ----------
    lanes : int
        How many samples lie side by side.
    data, scratch : Region
        What a thread needs.
    """

    def __init__(
        self, program: Program, arena: Arena, lanes: int, data: Allocator, scratch: Allocator
    ) -> None:
        self.lanes = lanes
        self.program = program
        self.arena = arena
        self.steps: dict[FusedGroup, Step] = {}
        self.allocators = data, data, scratch
        self._parts: dict[Node | None, Part] = {}
        self._ports: dict[Node, Port] = {}
        self._memories: dict[int, plan.Memory] = {}
        self._arrays: list[Array] = []  # which the memories know by their addresses alone
        # What each thread's route was asked for last, and was.
        self._latest: dict[int, tuple[Node | None, Collection[Node], plan.Binding]] = {}

    def binding(self, target: Node | None, fed: Collection[Node], thread: int = 0) -> plan.Binding:
        """From the fed leaves to a node, or to the loss, in the memory of a thread."""
        latest = self._latest.get(thread)
        if latest and latest[0] is target and latest[1] == fed:
            return latest[2]
        steps, fetch_port = self._parts.get(target) or self._find(target)
        memory = self._memories.get(thread) or self._add_memory(thread)
        kept = [] if memory is self.arena.memory else self._kept(fed)
        ports = self.feed_ports(fed), fetch_port, kept
        binding = plan.Binding(steps, memory, self.lanes, *ports, self.arena.memory)
        self._latest[thread] = target, fed, binding
        return binding

    def feed_ports(self, leaves: Iterable[Node]) -> list[Port]:
        """Where the data of leaves lie."""
        return [self._ports.get(leaf) or self._feed_port(leaf) for leaf in leaves]

    @property
    def nbytes(self) -> int:
        """What the memory of one more thread takes."""
        return (
            sum(allocator.size for allocator in self.allocators) * self.allocators[0].dtype.itemsize
        )

    @property
    def table_bytes(self) -> int:
        """What the tables of the steps take, which all threads read."""
        return sum(step.table_bytes for step in distinct(self.steps.values()))

    def _find(self, target: Node | None) -> Part:
        if len(self._parts) == MOST_PARTS:
            self._parts.clear()
        if target is None:
            steps = [*distinct(self.steps.values()), self._seed()]
            port = self._port(self.program.outputs[0])
        else:
            above = self.program.groups_above(self.program.where[target][0])
            steps = distinct(self.steps[group] for group in above if group in self.steps)
            port = self._fetch_port(target, steps)
        part = self._parts[target] = plan.Steps(steps), port
        return part

    def _feed_port(self, leaf: Node) -> Port:
        port = self._ports[leaf] = self._port(leaf)
        return port

    def _kept(self, fed: Collection[Node]) -> list[tuple[Port, int]]:
        """The leaves that are not fed: their data are those of the graph's nodes."""
        where, item, known = self.program.where, self.arena.data.itemsize, set(fed)
        return [
            (self._ports.get(leaf) or self._feed_port(leaf), where[leaf][0].offset * item)
            for leaf in self.program.leaves
            if leaf not in known
        ]

    def _add_memory(self, thread: int) -> plan.Memory:
        arrays = [allocator.zeros() for allocator in self.allocators]
        self._arrays += arrays
        memory = self._memories[thread] = self.arena.memory_of(thread, *arrays)
        return memory

    @abstractmethod
    def _seed(self) -> Step:
        """The last step, with which a backward pass begins."""

    @abstractmethod
    def _port(self, node: Node) -> Port:
        """Where the data of a node lie that is alone in its block."""

    @abstractmethod
    def _fetch_port(self, node: Node, steps: list[Step]) -> Port:
        """Where the data of any node lie, perhaps after one more step."""


class SampleExecutor(Executor):
    """One sample at a time; the first thread works where the nodes' own arrays lie."""

    def __init__(
        self,
        program: Program,
        arena: Arena,
        builder: Builder,
        data: Allocator,
        steps: dict[FusedGroup, Step],
    ) -> None:
        super().__init__(program, arena, 1, data, builder.scratch)
        self.steps = steps
        self._memories[0] = arena.memory

    def whole(self) -> plan.Steps:
        """All steps."""
        return self._find(None)[0]

    def _seed(self) -> Step:
        return self.arena.seed_step()

    def _port(self, node: Node) -> Port:
        item = node.dtype.itemsize
        return RowPort(self.program.where[node][0].offset * item, node.size * item)

    def _fetch_port(self, node: Node, steps: list[Step]) -> Port:
        buffer, channel = self.program.where[node]
        if buffer.pitch == 1:
            return self._port(node)
        steps.append(self.arena.packing(buffer, channel))
        return RowPort(self.arena.transfer * node.dtype.itemsize, node.size * node.dtype.itemsize)


class LaneExecutor(Executor):
    """Many samples side by side."""

    def __init__(
        self, samples: SampleExecutor, kernels: Build, layout: Lowered, lanes: int
    ) -> None:
        program, arena = samples.program, samples.arena
        builder = LaneBuilder(kernels, program.outputs[0].dtype, lanes, layout.parameters_offset)
        super().__init__(program, arena, lanes, builder.data, builder.scratch)
        self._builder = builder
        relus = rectifiers(program, program.groups)
        self._folded = {relu.buffer for relu in relus.values()}
        for group in program.groups:
            if group.buffer not in self._folded:
                builder.place(group.buffer)
        for group in program.groups:
            if group in relus:
                self.steps[group] = builder.rectified(group, layout.uses[relus[group]][0])
            elif group.kind is not Kind.LEAF and group.buffer not in self._folded:
                self.steps[group] = builder.step(group, layout.uses[group])

    def reaches(self, target: Node | None) -> bool:
        """Whether the data of a node lie side by side: all but those of ReLUs that go with a pooling."""
        return target is None or self.program.where[target][0] not in self._folded

    def _seed(self) -> Step:
        at, size = self._builder.offsets, self.lanes
        cleared = [(at[b], b.size * size) for b in at if b.cleared]
        loss = at[self.program.where[self.program.outputs[0]][0]]
        rows = np.array(cleared, np.intp).reshape(-1, 2)
        return self._builder.kernels.elementwise.SeedStep(loss, rows, size)

    def _port(self, node: Node) -> Port:
        buffer, channel = self.program.where[node]
        at = self._builder.operand(Use(buffer, channel, False)).offset
        return self._builder.kernels.lanes_ports.LanePort(at, node.size, self.lanes)

    def _fetch_port(self, node: Node, steps: list[Step]) -> Port:
        return self._port(node)


class Lowered(NamedTuple):
    """What steps over lanes share with those of one sample."""

    uses: dict[FusedGroup, list[Use]]
    parameters_offset: dict[FusedGroup, int]


def distinct(steps: Iterable[Step]) -> list[Step]:
    """Each step once, in order."""
    return list(dict.fromkeys(steps))
