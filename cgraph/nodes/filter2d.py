"""Filter2d: the base class of convolution and pooling, and the geometry of a window that moves over its input.

Sizes of one axis, rows or columns: m of the input, k of the kernel, n of the output; s is the stride, p the padding
before the first row or column (specification, section "Class: Filter2d").

docs/look_up/specification.md says which document *the specification* is.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

from cgraph._kernels.common.geometry import FilterGeometry
from cgraph._validation import MAX_SIZE, as_size
from cgraph.node import Node, as_nodes


class Axis(NamedTuple):
    """The words for one axis in error messages."""

    rows: str
    height: str
    before: str
    after: str


ROWS = Axis("rows", "height", "topPadding", "bottom")
COLUMNS = Axis("columns", "width", "leftPadding", "right")


def fit(
    owner: str, axis: Axis, m: int, k: int, s: int, p: int | None, n: int | None, crop: bool
) -> tuple[int, int]:
    """Returns the output size n and the padding p of one axis, computed where they are not given.

    By default n = ⌈(m − k) / s⌉ + 1, or ⌊(m − k) / s⌋ + 1 with `crop`. The padding of both sides together is
    s (n − 1) + k − m; by default p is half of it, rounded down.

    Raises
    ------
    ValueError
        The output would be empty, or a padding negative; with `crop` that behind the last row or column may be, whose
        elements are then not read.
    """
    if n is None:
        n = (m - k) // s + 1 if crop else -((k - m) // s) + 1
        if n < 1:
            raise ValueError(
                f"{owner}: a kernel of {k} {axis.rows} does not fit an input of {m} with stride {s}; "
                f"{axis.height} would be {n}"
            )
    total = s * (n - 1) + k - m
    if p is None:
        p = max(total // 2, 0)
    if total < p and not crop:
        raise ValueError(
            f"{owner}: {axis.height} {n} with stride {s} and a kernel of {k} reads "
            f"{s * (n - 1) + k} {axis.rows}, fewer than the input's {m} and {axis.before} {p}; "
            f"the {axis.after} padding would be {total - p}"
        )
    return n, p


def chosen_form(
    owner: str,
    forms: Sequence[tuple[str, ...]],
    args: tuple[object, ...],
    kwargs: Mapping[str, object],
) -> dict[str, object]:
    """Returns the arguments by name of a constructor with several forms, which differ in the number of arguments.

    Positional arguments stand for the first names of a form; the keywords must be exactly its other names.

    Raises
    ------
    TypeError
        The arguments fit no form; the message lists all forms.
    """
    for form in forms:
        if len(args) <= len(form) and set(form[len(args) :]) == set(kwargs):
            return dict(zip(form, args, strict=False)) | dict(kwargs)
    valid = " or ".join(f"({', '.join(form)})" for form in forms)
    given = ", ".join([*(f"{len(args)} positional" for _ in args[:1]), *kwargs])
    raise TypeError(f"{owner}: the arguments must be {valid}, got ({given})")


MINIMUM = {"topPadding": 0, "leftPadding": 0}


def fitted_geometry(
    owner: str, channels: Sequence[Node], given: Mapping[str, object], crop: bool = False
) -> FilterGeometry:
    """Returns the geometry for input channels and the given sizes of a Filter2d; the stride is 1 by default.

    With `crop`, the last rows and columns of the input need not be read.

    Raises
    ------
    TypeError
        A size is not an integer.
    ValueError
        The channels' shapes differ, a size is below its minimum, or a padding would be negative.
    """
    m_h, m_w = channels[0].height, channels[0].width
    for node in channels:
        if (node.height, node.width) != (m_h, m_w):
            raise ValueError(
                f"{owner}: nodes must all have the same height and width, "
                f"got ({m_h}, {m_w}) and ({node.height}, {node.width})"
            )
    sizes = {name: as_size(owner, name, size, MINIMUM.get(name, 1)) for name, size in given.items()}
    k_h, k_w, s = sizes["kernelHeight"], sizes["kernelWidth"], sizes.get("stride", 1)
    n_h, p = fit(owner, ROWS, m_h, k_h, s, sizes.get("topPadding"), sizes.get("height"), crop)
    n_w, q = fit(owner, COLUMNS, m_w, k_w, s, sizes.get("leftPadding"), sizes.get("width"), crop)
    rows, columns = max(s * (n_h - 1) + k_h, p + m_h), max(s * (n_w - 1) + k_w, q + m_w)
    if rows * columns > MAX_SIZE:
        raise ValueError(
            f"{owner}: the padded input must have at most {MAX_SIZE} elements, "
            f"got {rows} * {columns}"
        )
    return FilterGeometry(m_h, m_w, k_h, k_w, n_h, n_w, s, p, q)


def window(geometry: FilterGeometry) -> dict[str, Any]:
    """Returns the size of a window as arguments of a constructor."""
    return {"kernelHeight": geometry.k_h, "kernelWidth": geometry.k_w}


def placement(geometry: FilterGeometry) -> dict[str, Any]:
    """Returns how a window moves over its input, as arguments of the constructor's form with all sizes."""
    w = geometry
    reached = w.s * (w.n_h - 1) + w.k_h - w.p, w.s * (w.n_w - 1) + w.k_w - w.q
    return {
        "stride": w.s,
        "topPadding": w.p,
        "leftPadding": w.q,
        "height": w.n_h,
        "width": w.n_w,
        "crop": reached[0] < w.m_h or reached[1] < w.m_w,
    }


