"""Initial parameters with a structure: orthogonal and sparse matrices, zeros and ones."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from cgraph._validation import Array, as_dtype, as_finite, as_generator, as_number, describe
from cgraph.init.shapes import as_fans, as_shape, rows_of_outputs


def orthogonal(
    shape: Sequence[int],
    rng: np.random.Generator | int | None = None,
    fans: tuple[float, float] | None = None,
    *,
    gain: float = 1.0,
    dtype: npt.DTypeLike | None = None,
) -> Array:
    """Draws a matrix whose columns, or rows if there are more columns, are orthogonal and have the length `gain`.

    The matrix is Q of the decomposition A = Q R of normal numbers, where R has a positive diagonal. With that choice
    of signs the matrix is unique, and all orthogonal matrices are equally likely (Mezzadri). The kernels of filters
    are the rows of a matrix (N, C k_h k_w), those of one filter a vector of the length `gain`.

    Parameters
    ----------
    shape, rng, fans, dtype
        As in `glorot_uniform`; fans take no part.
    gain : float, optional
        The length; √2 is usual before ReLU, and 0.01 for the last layer of a policy.

    Returns
    -------
    numpy.ndarray
        A new array of this shape.

    Raises
    ------
    TypeError, ValueError
        An argument is not of this kind, or out of range; `gain` is not finite.

    Notes
    -----
    The decomposition is LAPACK's: the same seed gives the same bits with one NumPy on one machine, and elsewhere the
    same numbers up to rounding.

    References
    ----------
    A. Saxe, J. McClelland, S. Ganguli: Exact solutions to the nonlinear dynamics of learning in deep linear neural
    networks, ICLR 2014, arXiv:1312.6120.
    F. Mezzadri: How to generate random matrices from the classical compact groups, Notices of the AMS 54 (2007),
    arXiv:math-ph/0609050.

    Examples
    --------
    >>> import numpy as np
    >>> import cgraph as CG
    >>> w = CG.init.orthogonal((5, 3), rng=0)
    >>> bool(np.abs(w.T @ w - np.eye(3)).max() < 1e-14)
    True
    """
    owner = "orthogonal"
    sizes, number_type = as_shape(owner, shape), as_dtype(owner, dtype)
    as_fans(owner, fans, sizes)
    factor = as_finite(owner, "gain", gain, number_type)
    rows = sizes[0] if len(sizes) != 3 else 1
    columns = math.prod(sizes) // rows
    tall = max(rows, columns), min(rows, columns)
    q, r = np.linalg.qr(as_generator(owner, rng).normal(size=tall))
    q *= np.where(np.diagonal(r) < 0, -1, 1)
    matrix = q if rows >= columns else q.T
    return (factor * matrix).astype(number_type, order="C").reshape(sizes)


def sparse(
    shape: Sequence[int],
    rng: np.random.Generator | int | None = None,
    fans: tuple[float, float] | None = None,
    *,
    sparsity: float = 0.9,
    dtype: npt.DTypeLike | None = None,
) -> Array:
    """Draws from U(−a, a) with a = 1 / √fan_in, and sets ⌈sparsity · m⌉ of the m weights of each output to 0.

    One weight remains at least, where the paper's program leaves none to outputs of few inputs. Which weights are 0 is
    drawn for each output alone. Each output then depends on a few inputs, so that learning from one
    sample disturbs little of what was learnt from others: for streams, with `LayerNorm`.

    Parameters
    ----------
    shape, rng, fans, dtype
        As in `glorot_uniform`; fan_out takes no part.
    sparsity : float, optional
        The fraction of zeros, in [0, 1).

    Returns
    -------
    numpy.ndarray
        A new array of this shape.

    Raises
    ------
    TypeError, ValueError
        An argument is not of this kind, or out of range.

    References
    ----------
    M. Elsayed, G. Vasan, A. R. Mahmood: Streaming deep reinforcement learning finally works, 2024, arXiv:2410.14606.
    The idea is of J. Martens: Deep learning via Hessian-free optimization, ICML 2010.

    Examples
    --------
    >>> import numpy as np
    >>> import cgraph as CG
    >>> np.count_nonzero(CG.init.sparse((20, 3), rng=0), axis=0)
    array([2, 2, 2])
    """
    owner = "sparse"
    sizes, number_type = as_shape(owner, shape), as_dtype(owner, dtype)
    fraction = as_number(owner, "sparsity", sparsity)
    if not 0 <= fraction < 1:
        raise ValueError(f"{owner}: sparsity must be in [0, 1), got {describe(sparsity)}")
    bound = 1 / math.sqrt(as_fans(owner, fans, sizes).fan_in)
    generator = as_generator(owner, rng)
    outputs, inputs = rows_of_outputs(sizes)
    weights = generator.uniform(-bound, bound, (outputs, inputs))
    # In floating point 0.55 · 100 is 55.00000000000001.
    zeros_each = min(math.ceil(fraction * inputs * (1 - 1e-12)), inputs - 1)
    for row in weights:
        row[generator.permutation(inputs)[:zeros_each]] = 0
    matrix = weights.T if len(sizes) == 2 else weights
    return matrix.astype(number_type, order="C").reshape(sizes)


def zeros(
    shape: Sequence[int],
    rng: np.random.Generator | int | None = None,
    fans: tuple[float, float] | None = None,
    *,
    dtype: npt.DTypeLike | None = None,
) -> Array:
    """Returns zeros: for the last layer of a residual block, which then begins as the identity.

    Units of one layer whose weights are all equal get equal gradients and stay equal, so other layers need random
    numbers.

    Parameters
    ----------
    shape, rng, fans, dtype
        As in `glorot_uniform`; nothing is drawn from `rng`, and fans take no part.

    Returns
    -------
    numpy.ndarray
        A new array of this shape.
    """
    return _filled("zeros", 0, shape, rng, fans, dtype)


def ones(
    shape: Sequence[int],
    rng: np.random.Generator | int | None = None,
    fans: tuple[float, float] | None = None,
    *,
    dtype: npt.DTypeLike | None = None,
) -> Array:
    """Returns ones.

    Parameters
    ----------
    shape, rng, fans, dtype
        As in `glorot_uniform`; nothing is drawn from `rng`, and fans take no part.

    Returns
    -------
    numpy.ndarray
        A new array of this shape.
    """
    return _filled("ones", 1, shape, rng, fans, dtype)


def _filled(
    owner: str, value: int, shape: object, rng: object, fans: object, dtype: npt.DTypeLike | None
) -> Array:
    """Returns an array of one number, after the checks that all initialisers make."""
    sizes, number_type = as_shape(owner, shape), as_dtype(owner, dtype)
    as_fans(owner, fans, sizes)
    as_generator(owner, rng)
    return np.full(sizes, value, number_type)
