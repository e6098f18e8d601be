"""Convolution2d: several input channels, one output channel.

docs/look_up/specification.md says which document *the specification* is.
"""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, overload

import numpy as np
import numpy.typing as npt

from cgraph import _kernels
from cgraph._kernels.common.geometry import FilterGeometry
from cgraph._kernels.protocols import Offsets
from cgraph._validation import Array, as_flag, as_number, as_real, copy_into
from cgraph.node import Node, as_nodes
from cgraph.nodes.filter2d import Filter2d, chosen_form, fitted_geometry, placement
from cgraph.nodes.learning import LearningNode, joined

FORMS = (
    ("nodes", "Kernel", "bias", "stride", "topPadding", "leftPadding", "height", "width"),
    ("nodes", "Kernel", "bias", "stride", "height", "width"),
    ("nodes", "Kernel", "bias", "stride"),
    ("nodes", "Kernel", "bias", "height", "width"),
    ("nodes", "Kernel", "bias"),
)


def tap_offsets(geometry: FilterGeometry, channels: int) -> Offsets:
    """Returns the offset of the input of each kernel element (c, i, j) for output (0, 0).

    The kernels read a copy of each channel with its padding, a frame, which is split by stride into polyphase
    components (planes). The offsets count from the frame of the first channel.
    """
    c, i, j = np.ogrid[:channels, : geometry.k_h, : geometry.k_w]
    s = geometry.s
    plane = i % s * geometry.phases_w + j % s
    offsets = c * geometry.frame + plane * geometry.plane + i // s * geometry.pitch + j // s
    return np.asarray(offsets, np.intp).reshape(-1)


