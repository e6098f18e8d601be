"""detect_anomaly: the first NaN or inf that a pass produces, named."""

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
    """A NaN or an infinity appeared.

    Attributes
    ----------
    node : Node or None
        The node that produced it. None in a copied or unpickled error.
    kind : str
        "data", "gradient" or "parameter".
    sample : int
        How often the node had computed before, within the context.
    """

    def __init__(self, message: str, node: Node | None, kind: str, sample: int) -> None:
        super().__init__(message)
        self.node = node
        self.kind = kind
        self.sample = sample

    def __reduce__(self) -> tuple[object, ...]:
        """Copied and pickled without the node, which is part of a graph."""
        return AnomalyError, (str(self), None, self.kind, self.sample)


@contextmanager
def detect_anomaly() -> Iterator[None]:
    """A context in which passes stop at the first NaN or infinity.

    Each node is looked at as soon as it has worked: its data after ``calcData``, the gradients and sums that it has
    added to after ``calcPartialDerivative``, its parameters after ``updateParameters``. Passes of other threads, and
    those of a Graph, are not watched. It costs one look at every number: for finding a fault, not for use.

    Raises
    ------
    AnomalyError
        From within a pass; it names the node, what is not finite, and the sample. A FloatingPointError.

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
    """Looks at what a node has just computed; counts how often each node has computed."""

    def __init__(self) -> None:
        self.samples: Counter[Node] = Counter()

    def __call__(self, method: str, node: Node) -> None:
        if method == "calcData":
            self.samples[node] += 1
            self._look(node, "data", "data", node.data)
        elif method == "calcPartialDerivative":
            for number, x in enumerate(node.backward):
                self._look(node, "gradient", f"backward[{number}].grad", x.grad)
            for parameter in own_parameters(node):
                self._look(node, "gradient", f"gradient of {parameter.name}", parameter.grad)
        else:
            for parameter in own_parameters(node):
                self._look(node, "parameter", parameter.name, parameter.value)

    def _look(self, node: Node, kind: str, name: str, array: npt.NDArray[Any]) -> None:
        finite = np.isfinite(array)
        if finite.all():
            return
        index = tuple(int(i) for i in np.argwhere(~finite)[0])
        place = ", ".join(map(str, index))
        sample = max(self.samples[node] - 1, 0)
        raise AnomalyError(
            f"{node!r}: {name}[{place}] is {array[index]} in sample {sample}",
            node,
            kind,
            sample,
        )
