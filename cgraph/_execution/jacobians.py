"""The Jacobians of a Graph: the executors and the batches that compute the derivatives of a node by a leaf."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, NamedTuple

from cgraph._execution.batches import Batches
from cgraph._execution.choice import Executors
from cgraph._execution.executable import Executable
from cgraph._execution.executors import (
    Executor,
    LaneExecutor,
    SampleExecutor,
    StepsToGoal,
)
from cgraph._execution.goals import Goal
from cgraph._execution.learning import Learning
from cgraph._execution.residency import add_python_sums
from cgraph._execution.trajectory import with_states
from cgraph._kernels.runtime import plan
from cgraph._kernels.runtime.request import Feeds, Request
from cgraph._kernels.runtime.step import EXTENT, Port
from cgraph._kernels.runtime.structs import structs
from cgraph._kernels.runtime.uninterrupted import Snapshot
from cgraph._lowering.jacobian import lower_jacobian
from cgraph._lowering.layout import Layouts
from cgraph._lowering.pipeline import Lowered
from cgraph._lowering.program import Kind
from cgraph._lowering.sample_steps import SampleBuilder
from cgraph._validation import Array
from cgraph.node import Node

MAX_REMEMBERED = 8  # pairs of a node and a leaf


class JacobianExecutor(Executor):
    """An executor whose goal is the Jacobian of the only output by the only leaf whose gradient is required.

    Attributes
    ----------
    seeds_at_once : int
        How many backward passes of one sample run side by side.
    aside : int
        The offset in the scratch at which the gradients of several samples have room.
    """

    seeds_at_once = 1
    aside = 0

    @property
    def leaf(self) -> Node:
        """The leaf by which the output is differentiated."""
        channel_of = self.program.channel_of
        (leaf,) = (x for x in self.program.leaves if channel_of[x][0].requires_grad[0])
        return leaf

    def _find_steps_to(self, goal: Goal) -> StepsToGoal:
        """Finds and remembers all steps, with a port that runs those between leaf and output backward."""
        groups, (node,) = self.program.groups, self.program.outputs
        steps = self._steps_of(groups, None, True)
        others = {self.steps.get(g) for g in groups if not g.buffer.requires_grad[0]}
        first, pitch = self._place(node)
        port = plan.JacobianPort(
            plan.Steps([step for step in steps if step not in others]),
            self._seed(()),
            self._port(self.leaf),
            first=first,
            pitch=pitch,
            size=node.size,
            lanes=self.lanes,
            seeds=self.seeds_at_once,
            aside=self.aside,
            item=node.dtype.itemsize,
        )
        found = self._steps_to[goal] = plan.Steps(steps), [port]
        return found

    @abstractmethod
    def _place(self, node: Node) -> tuple[int, int]:
        """Returns the offset of the first element of a node, and the distance from one to the next."""


class JacobianSamples(JacobianExecutor, SampleExecutor):
    """Computes the Jacobian of one sample at a time; the first thread does so in the nodes' own arrays.

    The scratch is its own in that thread, too: steps keep zeros there, the padding of images say.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        arena, scratch = self.arena, self.allocators[-1].zeros()
        self._arrays.append(scratch)
        self._memories[0] = arena.memory_of(0, arena.data, arena.grad, scratch)

    def _place(self, node: Node) -> tuple[int, int]:
        buffer, channel = self.program.channel_of[node]
        return buffer.offset + channel, buffer.pitch


class JacobianLanes(JacobianExecutor, LaneExecutor):
    """Computes the Jacobians of many samples side by side, one row after the other."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.aside = self._builder.scratch.allocate(self.leaf.size * self.lanes)

    def _place(self, node: Node) -> tuple[int, int]:
        return self.offset(node), self.lanes


class JacobianSeeds(JacobianLanes):
    """Computes the Jacobian of one sample at a time, which fills all lanes: many rows side by side."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.block, self.seeds_at_once = 1, self.lanes

    def _feed_port(self, leaf: Node) -> Port:
        valid = min(self.lanes, self.program.outputs[0].size)
        port = self._ports[leaf] = plan.BroadcastPort(self._port(leaf), valid)
        return port


