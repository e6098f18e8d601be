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
from cgraph._lowering.buffers import Access, Region
from cgraph._lowering.fusion import rectifiers
from cgraph._lowering.lane_steps import LaneBuilder
from cgraph._lowering.program import Kind, Program, Unit
from cgraph._lowering.sample_steps import Builder
from cgraph._validation import Array
from cgraph.node import Node

MOST_PARTS = 16  # of a graph that are remembered, for one node each

# Steps, and where they leave what was asked for.
Part = tuple[plan.Steps, Port]


class Way(ABC):
    """The steps of one layout, and the memory of each thread that runs them.

    Parameters
    ----------
    lanes : int
        How many samples lie side by side.
    data, scratch : Region
        What a thread needs.
    """

    def __init__(
        self, program: Program, arena: Arena, lanes: int, data: Region, scratch: Region
    ) -> None:
        self.lanes = lanes
        self.program = program
        self.arena = arena
        self.steps: dict[Unit, Step] = {}
        self.regions = data, data, scratch
        self._parts: dict[Node | None, Part] = {}
        self._ports: dict[Node, Port] = {}
        self._memories: dict[int, plan.Memory] = {}
        self._arrays: list[Array] = []  # which the memories know by their addresses alone
        # What each thread's route was asked for last, and was.
        self._latest: dict[int, tuple[Node | None, Collection[Node], plan.Route]] = {}

    def route(self, target: Node | None, fed: Collection[Node], thread: int = 0) -> plan.Route:
        """From the fed leaves to a node, or to the loss, in the memory of a thread."""
        latest = self._latest.get(thread)
        if latest and latest[0] is target and latest[1] == fed:
            return latest[2]
        steps, outlet = self._parts.get(target) or self._find(target)
        memory = self._memories.get(thread) or self._add_memory(thread)
        kept = [] if memory is self.arena.memory else self._kept(fed)
        ports = self.inlets(fed), outlet, kept
        route = plan.Route(steps, memory, self.lanes, *ports, self.arena.memory)
        self._latest[thread] = target, fed, route
        return route

    def inlets(self, leaves: Iterable[Node]) -> list[Port]:
        """Where the data of leaves lie."""
        return [self._ports.get(leaf) or self._inlet(leaf) for leaf in leaves]

    @property
    def nbytes(self) -> int:
        """What the memory of one more thread takes."""
        return sum(region.size for region in self.regions) * self.regions[0].dtype.itemsize

    @property
    def table_bytes(self) -> int:
        """What the tables of the steps take, which all threads read."""
        return sum(step.table_bytes for step in distinct(self.steps.values()))

    def _find(self, target: Node | None) -> Part:
        if len(self._parts) == MOST_PARTS:
            self._parts.clear()
        if target is None:
            steps = [*distinct(self.steps.values()), self._end()]
            port = self._port(self.program.outputs[0])
        else:
            above = self.program.units_above(self.program.where[target][0])
            steps = distinct(self.steps[unit] for unit in above if unit in self.steps)
            port = self._outlet(target, steps)
        part = self._parts[target] = plan.Steps(steps), port
        return part

    def _inlet(self, leaf: Node) -> Port:
        port = self._ports[leaf] = self._port(leaf)
        return port

    def _kept(self, fed: Collection[Node]) -> list[tuple[Port, int]]:
        """The leaves that are not fed: their data are those of the graph's nodes."""
        where, item, known = self.program.where, self.arena.data.itemsize, set(fed)
        return [
            (self._ports.get(leaf) or self._inlet(leaf), where[leaf][0].at * item)
            for leaf in self.program.leaves
            if leaf not in known
        ]

    def _add_memory(self, thread: int) -> plan.Memory:
        arrays = [region.allocate() for region in self.regions]
        self._arrays += arrays
        memory = self._memories[thread] = self.arena.memory_of(thread, *arrays)
        return memory

    @abstractmethod
    def _end(self) -> Step:
        """The last step, with which a backward pass begins."""

    @abstractmethod
    def _port(self, node: Node) -> Port:
        """Where the data of a node lie that is alone in its block."""

    @abstractmethod
    def _outlet(self, node: Node, steps: list[Step]) -> Port:
        """Where the data of any node lie, perhaps after one more step."""


class Samples(Way):
    """One sample at a time; the first thread works where the nodes' own arrays lie."""

    def __init__(
        self,
        program: Program,
        arena: Arena,
        builder: Builder,
        data: Region,
        steps: dict[Unit, Step],
    ) -> None:
        super().__init__(program, arena, 1, data, builder.scratch)
        self.steps = steps
        self._memories[0] = arena.memory

    def whole(self) -> plan.Steps:
        """All steps."""
        return self._find(None)[0]

    def _end(self) -> Step:
        return self.arena.end_step()

    def _port(self, node: Node) -> Port:
        item = node.dtype.itemsize
        return RowPort(self.program.where[node][0].at * item, node.size * item)

    def _outlet(self, node: Node, steps: list[Step]) -> Port:
        block, channel = self.program.where[node]
        if block.pitch == 1:
            return self._port(node)
        steps.append(self.arena.packing(block, channel))
        return RowPort(self.arena.transfer * node.dtype.itemsize, node.size * node.dtype.itemsize)


class Lanes(Way):
    """Many samples side by side."""

    def __init__(self, samples: Samples, kernels: Build, layout: Lowered, lanes: int) -> None:
        program, arena = samples.program, samples.arena
        builder = LaneBuilder(kernels, program.outputs[0].dtype, lanes, layout.values_at)
        super().__init__(program, arena, lanes, builder.data, builder.scratch)
        self._builder = builder
        relus = rectifiers(program, program.units)
        self._folded = {relu.block for relu in relus.values()}
        for unit in program.units:
            if unit.block not in self._folded:
                builder.take(unit.block)
        for unit in program.units:
            if unit in relus:
                self.steps[unit] = builder.rectified(unit, layout.accesses[relus[unit]][0])
            elif unit.kind is not Kind.LEAF and unit.block not in self._folded:
                self.steps[unit] = builder.step(unit, layout.accesses[unit])

    def reaches(self, target: Node | None) -> bool:
        """Whether the data of a node lie side by side: all but those of ReLUs that go with a pooling."""
        return target is None or self.program.where[target][0] not in self._folded

    def _end(self) -> Step:
        at, size = self._builder.at, self.lanes
        cleared = [(at[b], b.size * size) for b in at if b.cleared]
        loss = at[self.program.where[self.program.outputs[0]][0]]
        rows = np.array(cleared, np.intp).reshape(-1, 2)
        return self._builder.kernels.elementwise.EndStep(loss, rows, size)

    def _port(self, node: Node) -> Port:
        block, channel = self.program.where[node]
        at = self._builder.place(Access(block, channel, False)).at
        return self._builder.kernels.lanes_ports.LanePort(at, node.size, self.lanes)

    def _outlet(self, node: Node, steps: list[Step]) -> Port:
        return self._port(node)


class Lowered(NamedTuple):
    """What steps over lanes share with those of one sample."""

    accesses: dict[Unit, list[Access]]
    values_at: dict[Unit, int]


def distinct(steps: Iterable[Step]) -> list[Step]:
    """Each step once, in order."""
    return list(dict.fromkeys(steps))
