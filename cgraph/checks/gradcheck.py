"""gradcheck: the analytic gradients of a graph against central differences.

For a loss L and an element u of a leaf or a parameter, (L(u + h) − L(u − h)) / 2h has an error of order h² and one of
order ε |L| / h from rounding. h of about ε^(1/3) balances the two. Where the gradients differ, smaller steps are tried,
with the larger rounding error that they have: a step that is too large for the curvature, or that reaches over a kink
near the point, is no fault of the gradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Literal, NamedTuple

import numpy as np

from cgraph._kernels.runtime.uninterrupted import complete
from cgraph._validation import Array, as_number, describe
from cgraph.checks.contract import check_contract
from cgraph.checks.evaluators import (
    BatchEngine,
    Engine,
    GraphEngine,
    NodeEngine,
    give_way,
    preserving_graph,
)
from cgraph.checks.inputs import checked_compiled, checked_graph, checked_targets
from cgraph.checks.report import GradientCheck, GradientError, GradientReport
from cgraph.graph import Graph
from cgraph.node import Node
from cgraph.parameter import Parameter

Mode = Literal["full", "projection"]


class Limits(NamedTuple):
    """Step h, relative to max(1, |u|); and the difference of the gradients that is allowed."""

    eps: float
    rtol: float
    atol: float


# atol is about 100 (float32: 20) times the rounding error ε |L| / h of the difference.
LIMITS = {"float64": Limits(6e-6, 1e-5, 4e-9), "float32": Limits(5e-3, 2e-2, 5e-4)}
STEPS = (1.0, 0.125, 0.015625)
DIRECTIONS = 2  # for each leaf and parameter, in a projection


class Difference(NamedTuple):
    """Central difference along one direction, and the two one-sided ones."""

    central: float
    left: float
    right: float

    @property
    def jump(self) -> float:
        return abs(self.left - self.right)


def gradcheck(
    loss: Node | Graph,
    *,
    wrt: Iterable[Node | Parameter] | None = None,
    eps: float | None = None,
    rtol: float | None = None,
    atol: float | None = None,
    mode: Mode = "full",
    rng: np.random.Generator | int | None = None,
) -> GradientReport:
    r"""Compares analytic gradients with central differences, at the values that leaves and parameters hold.

    Only the ancestors of `loss` are evaluated, by their ``calcData`` and ``calcPartialDerivative``; a Graph by its
    ``forward`` and ``backward``. The parameters of a Graph are checked once more by ``predict`` and ``accumulate`` of
    five samples near the one that the leaves hold, along two random directions each. Data, gradients, counters and
    gradient sums are afterwards as they were, also when an exception is raised.

    Parameters
    ----------
    loss : Node or Graph
        A node of one element, or a Graph with such a node as its only output.
    wrt : iterable of Node or Parameter, optional
        What to check: a leaf stands for its data, another node for its parameters. By default every leaf and every
        parameter above `loss`, without the leaves whose gradient a Graph does not compute.
    eps : float, optional
        Step of the differences, relative to max(1, abs(u)); by default 6e-6 in float64 and 5e-3 in float32.
    rtol, atol : float, optional
        The two may differ by rtol times the larger of them + atol * max(1, abs(L)); by default 1e-5 and 4e-9 in
        float64, 2e-2 and 5e-4 in float32. Where a smaller step was needed, atol is larger by as much.
    mode : {"full", "projection"}, optional
        Every element on its own, two forward passes each; or every leaf and parameter along two random directions,
        four passes each.
    rng : numpy.random.Generator or int, optional
        Source of the directions, or its seed; 0 by default.

    Returns
    -------
    GradientReport
        The worst element of every leaf and parameter.

    Raises
    ------
    GradientError
        A gradient differs, and the message says so if the point sits on a kink; or a node takes part that hangs on the
        graph without leading to `loss`, for which a backward pass would wait; or a node breaks the contract of its
        methods: two passes at one point differ, ``calcData`` writes into something else than its own data,
        ``calcPartialDerivative`` writes into data, parameters or its own gradient, or does not add.
    TypeError, ValueError
        An argument is not as above, or the loss is not finite.
    RuntimeError
        The nodes of a Graph belong to a newer one.

    Examples
    --------
    >>> import cgraph as CG
    >>> x = CG.Leaf1(2)
    >>> x.getInput([3, 4])
    >>> report = CG.gradcheck(CG.Norm2(x))
    >>> [(row.parameter, row.error < 1e-9) for row in report]
    [('data', True)]
    """
    engine = _engine(loss)
    if not (isinstance(mode, str) and mode in ("full", "projection")):
        raise ValueError(f"gradcheck: mode must be 'full' or 'projection', got {describe(mode)}")
    single = any(node.dtype.itemsize == 4 for node in engine.order)
    limits = _limits(LIMITS["float32" if single else "float64"], eps, rtol, atol)
    put_back = partial(np.seterr, **np.geterr())

    def check() -> GradientReport:
        generator = _generator(rng)
        targets = checked_targets(engine.order, wrt, engine.left_out)
        give_way(engine.order)
        np.seterr(all="ignore")
        check_contract(engine.order)
        put_back()
        rows = _rows(engine, targets, limits, generator if mode == "projection" else None)
        if isinstance(engine, GraphEngine):
            learning = [target for target in targets if target.name != "data"]
            _rows(BatchEngine(engine.graph, generator), learning, limits, generator)
        return GradientReport(rows)

    try:
        return preserving_graph(engine.order, check)
    finally:
        # np.errstate, which NumPy's generators use, too, does not put back what a signal interrupts.
        complete(put_back)


def _engine(loss: Node | Graph) -> Engine:
    if isinstance(loss, Graph):
        return GraphEngine(checked_compiled(loss))
    return NodeEngine(checked_graph(loss))


def _rows(
    engine: Engine,
    targets: Sequence[Parameter],
    limits: Limits,
    directions: np.random.Generator | None,
) -> list[GradientCheck]:
    """What is found at one point: every element on its own, or along random directions."""
    base = engine.forward()
    if not math.isfinite(base):
        raise ValueError(f"gradcheck: the loss must be finite, got {base}")
    checker = _Checker(engine, base, limits)
    return [
        checker.elements(target, gradient)
        if directions is None
        else checker.projection(target, gradient, directions)
        for target, gradient in zip(targets, engine.backward(targets), strict=True)
    ]


class _Checker:
    """The comparisons at one point of one graph."""

    def __init__(self, engine: Engine, base: float, limits: Limits) -> None:
        self.engine = engine
        self.numbers = {node: number for number, node in enumerate(engine.order)}
        self.base = base
        self.limits = limits

    def elements(self, target: Parameter, analytic: Array) -> GradientCheck:
        """Every element of a leaf or parameter on its own."""
        return max(self._rows(target, analytic), key=lambda row: row.error / row.allowed)

    def _rows(self, target: Parameter, analytic: Array) -> Iterator[GradientCheck]:
        value = target.value
        for index in np.ndindex(value.shape):
            u = float(value[index])

            def move(by: float, index: tuple[int, ...] = index, u: float = u) -> float:
                value[index] = u + by
                return float(value[index]) - u

            yield self._compare(target, index, float(analytic[index]), move, max(1.0, abs(u)))

    def projection(
        self, target: Parameter, analytic: Array, rng: np.random.Generator
    ) -> GradientCheck:
        """A leaf or parameter along random directions of length 1."""
        value, origin = target.value, target.value.copy()
        scale = max(1.0, float(np.abs(origin).max()))
        rows = []
        for _ in range(DIRECTIONS):
            direction = rng.standard_normal(origin.shape)
            direction /= np.linalg.norm(direction)

            def move(by: float, direction: Array = direction) -> float:
                value[...] = origin + by * direction
                return float(np.vdot(value.astype(np.float64) - origin, direction))

            slope = float(np.vdot(analytic, direction))
            rows.append(self._compare(target, None, slope, move, scale))
        return max(rows, key=lambda row: row.error / row.allowed)

    def _compare(
        self,
        target: Parameter,
        index: tuple[int, ...] | None,
        analytic: float,
        move: Callable[[float], float],
        scale: float,
    ) -> GradientCheck:
        """The first step at which the two derivatives agree; if there is none, that is an error."""
        tried: list[tuple[GradientCheck, Difference]] = []
        default = self.limits.eps * scale
        tiny = math.sqrt(self.limits.eps) * smallest(target.value)
        steps = [default * step for step in STEPS]
        resolved = True
        if 0 < tiny < steps[-1]:
            steps.append(tiny)
        for step in steps:
            if step == tiny and not (move(step) > 0 > move(-step)):
                break
            difference = self._difference(move, step)
            numeric = difference.central
            largest = max(abs(analytic), abs(numeric))
            noise = self.limits.atol * default / step * max(1.0, abs(self.base))
            row = GradientCheck(
                target.node,
                self.numbers[target.node],
                target.name,
                index,
                analytic,
                numeric,
                self.limits.rtol * largest + noise,
            )
            resolved = step != tiny or noise < 0.5 * largest
            # A smaller step counts where it moves the numeric derivative by what was missing.
            moved = not tried or abs(numeric - tried[0][0].numeric) >= 0.5 * tried[0][0].error
            if row.agrees and moved and resolved:
                return row
            tried.append((row, difference))
        fine = tried[-1][1]
        if noise > 0.1 * tried[0][1].jump:  # the last step says nothing of a jump
            fine = tried[min(len(tried), len(STEPS)) - 1][1]
        raise self._error(*tried[0], fine, resolved)

    def _difference(self, move: Callable[[float], float], h: float) -> Difference:
        """`move(by)` goes `by` away from the point and returns how far it really went."""
        up = move(h)
        high = self.engine.forward()
        down = move(-h)
        low = self.engine.forward()
        move(0.0)
        if not down < 0 < up:
            raise ValueError(
                f"gradcheck: eps is too small, a step of {h:.3g} does not move the point"
            )
        return Difference(
            (high - low) / (up - down), (low - self.base) / down, (high - self.base) / up
        )

    def _error(
        self, row: GradientCheck, coarse: Difference, fine: Difference, resolved: bool
    ) -> GradientError:
        place = "along a random direction" if row.index is None else f"at {row.index}"
        message = (
            f"gradcheck: {self.engine.where}{row.node!r}, number {row.number} of the ancestors: "
            f"{row.parameter} {place}: "
            f"analytic {row.analytic:.6g}, numeric {row.numeric:.6g}, "
            f"difference {row.error:.3g}, allowed {row.allowed:.3g}"
        )
        # Where a function only bends, the jump between the one-sided differences shrinks with the step.
        noise = self.limits.atol * max(1.0, abs(self.base))
        if not resolved and coarse.jump > max(noise, 0.5 * row.error):
            message += (
                "; no step is small beside the values and large beside the rounding of the loss"
            )
        elif fine.jump > 0.5 * coarse.jump > noise:
            message += (
                f"; the point sits on a kink: {fine.left:.6g} from the left, "
                f"{fine.right:.6g} from the right"
            )
        return GradientError(message, row.node, row.parameter, row.index, row.analytic, row.numeric)


def smallest(values: Array) -> float:
    """The smallest absolute value of an array's elements that are neither 0 nor NaN; inf if there is none."""
    return float(np.min(np.abs(values), initial=math.inf, where=np.abs(values) > 0))


def _limits(default: Limits, eps: float | None, rtol: float | None, atol: float | None) -> Limits:
    given = {"eps": eps, "rtol": rtol, "atol": atol}
    numbers = {
        name: as_number("gradcheck", name, value)
        for name, value in given.items()
        if value is not None
    }
    for name, number in numbers.items():
        if not 0 < number < math.inf:
            raise ValueError(f"gradcheck: {name} must be positive and finite, got {number}")
    return default._replace(**numbers)


def _generator(rng: np.random.Generator | int | None) -> np.random.Generator:
    try:
        return np.random.default_rng(0 if rng is None else rng)
    except (TypeError, ValueError):
        raise TypeError(
            f"gradcheck: rng must be a numpy.random.Generator or a seed, got {describe(rng)}"
        ) from None
