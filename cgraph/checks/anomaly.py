"""detect_anomaly: an error that names the first NaN or infinity in a pass."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from cgraph._propagation.passes import observing
from cgraph.node import Node
from cgraph.parameter import own_parameters


class AnomalyError(FloatingPointError):
    """A NaN or an infinity appeared in a pass.

    Attributes
    ----------
    node : Node or None
        The node that produced it. None in a copied or unpickled error.
    kind : str
        "data", "gradient" or "parameter".
    sample : int
        The number of times that the node had computed before, within the context.
    """

    def __init__(self, message: str, node: Node | None, kind: str, sample: int) -> None:
        super().__init__(message)
        self.node = node
        self.kind = kind
        self.sample = sample

    def __reduce__(self) -> tuple[object, ...]:
        """Copies and pickles the error without its node, which is part of a graph."""
        return AnomalyError, (str(self), None, self.kind, self.sample)


@contextmanager
def detect_anomaly() -> Iterator[None]:
    """A context in which passes stop at the first NaN or infinity.

    Each node is checked as soon as one of its methods has run: its data after ``calcData``, the gradients of its inputs
    and its own gradient sums after ``calcPartialDerivative``, its parameters after ``updateParameters``. Passes of
    other threads and those of a Graph are not checked. Every element is read once more: the context is for finding a
    fault, not for normal use.

    Raises
    ------
    AnomalyError
        From within a pass; it names the node, the element that is not finite, and the sample. It is a
        FloatingPointError.

    Examples
    --------
    >>> import cgraph as CG
    >>> x = CG.Leaf1(2)
    >>> x.getInput([1e200, 1.0])
    >>> y = CG.Dots(x, x)
    >>> with CG.detect_anomaly():
    ...     x.forwardPropagation()
    Traceback (most recent call last):
        ...
    cgraph.checks.anomaly.AnomalyError: Dots(shape=(1, 1), dtype=float64, parameters=0): data[0] is inf in sample 0
    """
    with observing(_Detector()):
        yield


class _Detector:
    """An observer of passes that checks the arrays written by each method, and counts the samples of each node."""

    def __init__(self) -> None:
        self.samples: Counter[Node] = Counter()

    def __call__(self, method: str, node: Node) -> None:
        if method == "calcData":
            self.samples[node] += 1
            self._check(node, "data", "data", node.data)
        elif method == "calcPartialDerivative":
            for number, x in enumerate(node.backward):
                self._check(node, "gradient", f"backward[{number}].grad", x.grad)
            for parameter in own_parameters(node):
                self._check(node, "gradient", f"gradient of {parameter.name}", parameter.grad)
        else:
            for parameter in own_parameters(node):
                self._check(node, "parameter", parameter.name, parameter.value)

    def _check(self, node: Node, kind: str, name: str, array: npt.NDArray[Any]) -> None:
        """Raises an AnomalyError if an element of an array is not finite."""
        finite = np.isfinite(array)
        if finite.all():
            return
        index = tuple(int(i) for i in np.argwhere(~finite)[0])
        position = ", ".join(map(str, index))
        sample = max(self.samples[node] - 1, 0)
        raise AnomalyError(
            f"{node!r}: {name}[{position}] is {array[index]} in sample {sample}",
            node,
            kind,
            sample,
        )
