"""The result of gradcheck: a report, or an error."""

import math
from dataclasses import dataclass

from cgraph.node import Node


class GradientError(ArithmeticError):
    """An analytic gradient that differs from the numeric one, or that a backward pass would never compute.

    Attributes
    ----------
    node : Node or None
        The leaf, or the node with the parameter; or the consumer that does not lead to the loss. None in a copied or
        unpickled error.
    parameter : str or None
        "data" for a leaf, else the name of the parameter; None for a consumer that does not lead to the loss.
    index : tuple of int or None
        The index of the element; None in a projection, and for a consumer that does not lead to the loss.
    analytic, numeric : float
        The two derivatives; NaN for a consumer that does not lead to the loss.
    """

    def __init__(
        self,
        message: str,
        node: Node | None,
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

    def __reduce__(self) -> tuple[object, ...]:
        """Copies and pickles the error without its node, which is part of a graph."""
        state = (str(self), None, self.parameter, self.index, self.analytic, self.numeric)
        return GradientError, state


@dataclass(frozen=True, eq=False)
class GradientCheck:
    """The worst element of one leaf or parameter: its index (None in a projection) and the two derivatives there.

    `number` is the index of the node among the ancestors of the loss, and `allowed` the largest difference without an
    error. A row whose `allowed` is larger than both derivatives tells nothing about them.
    """

    node: Node
    number: int
    parameter: str
    index: tuple[int, ...] | None
    analytic: float
    numeric: float
    allowed: float

    @property
    def error(self) -> float:
        """The absolute difference of the two derivatives."""
        return abs(self.analytic - self.numeric)

    @property
    def agrees(self) -> bool:
        """Whether both derivatives are finite and differ by at most `allowed`."""
        return math.isfinite(self.analytic) and self.error <= self.allowed < math.inf


class GradientReport(tuple[GradientCheck, ...]):
    """The result of gradcheck: one row for each leaf and parameter, inputs first. It prints as a table."""

    __slots__ = ()

    def __str__(self) -> str:
        return "\n".join(
            f"error {row.error:8.2e}, allowed {row.allowed:8.2e}: node {row.number}, "
            f"{type(row.node).__name__}.{row.parameter}{'' if row.index is None else list(row.index)}"
            for row in self
        )
