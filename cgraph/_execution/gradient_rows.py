"""The gradient of each sample of a batch alone, as a row of an array."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from cgraph._execution.batches import NO_STEPS
from cgraph._execution.executable import Executable
from cgraph._execution.executors import Executor, LaneExecutor
from cgraph._execution.feeds import by_streams
from cgraph._execution.goals import LOSS
from cgraph._execution.trajectory import with_states
from cgraph._execution.vectors import Part, Vectors, clear_sums, set_sums_aside
from cgraph._kernels.lanes.per_sample import GradientRows as GradientRowsStep
from cgraph._kernels.runtime import plan
from cgraph._kernels.runtime.plan import Schedule
from cgraph._kernels.runtime.request import Feeds, Request
from cgraph._lowering.program import FusedGroup, Program, Work
from cgraph._validation import Array
from cgraph.parameter import own_parameters

Offsets = npt.NDArray[np.intp]
# The fields of each matrix that learns, and its constant input.
Tables = tuple[Offsets, npt.NDArray[np.float64]]


class GradientRows:
    """Computes the gradients of single samples, in the order of a flat vector.

    Where nothing learns but matrices, samples lie side by side if the layout says so: the gradient of a matrix for one
    sample is a product of two vectors, which is written at once to where it belongs. Other steps sum over samples. So
    they take one sample at a time, and its gradient is copied out of the gradient sums.
    """

    def __init__(self, executable: Executable, vectors: Vectors) -> None:
        self._executable, self._vectors = executable, vectors
        self._parts: list[Part] | None = None  # those of the vector for which the tables were made
        self._row_parts: Offsets
        self._matrices: list[tuple[FusedGroup, Part]] | None
        self._tables: dict[Executor, Tables]
        # What ran the last call in one thread: its schedule, that of the rows, the executors and their steps.
        self._last: tuple[Schedule, Schedule, Sequence[Executor], list[GradientRowsStep]] | None

    def compute(self, feeds: Feeds) -> Array:
        """Returns the gradients, a row for each sample. The gradient sums are as they were when the call ends."""
        executable = self._executable
        rows: Array = np.empty((feeds.size, self._vectors.size), executable.dtype)
        result = rows.reshape(by_streams(feeds.size, feeds.streams, self._vectors.size))
        if not feeds.size:
            executable.skip(feeds)
            return result
        self._find()
        feeds = with_states(executable, feeds)
        request = Request(None, feeds, np.empty(feeds.size, executable.dtype), True, True)
        schedule = executable.schedule_of(request)  # refuses a leaf without data
        set_sums_aside(executable)
        executable.begin_run(request, active=False)
        if executable.python_nodes:
            one_by_one = self._run_python(request, rows)
        elif schedule.bindings:
            one_by_one = schedule.one_by_one or self._matrices is None
            self._run_alone(request, schedule, rows)
        else:
            one_by_one = False
            executable.batches.share(request, partial(self._bound, rows))
        executable.end_run(request, one_by_one)
        executable.allow_backward("parameters_only")
        return result

    def _find(self) -> None:
        """Finds which parameters stand where in a row."""
        parts = self._vectors.parts
        if self._parts is not parts:
            self._row_parts = row_parts(parts)
            self._matrices = matrices(self._executable.program, parts)
            self._tables, self._parts, self._last = {}, parts, None

    def _run_alone(self, request: Request, schedule: Schedule, rows: Array) -> None:
        """Runs all samples in this thread, as the last time for a request that has the same schedule."""
        last = self._last
        if last is None or last[0] is not schedule:
            executors, choice = self._chosen(request)
            made = [self._step(executor, request, 0) for executor in executors]
            bindings = [binding.around(step) for binding, step in made]
            own = Schedule(request, bindings, choice, self._executable.batches.patience[True])
            last = self._last = schedule, own, executors, [step for _, step in made]
        for executor, step in zip(*last[2:], strict=True):
            self._stop_sums(executor)
            step.write_to(rows)
        plan.run(plan.prepare(request, last[1], NO_STEPS, True))

    def _bound(self, rows: Array, part: Request, thread: int) -> tuple[list[plan.Binding], bytes]:
        """Returns what runs some samples in a thread, and writes the gradient of each to its row."""
        executors, choice = self._chosen(part)
        bindings = []
        for executor in executors:
            self._stop_sums(executor)
            binding, step = self._step(executor, part, thread)
            step.write_to(rows)
            bindings.append(binding.around(step))
        return bindings, choice

    def _chosen(self, request: Request) -> tuple[Sequence[Executor], bytes]:
        """Returns the executors for a request, and which takes how many samples."""
        executors = self._executable.executors
        if self._matrices is None:
            return [executors.samples], bytes(1)
        return executors.chosen(request)

    def _step(
        self, executor: Executor, request: Request, thread: int
    ) -> tuple[plan.Binding, GradientRowsStep]:
        """Returns the binding of an executor, and the step that runs its steps and writes rows."""
        binding = executor.binding(LOSS, request.feeds.leaves, thread)
        arena = self._executable.arena
        given = binding.steps, arena.data.itemsize
        if not isinstance(executor, LaneExecutor):
            return binding, GradientRowsStep(*given, self._row_parts)
        if executor not in self._tables:
            self._tables[executor] = self._table(executor)
        table, biases = self._tables[executor]
        kernels = arena.kernels.affine.MATRIX_KERNELS
        packed: Array = np.empty(table[:, 3].max(initial=1), arena.data.dtype)
        return binding, GradientRowsStep(*given, table, executor.lanes, kernels, biases, packed)

    def _table(self, executor: LaneExecutor) -> Tables:
        """Returns the matrices that learn, as they lie in the memory of an executor, and their constant inputs."""
        found, biases, seen = [], [], set()
        for group, (p, elements, _) in self._matrices or ():
            node: Any = group.nodes[0]
            places = executor.offset(group.inputs[0]), executor.offset(node)
            sizes = group.inputs[0].size, node.size
            found.append((*places, *sizes, elements.start, p in seen))
            biases.append(node._bias)
            seen.add(p)
        return np.array(found, np.intp).reshape(-1, 6), np.array(biases, float)

    def _stop_sums(self, executor: Executor) -> None:
        """Lets no step over lanes compute gradient sums until the end of the call."""
        snapshot = self._executable.set_aside
        if not isinstance(executor, LaneExecutor):
            return
        for step in chain.from_iterable(each.learners for each in executor.steps.values()):
            if snapshot is not None:
                for name in ("weights_learn", "biases_learn"):
                    if getattr(step, name):
                        snapshot.add_field(step, name)
                        setattr(step, name, False)

    def _run_python(self, request: Request, rows: Array) -> bool:
        """Runs samples with own nodes, whose gradient sums lie anywhere; returns whether they went one by one."""
        executable = self._executable
        for number, row in enumerate(rows):
            clear_sums(executable)
            executable.batches.share(request.part(number, number + 1), executable.executors.bind)
            row[...] = self._vectors.gradient()
        return executable.executors.layout_of(request).min_samples > 1


def matrices(program: Program, parts: Sequence[Part]) -> list[tuple[FusedGroup, Part]] | None:
    """Returns the groups that are matrices that learn, or None if anything else learns."""
    part_of = {part.parameter: part for part in parts}
    found = []
    for group in program.groups:
        learning = [p for node in group.nodes for p in own_parameters(node) if p in part_of]
        if learning and group.op.work is not Work.MATRIX:
            return None
        found += [(group, part_of[p]) for p in learning]
    return found


def row_parts(parts: Sequence[Part]) -> Offsets:
    """Returns where the elements of a vector lie side by side among the gradient sums of the arena: rows of `_runs`."""
    return np.array([*_runs(parts)], np.intp).reshape(-1, 3)


def _runs(parts: Sequence[Part]) -> Iterator[tuple[int, int, int]]:
    """Yields the offset in the arena, the place in the vector, and the number of elements that lie side by side."""
    for _, elements, index in parts:
        if isinstance(index, slice):
            yield index.start, elements.start, index.stop - index.start
        elif index is not None:
            begins = np.flatnonzero(np.diff(index, prepend=index[0] - 2) != 1)
            counts = np.diff(begins, append=len(index))
            runs = index[begins], elements.start + begins, counts
            yield from zip(*(column.tolist() for column in runs), strict=True)