class Convolution2d(LearningNode, Filter2d):
    """Cross-correlation of C channels with one kernel (specification, section "Class: Convolution2d").

    With X = 0 outside its domain, and indices from 1 as in the specification,
    D[α,β] = Σ_c Σ_i Σ_j K[c,i,j] X_c[(α−1)s + i − p, (β−1)s + j − q] + b.

    ∂L/∂X_c[α,β] = Σ K[c,i,j] G[(α−i+p)/s + 1, (β−j+q)/s + 1] over all i, j with whole indices within G;
    ∂L/∂K[c,i,j] = Σ_{α,β} X_c[(α−1)s + i − p, (β−1)s + j − q] G[α,β]; ∂L/∂b = Σ_{α,β} G[α,β].

    The constructor has five forms, told apart by the number of positional arguments, or by the names given:

    - ``(nodes, Kernel, bias, stride, topPadding, leftPadding, height, width)``
    - ``(nodes, Kernel, bias, stride, height, width)``: the padding is shared out to both sides
    - ``(nodes, Kernel, bias, stride)``: as much padding as the stride needs to reach every element
    - ``(nodes, Kernel, bias, height, width)``: stride 1
    - ``(nodes, Kernel, bias)``: stride 1, no padding

    Parameters
    ----------
    nodes : sequence of Node
        The C input channels, all of the same height and width (m_h, m_w).
    Kernel : array_like, shape (C, k_h, k_w)
        Initial kernel; copied, and cast to the dtype of the inputs.
    bias : float
        Initial bias b, which learns, too.
    stride : int, optional
        Distance from one window to the next in both directions (s).
    topPadding, leftPadding : int, optional
        Virtual rows above and columns left of the input (p, q).
    height, width : int, optional
        Size of the output (n_h, n_w); bottom and right padding follow from it.
    crop : bool, optional, keyword only
        Whether the last rows and columns may be left unread. In the forms without a size they are, where the stride
        leaves over less than a window, and there is no padding; in the others they are where the height or the width is
        too small for them, which is refused by default. The gradient of an element that no window reads is 0.

    Raises
    ------
    TypeError
        Arguments that are none of the five forms, inputs that are not Nodes or differ in dtype, sizes that are not
        integers, a kernel or bias that are not real numbers.
    ValueError
        `Kernel` has another shape than (C, k_h, k_w), the inputs differ in shape, a size is below its minimum, or a
        padding would be negative.

    Examples
    --------
    >>> import cgraph as CG
    >>> x = CG.Leaf2(3, 3)
    >>> x.getInput([[1, 2, 3], [4, 5, 6], [7, 8, 9]])
    >>> y = CG.Convolution2d([x], [[[1, 0], [0, -1]]], 0.5)
    >>> x.forwardPropagation()
    >>> y.data.reshape(y.height, y.width)
    array([[-3.5, -3.5],
           [-3.5, -3.5]])
    >>> CG.Convolution2d([x], [[[1, 0], [0, -1]]], 0.5, 2, crop=True).size
    1
    """

    _kernel: Array
    _bias_array: Array
    _gradKernel: Array
    _gradBias_array: Array

    # One vector holds the kernel and, after it, the bias.
    _parts: Mapping[tuple[str, str], slice] = {
        ("kernel", "gradKernel"): slice(-1),
        ("_bias", "_gradBias"): slice(-1, None),
    }
    _attributes: ClassVar = {
        "kernel": "_kernel",
        "gradKernel": "_gradKernel",
        "_bias": "_bias_array",
        "_gradBias": "_gradBias_array",
    }
    _parameters = tuple(_parts)
    _arguments: ClassVar = {"kernel": "Kernel", "_bias": "bias"}
    _numbers: ClassVar = frozenset({"_bias"})
    _input_argument: ClassVar = "nodes"

    @overload
    def __init__(
        self, nodes: Iterable[Node], Kernel: npt.ArrayLike, bias: float, stride: int,
        topPadding: int, leftPadding: int, height: int, width: int, *, crop: bool = False,
    ) -> None: ...  # fmt: skip
    @overload
    def __init__(
        self, nodes: Iterable[Node], Kernel: npt.ArrayLike, bias: float, stride: int,
        height: int, width: int, *, crop: bool = False,
    ) -> None: ...  # fmt: skip
    @overload
    def __init__(
        self, nodes: Iterable[Node], Kernel: npt.ArrayLike, bias: float, stride: int,
        *, crop: bool = False,
    ) -> None: ...  # fmt: skip
    @overload
    def __init__(
        self, nodes: Iterable[Node], Kernel: npt.ArrayLike, bias: float, height: int, width: int,
        *, crop: bool = False,
    ) -> None: ...  # fmt: skip
    @overload
    def __init__(
        self, nodes: Iterable[Node], Kernel: npt.ArrayLike, bias: float, *, crop: bool = False
    ) -> None: ...

    def __init__(self, *args: Any, crop: bool = False, **kwargs: Any) -> None:
        owner = type(self).__name__
        crop = as_flag(owner, "crop", crop)
        given = chosen_form(owner, FORMS, args, kwargs)
        channels = as_nodes(owner, "nodes", given.pop("nodes"))
        kernel = as_real(owner, "Kernel", given.pop("Kernel"))
        bias = as_number(owner, "bias", given.pop("bias"))
        if kernel.ndim != 3 or kernel.shape[0] != len(channels) or 0 in kernel.shape:
            raise ValueError(
                f"{owner}: Kernel must have shape ({len(channels)}, kernelHeight, kernelWidth), "
                f"a channel for each node, got {kernel.shape}"
            )
        sizes = {"kernelHeight": kernel.shape[1], "kernelWidth": kernel.shape[2]}
        geometry = fitted_geometry(owner, channels, given | sizes, crop)
        self._shape = kernel.shape
        self._hold(joined(channels[0].dtype, kernel, np.full(1, bias)))
        self._taps = tap_offsets(geometry, len(channels))
        kernels = channels[0]._kernels.convolution
        self._scratch_size = kernels.convolution2d_scratch(geometry, len(channels))
        self._set_up_filter(channels, geometry)

    def _config(self) -> dict[str, Any]:
        return placement(self._geometry)

    def _biases(self, name: str) -> slice:
        return slice(None) if name == "_bias" else slice(0)

    def _parameter_views(self, vector: Array) -> dict[str, Array]:
        kernel = vector[:-1].reshape(self._shape)
        return {"_parameter_vector": vector, "_kernel": kernel, "_bias_array": vector[-1:]}

    def _grad_views(self, vector: Array) -> dict[str, Array]:
        kernel = vector[:-1].reshape(self._shape)
        return {"_grad_vector": vector, "_gradKernel": kernel, "_gradBias_array": vector[-1:]}

    @property
    def kernel(self) -> Array:
        """The kernel K, shape (C, k_h, k_w), live like ``data``. Assigning copies into the array."""
        return self._lend("kernel")

    @kernel.setter
    def kernel(self, value: npt.ArrayLike) -> None:
        copy_into(type(self).__name__, "kernel", value, self.kernel)

    @property
    def gradKernel(self) -> Array:
        """The sum of the gradients of K since the last update, shape (C, k_h, k_w), live like ``kernel``."""
        return self._lend("gradKernel")

    @gradKernel.setter
    def gradKernel(self, value: npt.ArrayLike) -> None:
        copy_into(type(self).__name__, "gradKernel", value, self.gradKernel)

    @property
    def _bias(self) -> Array:
        return self._lend("_bias")

    @property
    def _gradBias(self) -> Array:
        return self._lend("_gradBias")

    @property
    def bias(self) -> float:
        """The bias b; it can be assigned."""
        return float(self._bias[0])

    @bias.setter
    def bias(self, value: float) -> None:
        self._bias[0] = as_number(type(self).__name__, "bias", value)

    @property
    def gradBias(self) -> float:
        """The sum of the gradients of b since the last update; it can be assigned."""
        return float(self._gradBias[0])

    @gradBias.setter
    def gradBias(self, value: float) -> None:
        self._gradBias[0] = as_number(type(self).__name__, "gradBias", value)

    def calcData(self) -> None:
        self._refresh_parameters()
        self._kernels.convolution.convolution2d_forward(
            [x._data for x in self.backward],
            self._parameter_vector,
            self._taps,
            self._geometry,
            _kernels.scratch(self._data.dtype, self._scratch_size),
            self._data,
        )

    def calcPartialDerivative(self) -> None:
        self._refresh_parameters()
        k, geometry = self._kernels.convolution, self._geometry
        scratch = _kernels.scratch(self._data.dtype, self._scratch_size)
        k.convolution2d_backward_input(
            self._parameter_vector, self._grad, geometry, scratch, [x._grad for x in self.backward]
        )
        if len(self._frozen) == len(self._parts):
            return
        self._touch_grads()
        grads = np.zeros_like(self._grad_vector) if self._frozen else self._grad_vector
        k.convolution2d_backward_kernel(
            [x._data for x in self.backward], self._grad, self._taps, geometry, scratch, grads
        )
        if self._frozen:
            self._add_to_learning(grads)
