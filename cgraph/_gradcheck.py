"""gradcheck: the analytic gradients of a graph against central differences.

For a loss L and an element u of a leaf or a parameter, (L(u + h) − L(u − h)) / 2h has an error of order h² and one of
order ε |L| / h from rounding. h of about ε^(1/3) balances the two; the tolerances follow from what then remains.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from cgraph._array import Array, as_number, describe, is_iterable
from cgraph._evaluate import backward, forward, preserved
from cgraph.node import Node, as_node
from cgraph.walk import Parameter, ancestors, own_parameters

Mode = Literal["full", "projection"]


class Limits(NamedTuple):
    """Step h, relative to max(1, |u|); and the difference of the gradients that is allowed."""

    eps: float
    rtol: float
    atol: float


LIMITS = {"float64": Limits(6e-6, 1e-5, 1e-7), "float32": Limits(5e-3, 2e-2, 2e-3)}
# One-sided differences that disagree by more than this part of the larger are those of a kink.
KINK = 0.1


class GradientError(ArithmeticError):
    """An analytic gradient that differs from the numeric one, or that a backward pass would never compute.

    Attributes
    ----------
    node : Node
        The leaf, or the node whose parameter it is; or the consumer that dangles.
    parameter : str or None
        "data" for a leaf, else the name of the parameter; None for a consumer that dangles.
    index : tuple of int or None
        The element; None in a projection and for a consumer that dangles.
    analytic, numeric : float
        The two derivatives; NaN for a consumer that dangles.
    """

    def __init__(
        self,
        message: str,
        node: Node,
        parameter: str | None = None,
        index: tuple[int, ...] | None = None,
        analytic: float = math.nan,
        numeric: float = math.nan,
    ) -> None:
        super().__init__(message)
        self.node = node
        self.parameter = parameter
        self.index = index
        self.analytic = analytic
        self.numeric = numeric


@dataclass(frozen=True, eq=False)
class GradientCheck:
    """The worst element of one leaf or parameter: its index (None in a projection) and the two derivatives there."""

    node: Node
    parameter: str
    index: tuple[int, ...] | None
    analytic: float
    numeric: float

    @property
    def error(self) -> float:
        """The absolute difference of the two derivatives."""
        return abs(self.analytic - self.numeric)


class GradientReport(tuple[GradientCheck, ...]):
    """What gradcheck found: one row for each leaf and parameter, inputs first. Prints as a table."""

    __slots__ = ()

    def __str__(self) -> str:
        return "\n".join(
            f"{row.error:9.2e}  {type(row.node).__name__}.{row.parameter}"
            f"{'' if row.index is None else list(row.index)}"
            for row in self
        )


class Difference(NamedTuple):
    """Central difference along one direction, and the two one-sided ones."""

    central: float
    left: float
    right: float

    def shows_kink(self) -> bool:
        return abs(self.left - self.right) > KINK * max(abs(self.left), abs(self.right))


def gradcheck(
    loss: Node,
    *,
    wrt: Iterable[Node | Parameter] | None = None,
    eps: float | None = None,
    rtol: float | None = None,
    atol: float | None = None,
    mode: Mode = "full",
    rng: np.random.Generator | int | None = None,
) -> GradientReport:
    r"""Compares analytic gradients with central differences, at the values that leaves and parameters hold.

    Only the ancestors of `loss` are evaluated, by their ``calcData`` and ``calcPartialDerivative``. Data, gradients,
    counters and gradient sums are afterwards as they were, also when an exception is raised.

    Parameters
    ----------
    loss : Node
        A node of one element.
    wrt : iterable of Node or Parameter, optional
        What to check: a leaf stands for its data, another node for its parameters. By default every leaf and every
        parameter above `loss`.
    eps : float, optional
        Step of the differences, relative to max(1, abs(u)); by default 6e-6 in float64 and 5e-3 in float32.
    rtol, atol : float, optional
        The two may differ by rtol times the larger of them + atol * max(1, abs(L)); by default 1e-5 and 1e-7 in
        float64, 2e-2 and 2e-3 in float32.
    mode : {"full", "projection"}, optional
        Every element on its own; or every leaf and parameter along one random direction. Two forward passes for each
        element or direction.
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
        graph without leading to `loss`, for which a backward pass would wait.
    TypeError, ValueError
        An argument is not as above, or the loss is not finite.

    Examples
    --------
    >>> import cgraph as CG
    >>> x = CG.Leaf1(2)
    >>> x.getInput([3, 4])
    >>> report = CG.gradcheck(CG.Norm2(x))
    >>> [(row.parameter, row.error < 1e-9) for row in report]
    [('data', True)]
    """
    order = _checked_graph(loss)
    if mode not in ("full", "projection"):
        raise ValueError(f"gradcheck: mode must be 'full' or 'projection', got {describe(mode)}")
    targets = _targets(order, wrt)
    single = any(node.dtype.itemsize == 4 for node in order)
    limits = _limits(LIMITS["float32" if single else "float64"], eps, rtol, atol)
    with preserved(order):
        base = forward(order)
        if not math.isfinite(base):
            raise ValueError(f"gradcheck: the loss must be finite, got {base}")
        backward(order)
        analytic = [target.grad.astype(np.float64) for target in targets]
        check = _Checker(order, base, limits)
        if mode == "full":
            rows = [check.elements(*pair) for pair in zip(targets, analytic, strict=True)]
        else:
            generator = np.random.default_rng(0 if rng is None else rng)
            rows = [
                check.projection(*pair, generator) for pair in zip(targets, analytic, strict=True)
            ]
    return GradientReport(rows)


class _Checker:
    """The comparisons at one point of one graph."""

    def __init__(self, order: Sequence[Node], base: float, limits: Limits) -> None:
        self.order = order
        self.base = base
        self.limits = limits

    def elements(self, target: Parameter, analytic: Array) -> GradientCheck:
        """Every element of a leaf or parameter on its own."""
        return max(self._rows(target, analytic), key=lambda row: row.error)

    def _rows(self, target: Parameter, analytic: Array) -> Iterator[GradientCheck]:
        value = target.value
        for index in np.ndindex(value.shape):
            u = float(value[index])
            h = self.limits.eps * max(1.0, abs(u))

            def move(by: float, index: tuple[int, ...] = index, u: float = u) -> float:
                value[index] = u + by
                return float(value[index]) - u

            difference = self._difference(move, h)
            row = GradientCheck(
                target.node, target.name, index, float(analytic[index]), difference.central
            )
            self._compare(row, difference)
            yield row

    def projection(
        self, target: Parameter, analytic: Array, rng: np.random.Generator
    ) -> GradientCheck:
        """A leaf or parameter along one random direction of length 1."""
        value, origin = target.value, target.value.copy()
        direction = rng.choice([-1.0, 1.0], origin.shape) / math.sqrt(origin.size)
        h = self.limits.eps * max(1.0, float(np.abs(origin).max()))

        def move(by: float) -> float:
            value[...] = origin + by * direction
            return by

        difference = self._difference(move, h)
        slope = float(np.vdot(analytic, direction))
        row = GradientCheck(target.node, target.name, None, slope, difference.central)
        self._compare(row, difference)
        return row

    def _difference(self, move: Callable[[float], float], h: float) -> Difference:
        """`move(by)` goes `by` away from the point and returns how far it really went."""
        up = move(h)
        high = forward(self.order)
        down = move(-h)
        low = forward(self.order)
        move(0.0)
        return Difference(
            (high - low) / (up - down), (low - self.base) / down, (high - self.base) / up
        )

    def _compare(self, row: GradientCheck, difference: Difference) -> None:
        largest = max(abs(row.analytic), abs(row.numeric))
        allowed = self.limits.rtol * largest + self.limits.atol * max(1.0, abs(self.base))
        if row.error <= allowed:
            return
        place = "along a random direction" if row.index is None else f"at {row.index}"
        message = (
            f"gradcheck: {row.node!r}, node {self.order.index(row.node)} above the loss: "
            f"{row.parameter} {place}: analytic {row.analytic:.6g}, numeric {row.numeric:.6g}, "
            f"difference {row.error:.3g}, allowed {allowed:.3g}"
        )
        if difference.shows_kink():
            message += (
                f"; the point sits on a kink: {difference.left:.6g} from the left, "
                f"{difference.right:.6g} from the right"
            )
        raise GradientError(message, row.node, row.parameter, row.index, row.analytic, row.numeric)


def _checked_graph(loss: Node) -> list[Node]:
    """The ancestors of the loss, in which every consumer leads to it."""
    as_node("gradcheck", "loss", loss)
    if loss.size != 1:
        raise ValueError(f"gradcheck: loss must be a node of one element, got {loss!r}")
    order = ancestors(loss)
    members = set(order)
    for node in order[:-1]:
        for consumer in node.forward:
            if consumer not in members:
                raise GradientError(
                    f"gradcheck: {consumer!r} consumes {node!r} but does not lead to the loss, and "
                    "backwardPropagation would wait for it: detach() it",
                    consumer,
                )
    pushed = Counter((x, consumer) for x in order for consumer in x.forward)
    read = Counter((x, node) for node in order for x in node.backward)
    for x, node in read - pushed:
        raise GradientError(
            f"gradcheck: {node!r} reads {x!r} but is not in its forward: pushThis() is missing",
            node,
        )
    return order


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


def _targets(order: Sequence[Node], wrt: Iterable[Node | Parameter] | None) -> list[Parameter]:
    """What to check: the data of leaves and the parameters of nodes."""
    if wrt is None:
        return [target for node in order for target in _of_node(node)]
    if isinstance(wrt, (Node, Parameter)) or not is_iterable(wrt):
        raise TypeError(
            f"gradcheck: wrt must be a sequence of Nodes and Parameters, got {describe(wrt)}"
        )
    members = set(order)
    targets: list[Parameter] = []
    for item in wrt:
        if not isinstance(item, (Node, Parameter)):
            raise TypeError(
                f"gradcheck: wrt must hold Nodes and Parameters alone, got {describe(item)}"
            )
        node = item if isinstance(item, Node) else item.node
        if node not in members:
            raise ValueError(f"gradcheck: wrt must lie above the loss, got {node!r}")
        found = _of_node(item) if isinstance(item, Node) else [item]
        if not found:
            raise ValueError(f"gradcheck: wrt must be leaves or have parameters, got {node!r}")
        targets += found
    return targets


def _of_node(node: Node) -> list[Parameter]:
    """A leaf's data, unless it computes that itself; and what learns."""
    is_leaf = not node.backward and type(node).calcData is Node.calcData
    data = [Parameter(node, "data", node.data, node.grad)] if is_leaf else []
    return data + own_parameters(node)
