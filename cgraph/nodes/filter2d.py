"""Filter2d: what convolution and pooling share, the geometry of a window that moves over its input.

m: size of the input; k: of the kernel; n: of the output; s: stride; p: padding before the first row or column. All of
it holds for rows and for columns alike (section "Class: Filter2d").
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from cgraph._kernels.common.geometry import FilterGeometry
from cgraph._validation import MAX_SIZE, as_size
from cgraph.node import Node, as_nodes


class Axis(NamedTuple):
    """The words of one axis, for messages."""

    rows: str
    height: str
    before: str
    after: str


ROWS = Axis("rows", "height", "topPadding", "bottom")
COLUMNS = Axis("columns", "width", "leftPadding", "right")


def fit(
    owner: str, axis: Axis, m: int, k: int, s: int, p: int | None, n: int | None
) -> tuple[int, int]:
    """Output size n and padding p of one axis, where they are not given.

    Without n: n = ⌈(m − k) / s⌉ + 1. The padding of both sides together is s (n − 1) + k − m; without p the side before
    gets the half of it, rounded down.

    Raises
    ------
    ValueError
        The output would be empty, or a padding negative.
    """
    if n is None:
        n = -((k - m) // s) + 1
        if n < 1:
            raise ValueError(
                f"{owner}: a kernel of {k} {axis.rows} does not fit an input of {m} with stride {s}; "
                f"{axis.height} would be {n}"
            )
    total = s * (n - 1) + k - m
    if p is None:
        p = max(total // 2, 0)
    if total < p:
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
    """The arguments by name, of a constructor whose forms differ in their number.

    Positional arguments fill a form's first names; the keywords must be exactly the rest of it.

    Raises
    ------
    TypeError
        No form fits; the message lists them.
    """
    for form in forms:
        if len(args) <= len(form) and set(form[len(args) :]) == set(kwargs):
            return dict(zip(form, args, strict=False)) | dict(kwargs)
    valid = " or ".join(f"({', '.join(form)})" for form in forms)
    given = ", ".join([*(f"{len(args)} positional" for _ in args[:1]), *kwargs])
    raise TypeError(f"{owner}: the arguments must be {valid}, got ({given})")


MINIMUM = {"topPadding": 0, "leftPadding": 0}


def fitted_geometry(
    owner: str, channels: Sequence[Node], given: Mapping[str, object]
) -> FilterGeometry:
    """The geometry for input channels and those of Filter2d's sizes that are given; the stride is 1 by default.

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
    n_h, p = fit(owner, ROWS, m_h, k_h, s, sizes.get("topPadding"), sizes.get("height"))
    n_w, q = fit(owner, COLUMNS, m_w, k_w, s, sizes.get("leftPadding"), sizes.get("width"))
    rows, columns = s * (n_h - 1) + k_h, s * (n_w - 1) + k_w
    if rows * columns > MAX_SIZE:
        raise ValueError(
            f"{owner}: the padded input must have at most {MAX_SIZE} elements, "
            f"got {rows} * {columns}"
        )
    return FilterGeometry(m_h, m_w, k_h, k_w, n_h, n_w, s, p, q)


class Filter2d(Node):
    """A window that moves over one or more input channels; computes nothing itself (section "Class: Filter2d").

    Parameters
    ----------
    nodes : sequence of Node
        The input channels, all of the same height and width (m_h, m_w).
    kernelHeight, kernelWidth : int
        Size of the window (k_h, k_w).
    stride : int
        Step of the window, in both directions (s).
    topPadding, leftPadding : int
        Virtual rows above and columns left of the input (p₁, q₁), 0 or more.
    height, width : int
        Size of the output (n_h, n_w). Bottom and right padding follow: p₂ = s (n_h − 1) + k_h − m_h − p₁.

    Raises
    ------
    TypeError
        Something in `nodes` is not a Node, their dtypes differ, or a size is not an integer.
    ValueError
        No nodes, nodes of different shapes, a size below its minimum, or a padding that would be negative.

    Examples
    --------
    >>> import cgraph as CG
    >>> node = CG.Filter2d([CG.Leaf2(8, 8)], 3, 3, 2, 1, 1, 4, 4)
    >>> node.height, node.width, node.kheight, node.pt, node.pl, node.sw
    (4, 4, 3, 1, 1, 2)
    """

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

    def _set_up_filter(self, channels: tuple[Node, ...], geometry: FilterGeometry) -> None:
        """The constructor behind the checks of the geometry."""
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
        """Padding at the top."""
        return self._geometry.p

    @property
    def pl(self) -> int:
        """Padding at the left."""
        return self._geometry.q

    @property
    def sw(self) -> int:
        """Stride."""
        return self._geometry.s