class SeedBatches(Batches):
    """Runs requests whose samples fill all lanes one after the other, so that threads may share them anywhere."""

    def _share_unit(self, request: Request, count: int) -> int:
        return 1


class Jacobian(NamedTuple):
    """What computes one Jacobian: samples side by side or, of few samples, rows."""

    by_samples: Batches
    by_seeds: Batches | None
    most_by_seeds: int


class Jacobians:
    """The Jacobians of a Graph, of which those that were asked for last are remembered.

    Its methods are parts of calls of the Graph that have begun.
    """

    def __init__(self, executable: Executable) -> None:
        self._executable = executable
        self._found: dict[tuple[Node, Node], Jacobian] = {}

    def compute(self, node: Node, leaf: Node, feeds: Feeds, out: Array) -> Array:
        """Computes the Jacobians of a node by a leaf into `out`, a row for each sample, and returns it."""
        executable = self._executable
        if feeds.size == 0:
            executable.skip(feeds)
            return out
        feeds = with_states(executable, feeds, node)
        batches, request = self._batches(node, leaf, feeds.size), Request(node, feeds, out)
        schedule = plan.find(batches.schedules, request) or batches.add_schedule(request)
        if batches.calls_python:
            snapshot = Snapshot()
            add_python_sums(executable.python_nodes, snapshot)
            executable.set_aside = snapshot
        executable.begin_run(request, active=False)
        batches.run(request, schedule, executable.update_steps, False, None)
        executable.end_run(request, schedule.one_by_one)
        executable.allow_backward("zero", node)
        return out

    def _batches(self, node: Node, leaf: Node, count: int) -> Batches:
        """Returns what computes the Jacobians of a node by a leaf for so many samples."""
        found = self._found.get((node, leaf))
        if found is None:
            made = self._make(node, leaf)
            if len(self._found) == MAX_REMEMBERED:
                self._found.clear()
            found = self._found[node, leaf] = made
        by_seeds = found.by_seeds if count <= found.most_by_seeds else None
        return by_seeds or found.by_samples

    def _make(self, node: Node, leaf: Node) -> Jacobian:
        executable, arena = self._executable, self._executable.arena
        whole, threads = executable.executors.lowered, executable.batches.threads
        lowered, originals, seeds, most = lower_jacobian(whole, node, leaf)
        groups = [group for group in lowered.program.groups if group.kind is not Kind.LEAF]
        offsets = executable.executors.builder.parameters_offset
        known = {own: offsets[other] for own, other in originals.items() if other in offsets}
        builder = SampleBuilder(arena.kernels, executable.dtype, {}, parameters_offset=known)
        steps = {group: builder.step(group, lowered.uses[group]) for group in groups}
        samples = JacobianSamples(lowered, arena, builder, steps)
        none, no_flags = (
            structs(EXTENT, 0, first=[], count=[]),
            dict.fromkeys(groups, [(False, False)] * 2),
        )
        nothing_learns = Learning(no_flags, none, False, frozenset())

        def executors(lowered: Lowered, lane_type: type[LaneExecutor]) -> Executors:
            result = Executors(lowered, samples, builder)
            result.lane_type = lane_type
            result.tell(nothing_learns)
            return result

        calls_python = any(group.kind is Kind.PYTHON for group in groups)
        by_samples = Batches(executors(lowered, JacobianLanes), threads, calls_python)
        if seeds is None:
            return Jacobian(by_samples, None, 0)
        lowered = lowered._replace(layouts=Layouts(seeds, seeds))
        by_seeds = SeedBatches(executors(lowered, JacobianSeeds), threads, False)
        return Jacobian(by_samples, by_seeds, most)
