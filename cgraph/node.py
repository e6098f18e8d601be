"""Node: the base class of all nodes, with its neighbours, its counters and its three propagations.

docs/look_up/specification.md says which document *the specification* is, and lists its members.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import ClassVar, final

import numpy as np
import numpy.typing as npt
from numpy import zeros

from cgraph import _kernels
from cgraph._kernels.runtime.sharing import Sharing
from cgraph._kernels.runtime.step import SampleCounter
from cgraph._kernels.runtime.uninterrupted import Component, attach, complete, push
from cgraph._operators import Operators
from cgraph._propagation import half_passes, passes
from cgraph._propagation.residency import Residency
from cgraph._subclassing import Unfinished, check_class, check_identity, declared_array
from cgraph._subclassing.copying import Copyable
from cgraph._subclassing.rebuilding import Rebuildable
from cgraph._subclassing.sharing import Shareable, pass_on
from cgraph._validation import (
    MAX_SIZE,
    Array,
    DType,
    as_dtype,
    as_rate,
    as_size,
    copy_into,
    describe,
    is_iterable,
    require_dtype,
)


class Node(Operators["Node"], Unfinished, Rebuildable, Copyable, Shareable):
    """A node of a computation graph for one sample (specification, section "Class: Node").

    A node holds a matrix of ``height`` × ``width`` numbers, its ``data``, and the derivative of the loss with respect
    to each of them, its ``grad``. Both are flat arrays, row by row. A forward pass computes ``data`` from the nodes in
    ``backward``; a backward pass adds the contribution of this node to the ``grad`` of the nodes in ``backward``.

    To write a node of your own, derive a class from Node, override ``calcData`` and ``calcPartialDerivative``, and
    declare ``_parameters`` if the node learns. docs/look_up/specification.md lists the members of the specification.

    Parameters
    ----------
    domsize : int
        Number of input elements; 0 for a leaf.
    height, width : int
        Shape of the data, at least 1 × 1.
    inputs : sequence of Node
        The previous layer. Each input is appended to ``backward``, and this node to the input's ``forward``, once per
        occurrence.
    dtype : numpy dtype, optional
        float64 or float32; by default that of the inputs, or float64 without inputs.

    Raises
    ------
    TypeError
        A size that is not an integer, an input that is not a Node, inputs of different dtypes; a class with an
        ``__eq__`` or ``__hash__`` of its own.
    ValueError
        A size below its minimum or so large that the data would have more than 2**31 - 1 elements.

    Attributes
    ----------
    forward, backward : list of Node
        The nodes of the next and of the previous layer, in the order in which they were attached.
    f_count, b_count : int
        Arrivals so far in the running backward (or update) pass and in the running forward pass; 0 between passes.

    Examples
    --------
    >>> import cgraph as CG
    >>> class Square(CG.Node):
    ...     def __init__(self, node1):
    ...         super().__init__(node1.size, node1.height, node1.width, [node1])
    ...
    ...     def calcData(self):
    ...         self.data = self.backward[0].data ** 2
    ...
    ...     def calcPartialDerivative(self):
    ...         x = self.backward[0]
    ...         x.grad += 2 * x.data * self.grad
    >>> x = CG.Leaf1(1)
    >>> x.getInput([3.0])
    >>> y = Square(x)
    >>> x.forwardPropagation()
    >>> y.backwardPropagation()
    >>> y.data, x.grad
    (array([9.]), array([6.]))
    """

    _data: Array
    _grad: Array
    _dtype: DType
    _kernels: _kernels.Build
    _residency: Residency | None = None  # the state of arrays in the arena of a Graph
    # The nodes that are still waiting because of forward or backward passes that were called on this node.
    _left_forward: Sequence[Node] = ()
    _left_backward: Sequence[Node] = ()
    _component: Component  # the record of waiting nodes that connected nodes share
    _sample_counter: SampleCounter | None = None  # where the number of a sample matters
    # The names of the parameters, each with that of its gradient sum.
    _parameters: ClassVar[tuple[tuple[str, str], ...]] = ()
    _input_argument: ClassVar[str | None] = "inputs"
    _repeatable: ClassVar[bool] = False  # whether calcData may run twice for a sample
    _frozen: frozenset[str] = frozenset()  # the names of the parameters that do not learn
    _sharing: Sharing | None = None  # the nodes with the same parameters, if there are several
    _is_given = True  # whether the data of a leaf have ever been assigned, fed or handed out
    _backward_passes = 0  # those that have begun here since the last update from here

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        check_class(cls, Node)

    def __init__(
        self,
        domsize: int,
        height: int,
        width: int,
        inputs: Iterable[Node] = (),
        *,
        dtype: npt.DTypeLike | None = None,
    ) -> None:
        owner = type(self).__name__
        domsize = as_size(owner, "domsize", domsize, minimum=0)
        height = as_size(owner, "height", height)
        width = as_size(owner, "width", width)
        inputs = as_nodes(owner, "inputs", inputs, minimum=0)
        self._set_up(domsize, height, width, inputs, dtype)

    def _set_up(
        self,
        domsize: int,
        height: int,
        width: int,
        inputs: Sequence[Node],
        dtype: npt.DTypeLike | None = None,
    ) -> None:
        """Constructs a node of checked sizes: checks dtypes, makes the arrays and, last of all, attaches the inputs."""
        check_identity(type(self))
        size = height * width
        if size > MAX_SIZE:
            raise ValueError(
                f"{type(self).__name__}: height * width must be at most {MAX_SIZE}, got {height} * {width}"
            )
        common = (
            inputs[0]._dtype if inputs and dtype is None else as_dtype(type(self).__name__, dtype)
        )
        require_dtype(type(self).__name__, common, inputs)
        self._dtype = common
        self._kernels = inputs[0]._kernels if inputs else _kernels.build(common)
        self._domsize = domsize
        self._height, self._width = height, width
        self._data = zeros(size, common)
        self._grad = zeros(size, common)
        self._has_run = False
        self.f_count = self.b_count = 0
        self.forward: list[Node] = []
        self.backward: list[Node] = [*inputs]
        attach(self, inputs)

    # Sizes, dtype and arrays

    @property
    def domsize(self) -> int:
        """Number of input elements: 0 for a leaf, the size of one channel for a filter."""
        return self._domsize

    @property
    def height(self) -> int:
        """Number of rows of the data."""
        return self._height

    @property
    def width(self) -> int:
        """Number of columns of the data; 1 for a vector."""
        return self._width

    @property
    def size(self) -> int:
        """Number of elements of the data, height * width."""
        return self._height * self._width

    @property
    def dtype(self) -> DType:
        """The dtype of all arrays of the node, float64 or float32."""
        return self._dtype

    @property
    def data(self) -> Array:
        """The data, a flat array with element (i, j) at index i * width + j.

        The array is live: passes use what is written into it. Assigning to the property copies into the array.
        """
        try:
            return self._data
        except AttributeError:
            self._raise_unset("_data")

    @data.setter
    def data(self, value: npt.ArrayLike) -> None:
        copy_into(type(self).__name__, "data", value, self.data)

    @property
    def grad(self) -> Array:
        """The gradient ∂L/∂d, a flat array in the order of ``data``, and live like ``data``."""
        if self._residency is not None:
            self._residency.before_grad(self)
        try:
            return self._grad
        except AttributeError:
            self._raise_unset("_grad")

    @grad.setter
    def grad(self, value: npt.ArrayLike) -> None:
        copy_into(type(self).__name__, "grad", value, self.grad)

    def __repr__(self) -> str:
        if "_data" not in vars(self):
            return object.__repr__(self)
        return (
            f"{type(self).__name__}(shape=({self.height}, {self.width}), "
            f"dtype={self.dtype}, parameters={self._parameter_count()})"
        )

    def _parameter_count(self) -> int:
        return sum(np.size(getattr(self, name, ())) for name, _ in self._parameters)

    def _peek(self, name: str) -> Array:
        """Returns the array of a parameter, up to date, to be read at once and neither kept nor written into."""
        array: Array = getattr(self, name)
        return array

    # Neighbours

    def pushThis(self, node: Node) -> None:
        """Appends this node to ``node.forward``."""
        as_node(type(self).__name__, "node", node)
        push(self, node)

    def detach(self) -> None:
        """Removes this node from its inputs' ``forward``, so that their backward pass no longer waits for it.

        The node keeps its ``backward``: ``calcData`` still works, and ``pushThis`` on each input attaches it again.

        Raises
        ------
        RuntimeError
            The node has consumers of its own.
        """
        if self.forward:
            only = f"{type(self).__name__}: only a node without consumers can be detached"
            raise RuntimeError(f"{only}, got one with {len(self.forward)}")
        complete(partial(passes.detach, self))

    def cut(self) -> None:
        """Unlinks all connected nodes from each other, so that each node is freed with its last reference.

        Nodes refer to their neighbours in both directions. These reference cycles otherwise keep a graph alive until
        Python's cycle collector runs. A `Graph` of these nodes still works while it is referred to, except for nodes
        computed in Python, which have lost their inputs. When the `Graph` is freed, the nodes keep all their arrays.
        """
        complete(partial(passes.unlink, passes.component(self)))

    # The computation of one node

    def calcData(self) -> None:
        """Computes ``data`` from ``backward[*].data``; does nothing for a leaf."""

    def calcPartialDerivative(self) -> None:
        """ADDS this node's contribution to ``backward[*].grad`` and to the gradient sums of its own parameters."""

    def updateParameters(self, eta: float) -> None:
        """Subtracts eta times their gradient sums from the parameters, and sets the sums to 0.

        A node without parameters does nothing.
        """
        if not self._parameters:
            return
        eta = as_rate(type(self).__name__, eta, self._dtype)
        learning = [pair for pair in self._parameters if pair[0] not in self._frozen]
        for value, grad_sum in [[declared_array(self, name) for name in pair] for pair in learning]:
            value -= eta * grad_sum
            grad_sum[...] = 0

    def zero_grad(self) -> None:
        """Sets the gradient sums of this node's parameters to 0 without an update, but not of those that are frozen."""
        learning = [pair for pair in self._parameters if pair[0] not in self._frozen]
        for grad_sum in [declared_array(self, grad_name) for _, grad_name in learning]:
            grad_sum[...] = 0

    def _call(self, method: str, *args: float) -> None:
        """Calls a method, after which parameters that do not learn are as before, like their gradient sums, and nodes
        that share the parameters have the same arrays.
        """
        frozen = [pair for pair in self._parameters if pair[0] in self._frozen]
        kept = [(name, declared_array(self, name).copy()) for pair in frozen for name in pair]
        try:
            getattr(self, method)(*args)
        finally:
            for name, array in kept:
                getattr(self, name)[...] = array
            if self._sharing is not None:
                pass_on(self)

    # Propagations

    @final
    def forwardPropagation(self) -> None:
        """Counts the arrival of an input; when all inputs have arrived, computes this node and calls every consumer.

        Computing a node resets ``b_count``, sets ``grad`` to 0 and calls ``calcData()``. A forward pass is one call on
        every leaf.
        """
        passes.forward_pass(self)

    @final
    def backwardPropagation(self) -> None:
        """Counts the arrival of a consumer; when all have arrived, calls ``calcPartialDerivative`` and every input.

        A backward pass is one call on the loss, a node of one element without consumers. The ``grad`` of the loss is
        set to 1.

        Raises
        ------
        ValueError
            The node has no consumers and more than one element.
        RuntimeError
            The node has no consumers and was not computed by a completed forward pass, or a Graph of nodes above it has
            computed other data since.

        Warns
        -----
        RuntimeWarning
            The node was computed from two different forward passes of one leaf.
        """
        if not self.forward:
            residencies = passes.residencies_above(self)
            half_passes.check_end(self, residencies)
            half_passes.before_backward(self)
            for residency in residencies:
                residency.before_node_pass(forward=False)
            self._grad[0] = 1
            self._backward_passes += 1
        passes.backward_pass(self)

    @final
    def update(self, eta: float) -> None:
        """Updates the parameters of this node and of its ancestors, each node once and later layers first.

        Arrivals are counted as in ``backwardPropagation``; when all consumers have arrived, a node calls
        ``updateParameters(eta)`` and then every input.

        Parameters
        ----------
        eta : float
            Learning rate, for the SUM of the losses since the last update.

        Raises
        ------
        TypeError, ValueError
            `eta` is not a number, or not finite in the node's dtype.

        Warns
        -----
        RuntimeWarning
            In a backward pass an ancestor still waits for a consumer that never called, so that nothing learns there.
        """
        eta = as_rate(type(self).__name__, eta, self._dtype)
        half_passes.before_update(self)
        passes.update_pass(self, eta)


def as_nodes(owner: str, argument: str, nodes: object, minimum: int = 1) -> tuple[Node, ...]:
    """Returns a tuple of at least `minimum` nodes, or refuses the argument."""
    if isinstance(nodes, (Node, str, bytes)) or not is_iterable(nodes):
        raise TypeError(f"{owner}: {argument} must be a sequence of Nodes, got {describe(nodes)}")
    result = tuple(nodes)
    for node in result:
        if not isinstance(node, Node):
            raise TypeError(f"{owner}: {argument} must hold Nodes alone, got {describe(node)}")
    if len(result) < minimum:
        raise ValueError(f"{owner}: {argument} must hold at least {minimum} node, got none")
    return result


def as_node(owner: str, argument: str, node: object) -> Node:
    """Returns the argument if it is a node, or refuses it."""
    if not isinstance(node, Node):
        raise TypeError(f"{owner}: {argument} must be a Node, got {describe(node)}")
    return node
