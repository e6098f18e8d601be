"""FlatVector: the parameters of a Graph as one flat vector, for optimisers of functions and for least squares."""

from __future__ import annotations

from functools import cached_property

import numpy.typing as npt

from cgraph._execution.executable import Executable
from cgraph._execution.feeds import Feed, FeedSpecs, as_feeds
from cgraph._execution.gradient_rows import GradientRows
from cgraph._execution.vectors import Vectors
from cgraph._kernels.runtime.memory import exclusive
from cgraph._validation import Array


class FlatVector:
    """The methods of a Graph with all parameters that learn, and their gradients, in one vector of P elements.

    The order is that of `parameters`, each array in C order; parameters with ``trainable = False`` are left out. So a
    change of `trainable` changes P.
    """

    _executable: Executable
    _feed_specs: FeedSpecs

    @cached_property
    def _vectors(self) -> Vectors:
        return Vectors(self._executable)

    @cached_property
    def _gradient_rows(self) -> GradientRows:
        return GradientRows(self._executable, self._vectors)

    @exclusive
    def get_vector(self) -> Array:
        """Returns a copy of all parameters that learn.

        Returns
        -------
        ndarray, shape (P,)
            Their elements, in the order of `parameters`, each in C order, in the nodes' dtype.

        Raises
        ------
        TypeError
            An own node declares a parameter that is not a writable array of floating-point numbers.
        RuntimeError
            The nodes belong to a newer Graph.
        """
        self._executable.begin("Graph.get_vector")
        self._vectors.begin()
        return self._vectors.values()

    @exclusive
    def set_vector(self, v: npt.ArrayLike) -> None:
        """Copies a vector into all parameters that learn or, on an error, into none.

        Parameters
        ----------
        v : array_like, shape (P,)
            Real numbers in the order of `get_vector`, rounded to the nodes' dtype; NaN and infinities are allowed.

        Raises
        ------
        TypeError, ValueError
            `v` is not as above; an own node declares a parameter that is not a writable array of floating-point
            numbers.
        RuntimeError
            The nodes belong to a newer Graph.

        Examples
        --------
        >>> import cgraph as CG
        >>> x = CG.Leaf1(2)
        >>> graph = CG.Graph(CG.Affine(x, [[1.0], [2.0], [3.0]]))
        >>> graph.set_vector(2 * graph.get_vector())
        >>> graph.get_vector()
        array([2., 4., 6.])
        """
        self._executable.begin("Graph.set_vector", "parameters")
        self._vectors.begin()
        self._vectors.assign(self._vectors.as_vector("Graph.set_vector", v))

    @exclusive
    def value_and_grad(self, feed: Feed, v: npt.ArrayLike | None = None) -> tuple[float, Array]:
        """Computes the sum of the losses of B samples, and its gradient with respect to all parameters that learn.

        loss(v) = Σ_b loss_b(v),  gradient_k = ∂ loss / ∂ v_k

        Nothing is updated: gradient sums, and the number of samples by which an optimiser divides them, stay as they
        are. A Dropout does nothing, as in `predict`, since the optimisers of functions need the same value for the same
        `v`.

        Parameters
        ----------
        feed : mapping of Node to array_like
            The samples of each leaf, as for `accumulate`.
        v : array_like, shape (P,), optional
            The parameters, to which they are set before, as `set_vector` does; they keep these values.

        Returns
        -------
        loss : float
            The sum of the losses, in float64.
        gradient : ndarray, shape (P,)
            The sum of the gradients, in the order of `get_vector` and in the nodes' dtype.

        Raises
        ------
        TypeError, ValueError
            `feed` or `v` is not as above, or an own node as for `set_vector`; the graph has more than one output, or
            one of more than one element; a leaf that is not fed has never been given data.
        RuntimeError
            The nodes belong to a newer Graph.

        Examples
        --------
        With SciPy, L-BFGS-B is ``minimize(lambda v: graph.value_and_grad(feed, v), graph.get_vector(), jac=True,
        method="L-BFGS-B")``.

        >>> import cgraph as CG
        >>> x, t = CG.Leaf1(2), CG.Leaf1(1)
        >>> graph = CG.Graph(CG.MSE(CG.Affine(x, [[1.0], [1.0], [0.0]]), t))
        >>> graph.value_and_grad({x: [[1, 2], [0, 1]], t: [4, 0]})
        (2.0, array([-2., -2.,  0.]))
        """
        owner = "Graph.value_and_grad"
        executable, vectors = self._executable, self._vectors
        effect = executable.effect_of_backward if v is None else "parameters"
        executable.begin_training(owner, effect=effect)
        feeds = as_feeds(owner, feed, self._feed_specs, executable.written)
        vectors.begin()
        return vectors.value_and_grad(feeds, None if v is None else vectors.as_vector(owner, v))

    @exclusive
    def per_sample_gradients(self, feed: Feed) -> Array:
        """Computes the gradient of each sample's loss with respect to all parameters that learn.

        J_bk = ∂ loss_b / ∂ v_k

        Nothing is updated, and gradient sums stay as they are; a Dropout does nothing, as for `value_and_grad`.

        Parameters
        ----------
        feed : mapping of Node to array_like
            The samples of each leaf, as for `accumulate`.

        Returns
        -------
        ndarray, shape (B, P)
            The gradient of sample b in row b, in the order of `get_vector`.

        Raises
        ------
        TypeError, ValueError
            As for `value_and_grad`.
        RuntimeError
            The nodes belong to a newer Graph.

        Notes
        -----
        The only output may be any node of one element. Where it is a model's output y, row b is ∂ y_b / ∂ v, which
        least squares need (Levenberg-Marquardt).

        Examples
        --------
        >>> import cgraph as CG
        >>> x = CG.Leaf1(2)
        >>> graph = CG.Graph(CG.Affine(x, [[1.0], [1.0], [0.0]]))
        >>> graph.per_sample_gradients({x: [[1, 2], [3, 4]]})
        array([[1., 2., 1.],
               [3., 4., 1.]])
        """
        owner = "Graph.per_sample_gradients"
        executable = self._executable
        executable.begin_training(owner, effect=executable.effect_of_backward)
        feeds = as_feeds(owner, feed, self._feed_specs, executable.written)
        self._vectors.begin()
        return self._gradient_rows.compute(feeds)
