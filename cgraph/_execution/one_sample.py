"""Calls of a Graph with one sample, which are made again and again, with other numbers in the same arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from cgraph._execution.executable import Executable
from cgraph._kernels.runtime import plan
from cgraph._kernels.runtime.memory import exclusively
from cgraph._kernels.runtime.plan import QuickCall, Run, Schedule
from cgraph._kernels.runtime.request import Extras, Feeds, FeedSpec, Request, Row, Rows
from cgraph._kernels.runtime.uninterrupted import Snapshot
from cgraph._validation import Array, as_real
from cgraph.node import Node
from cgraph.optimizers.optimizer import Optimizer

NOTHING: dict[str, object] = {}


def empty_row(node: Node) -> Row:
    """Returns a row for the data of a node."""
    spec = FeedSpec(node.dtype, node.size, node.height, node.width)
    return Row(np.zeros((1, node.size), node.dtype), spec)


class Repeated:
    """A call with one sample whose arrays are found once, and which is made as often as it is asked for.

    Parameters
    ----------
    executable : Executable
        The Graph.
    leaves : sequence of (Node, str, Row)
        The leaves that are fed, with the names of their arguments, and their rows.
    output : (Node, Row)
        The node whose data are wanted, and the row that gets them.
    losses : ndarray, shape (1,), optional
        The array that gets the loss, for a call that learns.
    rule : float or Optimizer, optional
        The learning rate or the optimiser of such a call.
    """

    def __init__(
        self,
        executable: Executable,
        leaves: Sequence[tuple[Node, str, Row]],
        output: tuple[Node, Row],
        losses: Array | None = None,
        rule: float | Optimizer = 0.0,
    ) -> None:
        self._executable, self._memory, self._rule = executable, executable.memory, rule
        self._complete, self._learns = executable.complete, losses is not None
        self._optimizer = rule if isinstance(rule, Optimizer) else None
        self._leaves = [(leaf, name) for leaf, name, _ in leaves]
        self._rows = Rows([row for _, _, row in leaves], np.ndarray)
        arrays = [row.array for _, _, row in leaves]
        feeds = Feeds([leaf for leaf, _, _ in leaves], arrays, 1, list(arrays))
        node, row = output
        if losses is None:
            self._request = Request(node, feeds, row.array)
        else:
            extras = Extras(None, [], [node], [row.array], "")
            eta = rule if isinstance(rule, float) else 0.0
            self._request = Request(None, feeds, losses, True, True, 1, eta, 0, extras)
            node = executable.program.outputs[0]
        gradients = "parameters_only" if self._learns else "zero"
        remembered = feeds.to_remember()
        self._quick = QuickCall(executable, self._rows, remembered, self._learns, gradients, node)
        self._schedule: Schedule | None = None

    def __call__(
        self,
        owner: str,
        values: tuple[object, ...],
        result: Row,
        count: Callable[[], object] | None = None,
    ) -> Array | float:
        """Makes the call for these values, and returns a copy of what a row holds at its end.

        `count` is called at the end, with no arguments.
        """
        found = self._quick.call(values, self._optimizer, result, count)
        if found is not None:
            return found
        arguments = owner, values, result, count
        return exclusively(self._memory, owner, self._complete, self._call, arguments, NOTHING)

    def _call(
        self,
        owner: str,
        values: tuple[object, ...],
        result: Row,
        count: Callable[[], object] | None,
    ) -> Array | float:
        """Makes the call in any case."""
        executable = self._executable
        if self._learns:
            executable.begin_training(owner)
        else:
            executable.begin(owner)
        if not self._rows.put(values):
            self._rows.put(tuple(self._converted(owner, values)))
        if self._schedule is None:
            self._schedule = executable.schedule_of(self._request)
        if self._learns:
            executable.learn(self._request, self._schedule, self._rule, self)
        else:
            executable.compute(self._request, self._schedule, self)
        if count is not None:
            count()
        return result.value()

    def _converted(self, owner: str, values: Sequence[object]) -> list[Array]:
        """Returns plain arrays, or refuses values that are not samples."""
        arrays = []
        for (leaf, name), value in zip(self._leaves, values, strict=True):
            array = as_real(owner, name, value)
            shapes = (leaf.size,), (leaf.height, leaf.width)
            if array.shape not in shapes and not (leaf.size == 1 and array.ndim == 0):
                one = "() or " if leaf.size == 1 else ""
                raise ValueError(
                    f"{owner}: {name} must have shape {one}({leaf.size},) or {shapes[1]}, "
                    f"got {array.shape}"
                )
            arrays.append(np.require(array, leaf.dtype, ("C", "A")))
        return arrays

    def run(
        self,
        request: Request,
        schedule: Schedule,
        update_steps: plan.Steps,
        fuse: bool,
        grads_before: Snapshot | None,
    ) -> None:
        """Runs the sample, as `Batches.run` does, and keeps the Run for later calls if they may be quick."""
        executable = self._executable
        zero, overwrite = self._memory.grads_are_zero, executable.batches.may_overwrite
        run = plan.prepare(request, schedule, update_steps, zero, overwrite, fuse, grads_before)
        plan.run(run)
        if executable.is_simple and schedule.one_by_one:
            self._quick.prepare(run, update_steps)
