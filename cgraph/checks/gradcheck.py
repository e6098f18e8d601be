"""gradcheck: the analytic gradients of a graph against central differences.

For a loss L and an element u of a leaf or a parameter, the difference (L(u + h) − L(u − h)) / 2h has an error of
order h², and an error of order ε |L| / h from rounding. A distance h of about ε^(1/3) balances the two. Where the two
gradients differ, smaller distances are tried, with the larger rounding errors that belong to them: a distance that is
too large for the curvature, or that crosses a kink near the point, is no fault of the gradient.
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
    BatchEvaluator,
    Evaluator,
    GraphEvaluator,
    NodeEvaluator,
    prepare_for_node_pass,
    preserving_graph,
)
from cgraph.checks.inputs import checked_compiled, checked_graph, checked_targets
from cgraph.checks.report import GradientCheck, GradientError, GradientReport
from cgraph.graph import Graph
from cgraph.node import Node
from cgraph.parameter import Parameter

Mode = Literal["full", "projection"]


class Limits(NamedTuple):
    """The distance h of the differences, relative to max(1, |u|), and the tolerances for the two gradients."""

    eps: float
    rtol: float
    atol: float


# atol is about 100 (float32: 20) times the rounding error ε |L| / h of the difference.
LIMITS = {"float64": Limits(6e-6, 1e-5, 4e-9), "float32": Limits(5e-3, 2e-2, 5e-4)}
DISTANCES = (1.0, 0.125, 0.015625)  # in turn, as multiples of h
DIRECTIONS = 2  # for each leaf and parameter, in a projection


class Difference(NamedTuple):
    """The central difference along one direction, and the two one-sided differences."""

    central: float
    left: float
    right: float

    @property
    def jump(self) -> float:
        """The absolute difference of the two one-sided differences."""
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
    """Compares analytic gradients with central differences, at the current values of leaves and parameters.

    Only ancestors of `loss` are evaluated: nodes by their ``calcData`` and ``calcPartialDerivative``, a Graph by its
    ``forward`` and ``backward``. The parameters of a Graph are checked once more along two random directions each, by
    ``predict`` and ``accumulate`` of five samples near the one that the leaves hold. Afterwards data, gradients,
    counters and gradient sums have the values that they had before, even if an exception is raised.

    Parameters
    ----------
    loss : Node or Graph
        A node of one element, or a Graph with such a node as its only output.
    wrt : iterable of Node or Parameter, optional
        The targets of the check: a leaf stands for its data, another node for its parameters. By default every leaf and
        every parameter among the ancestors of `loss`, except for leaves whose gradient a Graph does not compute.
    eps : float, optional
        Distance h of the differences, relative to max(1, abs(u)); by default 6e-6 in float64 and 5e-3 in float32.
    rtol, atol : float, optional
        The two gradients may differ by rtol times the larger of them + atol * max(1, abs(L)); by default 1e-5 and 4e-9
        in float64, 2e-2 and 5e-4 in float32. Where a smaller distance was needed, atol grows in proportion.
    mode : {"full", "projection"}, optional
        "full" checks every element on its own, with two forward passes each; "projection" checks every leaf and
        parameter along two random directions, with four forward passes each.
    rng : numpy.random.Generator or int, optional
        The source of the directions, or a seed; 0 by default.

    Returns
    -------
    GradientReport
        A row for the worst element of every leaf and parameter.

    Raises
    ------
    GradientError
        The two gradients differ (the message says so if the point lies on a kink); or an ancestor has a consumer that
        does not lead to `loss`, for which a backward pass would wait; or a node breaks the contract of its methods: two
        passes at one point differ, ``calcData`` writes into other arrays than its own data, ``calcPartialDerivative``
        writes into data, parameters or its own gradient, or does not add.
    TypeError, ValueError
        An argument is not as above, or the loss is not finite.
    RuntimeError
        The nodes of a Graph belong to a newer Graph.

    Examples
    --------
    >>> import cgraph as CG
    >>> x = CG.Leaf1(2)
    >>> x.getInput([3, 4])
    >>> report = CG.gradcheck(CG.Norm2(x))
    >>> [(row.parameter, row.error < 1e-9) for row in report]
    [('data', True)]
    """
    evaluator = _evaluator(loss)
    if not (isinstance(mode, str) and mode in ("full", "projection")):
        raise ValueError(f"gradcheck: mode must be 'full' or 'projection', got {describe(mode)}")
    single = any(node.dtype.itemsize == 4 for node in evaluator.order)
    limits = _limits(LIMITS["float32" if single else "float64"], eps, rtol, atol)
    restore_errors = partial(np.seterr, **np.geterr())

    def check() -> GradientReport:
        generator = _generator(rng)
        targets = checked_targets(evaluator.order, wrt, evaluator.without_grad)
        prepare_for_node_pass(evaluator.order)
        np.seterr(all="ignore")
        check_contract(evaluator.order)
        restore_errors()
        rows = _rows(evaluator, targets, limits, generator if mode == "projection" else None)
        # The loss of a later sample depends on a carry, through which no gradient goes.
        if isinstance(evaluator, GraphEvaluator) and not evaluator.graph._executable.carrying:
            parameters = [target for target in targets if target.name != "data"]
            _rows(BatchEvaluator(evaluator.graph, generator), parameters, limits, generator)
        return GradientReport(rows)

    try:
        return preserving_graph(evaluator, check)
    finally:
        # A signal can interrupt np.errstate, also within NumPy's generators, before it restores the settings.
        complete(restore_errors)


def _evaluator(loss: Node | Graph) -> Evaluator:
    if isinstance(loss, Graph):
        return GraphEvaluator(checked_compiled(loss))
    return NodeEvaluator(checked_graph(loss))


def _rows(
    evaluator: Evaluator,
    targets: Sequence[Parameter],
    limits: Limits,
    directions: np.random.Generator | None,
) -> list[GradientCheck]:
    """Checks all targets at the current point: every element on its own, or along random directions if given."""
    base = evaluator.forward()
    if not math.isfinite(base):
        raise ValueError(f"gradcheck: the loss must be finite, got {base}")
    checker = _Checker(evaluator, base, limits)
    return [
        checker.elements(target, gradient)
        if directions is None
        else checker.projection(target, gradient, directions)
        for target, gradient in zip(targets, evaluator.backward(targets), strict=True)
    ]


class _Checker:
    """The comparisons of a graph's gradients at one point."""

    def __init__(self, evaluator: Evaluator, base: float, limits: Limits) -> None:
        self.evaluator = evaluator
        self.numbers = {node: number for number, node in enumerate(evaluator.order)}
        self.base = base
        self.limits = limits

    def elements(self, target: Parameter, analytic: Array) -> GradientCheck:
        """Checks every element of a leaf or parameter on its own, and returns the row of the worst."""
        return max(self._rows(target, analytic), key=lambda row: row.error / row.allowed)

    def _rows(self, target: Parameter, analytic: Array) -> Iterator[GradientCheck]:
        value = target.value
        for index in np.ndindex(value.shape):
            u = float(value[index])

            def move(distance: float, index: tuple[int, ...] = index, u: float = u) -> float:
                value[index] = u + distance
                return float(value[index]) - u

            yield self._compare(target, index, float(analytic[index]), move, max(1.0, abs(u)))

    def projection(
        self, target: Parameter, analytic: Array, rng: np.random.Generator
    ) -> GradientCheck:
        """Checks a leaf or parameter along random directions of length 1, and returns the row of the worst."""
        value, origin = target.value, target.value.copy()
        scale = max(1.0, float(np.abs(origin).max()))
        rows = []
        for _ in range(DIRECTIONS):
            direction = rng.standard_normal(origin.shape)
            direction /= np.linalg.norm(direction)

            def move(distance: float, direction: Array = direction) -> float:
                value[...] = origin + distance * direction
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
        """Returns the row of the first distance at which the two derivatives agree, or raises a GradientError."""
        node = next(each for each in target.nodes if each in self.numbers)
        tried: list[tuple[GradientCheck, Difference]] = []
        default = self.limits.eps * scale
        tiny = math.sqrt(self.limits.eps) * smallest(target.value)
        distances = [default * factor for factor in DISTANCES]
        resolved = True
        if 0 < tiny < distances[-1]:
            distances.append(tiny)
        for distance in distances:
            if distance == tiny and not (move(distance) > 0 > move(-distance)):
                break
            difference = self._difference(move, distance)
            numeric = difference.central
            largest = max(abs(analytic), abs(numeric))
            noise = self.limits.atol * default / distance * max(1.0, abs(self.base))
            row = GradientCheck(
                node,
                self.numbers[node],
                target.name,
                index,
                analytic,
                numeric,
                self.limits.rtol * largest + noise,
            )
            resolved = distance != tiny or noise < 0.5 * largest
            # A smaller distance counts only if it changes the numeric derivative by about the first error.
            moved = not tried or abs(numeric - tried[0][0].numeric) >= 0.5 * tried[0][0].error
            if row.agrees and moved and resolved:
                return row
            tried.append((row, difference))
        fine = tried[-1][1]
        if noise > 0.1 * tried[0][1].jump:  # rounding hides a jump at the last distance
            fine = tried[min(len(tried), len(DISTANCES)) - 1][1]
        raise self._error(*tried[0], fine, resolved)

    def _difference(self, move: Callable[[float], float], h: float) -> Difference:
        """Returns the differences at distance h.

        `move(distance)` sets the target at a distance from the point, and returns the distance after rounding.
        """
        up = move(h)
        high = self.evaluator.forward()
        down = move(-h)
        low = self.evaluator.forward()
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
        position = "along a random direction" if row.index is None else f"at {row.index}"
        message = (
            f"gradcheck: {self.evaluator.where}{row.node!r}, number {row.number} of the ancestors: "
            f"{row.parameter} {position}: "
            f"analytic {row.analytic:.6g}, numeric {row.numeric:.6g}, "
            f"difference {row.error:.3g}, allowed {row.allowed:.3g}"
        )
        # At a point without a kink, the jump between the one-sided differences shrinks with the distance.
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
    """Returns the smallest absolute value of the elements that are neither 0 nor NaN; inf if there are none."""
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
