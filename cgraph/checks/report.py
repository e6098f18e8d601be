"""What gradcheck answers: a report, or an error."""

import math
from dataclasses import dataclass

from cgraph.node import Node


class GradientError(ArithmeticError):
    """An analytic gradient that differs from the numeric one, or that a backward pass would never compute.

    Attributes
    ----------
    node : Node or None
        The leaf, or the node whose parameter it is; or the consumer that dangles. None in a copied or unpickled error.
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
        """Copied and pickled without the node, which is part of a graph."""
        state = (str(self), None, self.parameter, self.index, self.analytic, self.numeric)
        return GradientError, state


@dataclass(frozen=True, eq=False)
class GradientCheck:
    """The worst element of one leaf or parameter: its index (None in a projection) and the two derivatives there.

    `number` is the node's place among the ancestors of the loss; `allowed` is the difference that was allowed. A row in
    which that is more than both derivatives says nothing about them.
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
        """Whether both derivatives are finite and differ by no more than is allowed."""
        return math.isfinite(self.analytic) and self.error <= self.allowed < math.inf


class GradientReport(tuple[GradientCheck, ...]):
    """What gradcheck found: one row for each leaf and parameter, inputs first. Prints as a table."""

    __slots__ = ()

    def __str__(self) -> str:
        return "\n".join(
            f"error {row.error:8.2e}, allowed {row.allowed:8.2e}: node {row.number}, "
            f"{type(row.node).__name__}.{row.parameter}{'' if row.index is None else list(row.index)}"
            for row in self
        )
