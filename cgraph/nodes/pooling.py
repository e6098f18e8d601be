"""MaxPooling2d and AveragePooling2d: one input channel, one output channel.

docs/look_up/specification.md says which document *the specification* is.
"""

import math
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from cgraph._kernels.common.geometry import FilterGeometry
from cgraph._validation import Array, as_flag, as_number, as_number_of
from cgraph.node import Node, as_node
from cgraph.nodes.filter2d import Filter2d, chosen_form, fitted_geometry, placement, window

FORMS = (
    (
        "node1", "kernelHeight", "kernelWidth", "stride",
        "topPadding", "leftPadding", "height", "width",
    ),
    ("node1", "kernelHeight", "kernelWidth", "stride", "height", "width"),
    ("node1", "kernelHeight", "kernelWidth", "stride"),
)  # fmt: skip


def misses_input(geometry: FilterGeometry) -> bool:
    """Returns whether a window lies wholly in the padding; if any does, the first or the last of an axis does."""
    w = geometry
    rows = w.p >= w.k_h or (w.n_h - 1) * w.s - w.p >= w.m_h
    return rows or w.q >= w.k_w or (w.n_w - 1) * w.s - w.q >= w.m_w


class MaxPooling2d(Filter2d):
    """The maximum over a moving window (specification, section "Class: MaxPooling"; CG.MaxPooling is an alias).

    D[α,β] = max_{i,j} X[(α−1)s + i − p, (β−1)s + j − q], where an element outside the domain counts as `pad_value`.

    ∂L/∂X[α,β] = Σ G / N over the windows whose maximum X[α,β] equals; N is ``maxCount`` of the window.

    The constructor has three forms, told apart by the number of positional arguments, or by the names given:

    - ``(node1, kernelHeight, kernelWidth, stride, topPadding, leftPadding, height, width)``
    - ``(node1, kernelHeight, kernelWidth, stride, height, width)``: the padding is shared out to both sides
    - ``(node1, kernelHeight, kernelWidth, stride)``: as much padding as the stride needs to reach every element

    Parameters
    ----------
    node1 : Node
        The input, m_h × m_w.
    kernelHeight, kernelWidth : int
        Size of the window.
    stride : int
        Distance from one window to the next in both directions.
    topPadding, leftPadding : int, optional
        Virtual rows above and columns left of the input.
    height, width : int, optional
        Size of the output; bottom and right padding follow from it.
    crop : bool, optional, keyword only
        Whether the last rows and columns may be left unread. In the third form they are, where the stride leaves over
        less than a window, and there is no padding; in the others they are where the height or the width is too small
        for them, which is refused by default.
    pad_value : float, optional, keyword only
        The value of the padding: 0 in the specification; with ``-inf``, the convention of PyTorch and ONNX, padding is
        never the maximum.

    Raises
    ------
    TypeError
        Arguments that are none of the three forms, `node1` is not a Node, a size is not an integer.
    ValueError
        A size is below its minimum, a padding would be negative, `pad_value` is NaN, or it is -inf and a window lies
        wholly in the padding.

    Notes
    -----
    The gradient is shared equally among the elements within the domain that equal the maximum. Where only the padding
    equals it, ``maxCount`` is 0 and no element gets a gradient. A window with a NaN has the maximum NaN, ``maxCount`` 0
    and no gradient.

    Examples
    --------
    >>> import cgraph as CG
    >>> x = CG.Leaf2(2, 4)
    >>> x.getInput([[1, 5, 2, 2], [3, 4, 0, 2]])
    >>> d = CG.MaxPooling2d(x, 2, 2, 2)
    >>> x.forwardPropagation()
    >>> d.data, d.maxCount
    (array([5., 2.]), array([[1, 3]], dtype=uint32))
    """

    @overload
    def __init__(
        self, node1: Node, kernelHeight: int, kernelWidth: int, stride: int,
        topPadding: int, leftPadding: int, height: int, width: int,
        *, crop: bool = False, pad_value: float = 0.0,
    ) -> None: ...  # fmt: skip
    @overload
    def __init__(
        self, node1: Node, kernelHeight: int, kernelWidth: int, stride: int,
        height: int, width: int,
        *, crop: bool = False, pad_value: float = 0.0,
    ) -> None: ...  # fmt: skip
    @overload
    def __init__(
        self, node1: Node, kernelHeight: int, kernelWidth: int, stride: int,
        *, crop: bool = False, pad_value: float = 0.0,
    ) -> None: ...  # fmt: skip

    def __init__(
        self, *args: Any, crop: bool = False, pad_value: float = 0.0, **kwargs: Any
    ) -> None:
        owner = type(self).__name__
        crop = as_flag(owner, "crop", crop)
        if math.isnan(as_number(owner, "pad_value", pad_value)):
            raise ValueError(f"{owner}: pad_value must be a number, got nan")
        given = chosen_form(owner, FORMS, args, kwargs)
        x = as_node(owner, "node1", given.pop("node1"))
        geometry = fitted_geometry(owner, (x,), given, crop)
        self._pad_value = as_number_of(owner, "pad_value", pad_value, x.dtype)
        if self._pad_value == -math.inf and misses_input(geometry):
            raise ValueError(
                f"{owner}: with pad_value -inf every window must reach the input, "
                f"got one of {geometry.k_h} * {geometry.k_w} wholly in the padding"
            )
        self._maxCount = np.zeros((geometry.n_h, geometry.n_w), np.uintc)
        self._set_up_filter((x,), geometry)

    def _config(self) -> dict[str, Any]:
        sizes = window(self._geometry) | placement(self._geometry)
        return {**sizes, "pad_value": self._pad_value}

    @property
    def maxCount(self) -> npt.NDArray[np.uintc]:
        """The number of elements within the domain that equal the maximum of each window, shape (height, width)."""
        if self._residency is not None and self.backward:  # the steps of a Graph do not compute it
            self._pool(np.empty_like(self._data))
        return self._maxCount

    def _pool(self, output: Array) -> None:
        x = self.backward[0]
        self._kernels.elementwise.max_pooling_forward(
            x._data, self._geometry, self._pad_value, output, self._maxCount
        )

    def calcData(self) -> None:
        self._pool(self._data)

    def calcPartialDerivative(self) -> None:
        x = self.backward[0]
        self._kernels.elementwise.max_pooling_backward(
            x._data, self._data, self.maxCount, self._geometry, self._grad, x._grad
        )