class Filter2d(Node):
    """A window that moves over one or more input channels (specification, section "Class: Filter2d").

    The base class of Convolution2d, MaxPooling2d and AveragePooling2d. It computes nothing itself.

    Parameters
    ----------
    nodes : sequence of Node
        The input channels, all of the same height and width (m_h, m_w).
    kernelHeight, kernelWidth : int
        Size of the window (k_h, k_w).
    stride : int
        Distance from one window to the next in both directions (s).
    topPadding, leftPadding : int
        Virtual rows above and columns left of the input (p₁, q₁), 0 or more.
    height, width : int
        Size of the output (n_h, n_w). Bottom and right padding follow: p₂ = s (n_h − 1) + k_h − m_h − p₁.

    Raises
    ------
    TypeError
        An element of `nodes` is not a Node, their dtypes differ, or a size is not an integer.
    ValueError
        `nodes` is empty or its shapes differ, a size is below its minimum, or a padding would be negative.

    Examples
    --------
    >>> import cgraph as CG
    >>> node = CG.Filter2d([CG.Leaf2(8, 8)], 3, 3, 2, 1, 1, 4, 4)
    >>> node.height, node.width, node.kheight, node.pt, node.pl, node.sw
    (4, 4, 3, 1, 1, 2)
    """

    _input_argument: ClassVar[str | None] = "nodes"

    def __init__(
        self,
        nodes: Iterable[Node],
        kernelHeight: int,
        kernelWidth: int,
        stride: int,
        topPadding: int,
        leftPadding: int,
        height: int,
        width: int,
    ) -> None:
        channels = as_nodes(type(self).__name__, "nodes", nodes)
        given = {
            "kernelHeight": kernelHeight,
            "kernelWidth": kernelWidth,
            "stride": stride,
            "topPadding": topPadding,
            "leftPadding": leftPadding,
            "height": height,
            "width": width,
        }
        self._set_up_filter(channels, fitted_geometry(type(self).__name__, channels, given))

    def _config(self) -> dict[str, Any]:
        sizes = window(self._geometry) | placement(self._geometry)
        del sizes["crop"]
        return sizes

    def _set_up_filter(self, channels: tuple[Node, ...], geometry: FilterGeometry) -> None:
        """Finishes the constructor after the checks of the geometry."""
        self._geometry = geometry
        self._set_up(channels[0].size, geometry.n_h, geometry.n_w, channels)

    @property
    def kheight(self) -> int:
        """Number of rows of the kernel."""
        return self._geometry.k_h

    @property
    def kwidth(self) -> int:
        """Number of columns of the kernel."""
        return self._geometry.k_w

    @property
    def pt(self) -> int:
        """Number of rows of padding at the top."""
        return self._geometry.p

    @property
    def pl(self) -> int:
        """Number of columns of padding at the left."""
        return self._geometry.q

    @property
    def sw(self) -> int:
        """Stride of the window in both directions."""
        return self._geometry.s
