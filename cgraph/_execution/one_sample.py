"""Calls of a Graph with one sample, which are made again and again, with other numbers in the same arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from cgraph._execution.executable import Executable
from cgraph._kernels.runtime import plan
from cgraph._kernels.runtime.memory import exclusively
from cgraph._kernels.runtime.plan import QuickCall, Run, Schedule
from cgraph._kernels.runtime.request import Extras, Feeds, FeedSpec, Request, Row, put
from cgraph._kernels.runtime.uninterrupted import Snapshot
from cgraph._validation import Array, as_real
from cgraph.node import Node
from cgraph.optimizers.optimizer import Optimizer


def empty_row(node: Node) -> Row:
    """Returns a row for the data of a node."""
    spec = FeedSpec(node.dtype, node.size, node.height, node.width)
    return Row(np.zeros((1, node.size), node.dtype), spec)


def repeated_call(
    executable: Executable,
    leaves: Sequence[tuple[Node, str, Row]],
    output: tuple[Node, Row],
    losses: Array | None = None,
    rule: float | Optimizer = 0.0,
) -> QuickCall:
    """Returns a call with one sample that is made as often as it is asked for.

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
    arrays = [row.array for _, _, row in leaves]
    feeds = Feeds([leaf for leaf, _, _ in leaves], arrays, 1, list(arrays))
    rows = [row for _, _, row in leaves]
    (node, row), carry = output, executable.carry
    if losses is None:
        request, gradients = Request(node, feeds, row.array, carry=carry), "zero"
    else:
        extras = Extras(None, [], [node], [row.array], "")
        eta = rule if isinstance(rule, float) else 0.0
        request = Request(None, feeds, losses, True, True, 1, eta, 0, extras, carry)
        gradients = "parameters_only"
    last = executable.computed_last(None if request.backward else node)
    names = [(leaf, name) for leaf, name, _ in leaves]
    careful = CarefulCall(executable, request, names, rows, rule)
    optimizer = rule if isinstance(rule, Optimizer) else None
    learns, fed = request.backward, feeds.to_remember()
    last = last or executable.program.outputs[0]
    return QuickCall(careful, executable, rows, fed, learns, gradients, last, optimizer)


class CarefulCall:
    """A request for one sample, computed as calls of a Graph are.

    Attributes
    ----------
    prepared : (Run, plan.Steps, object) or Nones
        A run that may be run again for later calls if nothing unusual is the case, its update, and what
        `Residency.freezes` was.
    """

    def __init__(
        self,
        executable: Executable,
        request: Request,
        leaves: Sequence[tuple[Node, str]],
        rows: list[Row],
        rule: float | Optimizer,
    ) -> None:
        self._executable, self._request, self._rule = executable, request, rule
        self._leaves, self._rows = leaves, rows
        self._schedule: Schedule | None = None
        self.prepared: tuple[Run | None, plan.Steps | None, object] = None, None, None

    def __call__(
        self,
        owner: str,
        values: tuple[object, ...],
        result: Row,
        count: Callable[[], object] | None,
    ) -> Array | float:
        """Makes the call; the arguments are those of QuickCall."""
        memory, finish = self._executable.memory, self._executable.complete
        call, arguments = self._call, (owner, values, result, count)
        found: Array | float = exclusively(memory, owner, finish, call, arguments, {})
        return found

    def _call(
        self,
        owner: str,
        values: tuple[object, ...],
        result: Row,
        count: Callable[[], object] | None,
    ) -> Array | float:
        executable = self._executable
        learns = self._request.backward
        if learns:
            executable.begin_training(owner)
        else:
            executable.begin(owner)
        if not put(self._rows, values, np.ndarray):
            put(self._rows, tuple(self._converted(owner, values)), np.ndarray)
        if self._schedule is None:
            self._schedule = executable.schedule_of(self._request)
        if learns:
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
        """Runs the sample, as `Batches.run` does, and keeps the Run if later calls may be quick."""
        executable = self._executable
        zero, overwrite = executable.memory.grads_are_zero, executable.batches.may_overwrite
        run = plan.prepare(request, schedule, update_steps, zero, overwrite, fuse, grads_before)
        plan.run(run)
        if executable.is_simple and schedule.one_by_one:
            self.prepared = run, update_steps, executable._freezes