MaxPooling = MaxPooling2d


class AveragePooling2d(Filter2d):
    """The mean over a moving window; the padding counts as 0, and as an element of the window, unless told otherwise.

    D[α,β] = (1 / N) Σ_{i,j} X[(α−1)s + i − p, (β−1)s + j − q], with N = k_h k_w.

    ∂L/∂X[α,β] = Σ G / N over the windows that contain X[α,β].

    The constructor has three forms, told apart by the number of positional arguments, or by the names given:

    - ``(node1, kernelHeight, kernelWidth, stride, topPadding, leftPadding, height, width)``
    - ``(node1, kernelHeight, kernelWidth, stride, height, width)``: the padding is shared out to both sides
    - ``(node1, kernelHeight, kernelWidth, stride)``: as much padding as the stride needs to reach every element

    Parameters
    ----------
    node1 : Node
        The input, m_h × m_w.
    kernelHeight, kernelWidth : int
        Size of the window.
    stride : int
        Distance from one window to the next in both directions.
    topPadding, leftPadding : int, optional
        Virtual rows above and columns left of the input.
    height, width : int, optional
        Size of the output; bottom and right padding follow from it.
    crop : bool, optional, keyword only
        Whether the last rows and columns may be left unread. In the third form they are, where the stride leaves over
        less than a window, and there is no padding; in the others they are where the height or the width is too small
        for them, which is refused by default.
    count_padding : bool, optional, keyword only
        Whether the padding is part of the mean. If not, N is the number of elements of a window that lie within the
        input; where there are none, the mean is 0.

    Raises
    ------
    TypeError
        Arguments that are none of the three forms, `node1` is not a Node, a size is not an integer.
    ValueError
        A size is below its minimum, or a padding would be negative.

    Examples
    --------
    >>> import cgraph as CG
    >>> x = CG.Leaf2(2, 4)
    >>> x.getInput([[1, 5, 2, 2], [3, 4, 0, 2]])
    >>> d = CG.AveragePooling2d(x, 2, 2, 2)
    >>> x.forwardPropagation()
    >>> d.data
    array([3.25, 1.5 ])
    """

    @overload
    def __init__(
        self, node1: Node, kernelHeight: int, kernelWidth: int, stride: int,
        topPadding: int, leftPadding: int, height: int, width: int,
        *, crop: bool = False, count_padding: bool = True,
    ) -> None: ...  # fmt: skip
    @overload
    def __init__(
        self, node1: Node, kernelHeight: int, kernelWidth: int, stride: int,
        height: int, width: int, *, crop: bool = False, count_padding: bool = True,
    ) -> None: ...  # fmt: skip
    @overload
    def __init__(
        self, node1: Node, kernelHeight: int, kernelWidth: int, stride: int,
        *, crop: bool = False, count_padding: bool = True,
    ) -> None: ...  # fmt: skip

    def __init__(
        self, *args: Any, crop: bool = False, count_padding: bool = True, **kwargs: Any
    ) -> None:
        owner = type(self).__name__
        crop = as_flag(owner, "crop", crop)
        self._count_padding = as_flag(owner, "count_padding", count_padding)
        given = chosen_form(owner, FORMS, args, kwargs)
        x = as_node(owner, "node1", given.pop("node1"))
        self._set_up_filter((x,), fitted_geometry(owner, (x,), given, crop))

    def _config(self) -> dict[str, Any]:
        sizes = window(self._geometry) | placement(self._geometry)
        return {**sizes, "count_padding": self._count_padding}

    def calcData(self) -> None:
        self._kernels.elementwise.average_pooling_forward(
            self.backward[0]._data, self._geometry, self._count_padding, self._data
        )

    def calcPartialDerivative(self) -> None:
        self._kernels.elementwise.average_pooling_backward(
            self._grad, self._geometry, self._count_padding, self.backward[0]._grad
        )
