"""LearningNode: the base class of operations with parameters, which are one vector, as are their gradient sums."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from cgraph._kernels.runtime.loans import Account, Loan
from cgraph._subclassing.rebuilding import is_stand_in, stand_in
from cgraph._validation import Array, DType, as_rate
from cgraph.node import Node


def joined(dtype: DType, *values: Array) -> Array:
    """Returns a vector with copies of the elements of arrays, one array behind the other; of stand-ins, a stand-in."""
    size = sum([value.size for value in values])
    if is_stand_in(values[0]):
        return stand_in((size,), dtype)
    vector = np.empty(size, dtype)
    start = 0
    for value in values:
        vector[start : start + value.size] = value.reshape(-1)
        start += value.size
    return vector


class LearningNode(Node):
    """A node whose parameters lie one behind the other in a vector, and their gradient sums in another one.

    A `Graph` may move either vector into its arena, or keep a copy there. So a subclass refers to the parameters by
    views of the vectors, which `_parameter_views` and `_grad_views` make, and hands out every one of them as a loan:
    an array that counts itself as long as it lives, and costs later calls of the Graph nothing once it is dead.
    """

    _parameter_vector: Array
    _grad_vector: Array
    # The loans of each array, by its name in `_parts`.
    _loans: dict[str, Account]

    # For each parameter, by its names as in `_parameters`, the part of the vectors that it takes. A node has parts of
    # its own where these depend on its size.
    _parts: Mapping[tuple[str, str], slice] = {}
    # The attribute that is the array of each name.
    _attributes: ClassVar[dict[str, str]] = {}
    # The class whose methods compute the operation, which leave parameters alone that do not learn.
    _operation: ClassVar[type[Node]]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "_parts" in vars(cls):
            cls._operation = cls
        # A parameter that a derived class does not declare does not learn.
        cls._frozen = frozenset(name for name, _ in {*cls._parts}.difference(cls._parameters))

    def _hold(self, parameters: Array) -> None:
        """Makes a vector the parameters of this node, and gradient sums of 0 beside it."""
        grads = parameters if is_stand_in(parameters) else np.zeros_like(parameters)
        self._loans = {name: Account() for pair in self._parts for name in pair}
        # One by one, since CPython finds attributes faster while nobody has asked for an object's __dict__.
        for views in (self._parameter_views(parameters), self._grad_views(grads)):
            for name, view in views.items():
                setattr(self, name, view)

    def _parameter_views(self, vector: Array) -> dict[str, Array]:
        """Returns the attributes of this node that are views of its parameters."""
        raise NotImplementedError

    def _grad_views(self, vector: Array) -> dict[str, Array]:
        """Returns the attributes of this node that are views of its gradient sums."""
        raise NotImplementedError

    def _biases(self, name: str) -> slice:
        """Returns which elements of a parameter are biases, in the order of its elements."""
        return slice(0)

    def _lend(self, name: str) -> Array:
        """Returns a view of an array, by its name in `_parts`, that counts itself while it lives."""
        array: Array = getattr(self, self._attributes[name])
        loan: Any = Loan(
            self._loans[name], array
        )  # NumPy's annotations know no other buffers than Python's own
        return np.ndarray(array.shape, array.dtype, loan)

    def _peek(self, name: str) -> Array:
        if name not in self._attributes:
            return super()._peek(name)
        self._refresh_parameters()
        array: Array = getattr(self, self._attributes[name])
        return array

    def _refresh_parameters(self) -> None:
        """Brings the parameters up to date, where a Graph computes with a copy of them."""
        if self._residency is None and self._sharing is None:
            return
        for name, _ in self._parts:
            self._loans[name].refresh()

    def _touch_grads(self) -> None:
        """Brings the gradient sums up to date, before the node itself changes them."""
        if self._residency is None and self._sharing is None:
            return
        for _, name in self._parts:
            self._loans[name].touch()

    def _add_to_learning(self, grads: Array) -> None:
        """Adds gradients of all parameters to the sums of those that learn."""
        for (name, _), part in self._parts.items():
            if name not in self._frozen:
                self._grad_vector[part] += grads[part]

    def _call(self, method: str, *args: float) -> None:
        is_own = getattr(type(self), method) is not getattr(self._operation, method)
        if is_own or method in vars(self):
            super()._call(method, *args)
        else:
            getattr(self, method)(*args)

    def _parameter_count(self) -> int:
        return self._parameter_vector.size

    def updateParameters(self, eta: float) -> None:
        if self._frozen or len(self._parts) < len(self._parameters):
            super().updateParameters(eta)
            return
        eta = as_rate(type(self).__name__, eta, self._dtype)
        if self._residency is not None or self._sharing is not None:
            for account in self._loans.values():
                account.touch()
        self._kernels.elementwise.descend(self._parameter_vector, self._grad_vector, eta)
