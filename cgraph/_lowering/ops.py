"""The operations that a Graph compiles: one row for each class of nodes, which the stages of lowering ask.

No other module below the kit lists classes. A node without a row is computed by its own methods, in Python.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, NoReturn

from cgraph._lowering import lane_steps, sample_steps
from cgraph._lowering.program import FusedGroup, Kind, Part, Work
from cgraph.node import Node
from cgraph.nodes.activations import ELU, GELU, LeakyReLU, SiLU, Softplus
from cgraph.nodes.affine import Affine
from cgraph.nodes.cells import GRUCell, LSTMCell
from cgraph.nodes.concatenation import Concatenation, Slice
from cgraph.nodes.convolution import Convolution2d
from cgraph.nodes.dropout import Dropout
from cgraph.nodes.elementwise import Add, ReLU, Sigmoid, Sub, Tanh
from cgraph.nodes.functions import Abs, Clip, Exp, Log, Reciprocal, Scale, Sqrt, Square
from cgraph.nodes.layer_norm import LayerNorm
from cgraph.nodes.leaf import Leaf1, Leaf2
from cgraph.nodes.losses import BCE, GaussianNLL, Huber
from cgraph.nodes.pairs import Div, Maximum, Minimum, Mul
from cgraph.nodes.pooling import AveragePooling2d, MaxPooling2d
from cgraph.nodes.reduction import CEE, MSE, Dots, Expand, Mean, Norm2, Sum
from cgraph.nodes.softmax import LogSoftmax, Softmax, SoftmaxCEE


def no_step(*_: object) -> NoReturn:
    """Stands for a maker that is never called: leaves have no step, and Python nodes have none over lanes."""
    raise NotImplementedError


def nothing(node: Node) -> int:
    """Returns 0, for a step that keeps nothing in the data but its output."""
    return 0


@dataclass(frozen=True, eq=False, slots=True)
class Op:
    """The row of an operation.

    Attributes
    ----------
    node_class : type
        The class of the nodes; `op_of` says which derived classes have its row, too.
    kind : Kind
        How the nodes are grouped.
    inputs : int, or function of a node, or None
        The number of inputs, each of which has `domsize` elements. None stands for any number of inputs, which have
        `domsize` elements together.
    sample, lanes : function
        The makers of the step for one sample, and of the step over lanes.
    work : Work
        The work of the forward pass, for the cost model.
    parts : function of a fused group, or None
        The nodes that the operation takes out of its input, or puts into its output: it only moves elements.
    absorbs : mapping of type to function
        The operations whose output the step over lanes can do without, if it is the step's only input: it then
        computes both operations, and this is its maker.
    is_function : bool
        Whether it is a function of elements of equal index, which may be part of a stretch.
    inner : function of a node
        The number of elements, each with a gradient, that the step keeps for its backward pass beside the output.
    """

    node_class: type[Node]
    kind: Kind
    inputs: int | Callable[[Any], int] | None = None
    sample: sample_steps.Maker = no_step
    lanes: lane_steps.Maker = no_step
    work: Work = Work.ELEMENTS
    parts: Callable[[FusedGroup], list[Part]] | None = None
    absorbs: Mapping[type[Node], lane_steps.Maker] = field(default_factory=dict)
    is_function: bool = False
    inner: Callable[[Any], int] = nothing


def parts_of_concatenation(group: FusedGroup) -> list[Part]:
    """Returns the inputs of a Concatenation as parts of it."""
    ends = accumulate(x.size for x in group.inputs)
    return [
        Part(x, group.nodes[0], end - x.size) for x, end in zip(group.inputs, ends, strict=True)
    ]


def part_of_input(group: FusedGroup) -> list[Part]:
    """Returns a Slice as a part of its input."""
    node: Any = group.nodes[0]
    return [Part(node, group.inputs[0], node._start)]


def function(node_class: type[Node], inputs: int, work: Work = Work.ELEMENTS) -> Op:
    """Returns the row of a function of elements of equal index, whose nodes name their operation and its constants."""
    makers = sample_steps.function, lane_steps.function
    return Op(node_class, Kind.CHANNEL, inputs, *makers, work=work, is_function=True)


def reduction(node_class: type[Node], inputs: int, work: Work = Work.ELEMENTS) -> Op:
    """Returns the row of an operation that sums over the elements of its inputs, or of its output's gradient."""
    return Op(
        node_class, Kind.ALONE, inputs, sample_steps.reduction, lane_steps.reduction, work=work
    )


def cell(node_class: type[Node]) -> Op:
    """Returns the row of a recurrent cell, whose step keeps the gates and their products with the state."""
    makers = sample_steps.cell, lane_steps.cell

    def inner(node: Any) -> int:
        return 2 * int(node._gate_elements)

    return Op(node_class, Kind.ALONE, None, *makers, work=Work.CELL, inner=inner)


ROWS = (
    Op(Leaf1, Kind.LEAF),
    Op(Leaf2, Kind.LEAF),
    Op(
        Concatenation,
        Kind.ALONE,
        None,
        sample_steps.concatenation,
        lane_steps.concatenation,
        parts=parts_of_concatenation,
    ),
    Op(Slice, Kind.ALONE, 1, sample_steps.part, lane_steps.part, parts=part_of_input),
    function(Add, 2),
    function(Sub, 2),
    function(ReLU, 1),
    function(Sigmoid, 1, Work.FUNCTIONS),
    function(Tanh, 1, Work.FUNCTIONS),
    function(Mul, 2),
    function(Div, 2),
    function(Maximum, 2),
    function(Minimum, 2),
    function(Exp, 1, Work.FUNCTIONS),
    function(Log, 1, Work.FUNCTIONS),
    function(Square, 1),
    function(Sqrt, 1),
    function(Reciprocal, 1),
    function(Scale, 1),
    function(Abs, 1),
    function(Clip, 1),
    function(LeakyReLU, 1),
    function(ELU, 1, Work.FUNCTIONS),
    function(Softplus, 1, Work.FUNCTIONS),
    function(SiLU, 1, Work.FUNCTIONS),
    function(GELU, 1, Work.FUNCTIONS),
    reduction(Dots, 2),
    reduction(MSE, 2),
    reduction(CEE, 2, Work.FUNCTIONS),
    reduction(Norm2, 1),
    reduction(Sum, 1),
    reduction(Mean, 1),
    reduction(Expand, 1),
    reduction(Softmax, 1, Work.FUNCTIONS),
    reduction(LogSoftmax, 1, Work.FUNCTIONS),
    reduction(SoftmaxCEE, 2, Work.FUNCTIONS),
    reduction(BCE, 2, Work.FUNCTIONS),
    reduction(Huber, 2),
    reduction(GaussianNLL, 3, Work.FUNCTIONS),
    Op(Dropout, Kind.ALONE, 1, sample_steps.dropout, lane_steps.dropout, work=Work.FUNCTIONS),
    Op(
        LayerNorm,
        Kind.ALONE,
        1,
        sample_steps.layer_norm,
        lane_steps.layer_norm,
        work=Work.MOMENTS,
    ),
    Op(Affine, Kind.ALONE, 1, sample_steps.affine, lane_steps.affine, work=Work.MATRIX),
    cell(GRUCell),
    cell(LSTMCell),
    Op(
        Convolution2d,
        Kind.CONVOLUTION,
        lambda node: node._kernel.shape[0],
        sample_steps.convolution,
        lane_steps.convolution,
        work=Work.KERNELS,
    ),
    Op(
        MaxPooling2d,
        Kind.CHANNEL,
        1,
        sample_steps.max_pooling,
        lane_steps.max_pooling,
        absorbs={ReLU: lane_steps.rectified_max_pooling},
    ),
    Op(
        AveragePooling2d,
        Kind.CHANNEL,
        1,
        sample_steps.average_pooling,
        lane_steps.average_pooling,
    ),
)
OPS = {op.node_class: op for op in ROWS}

# The rows of all other classes: a leaf of the user's, and a node that computes by its own methods.
OWN_LEAF = Op(Node, Kind.LEAF)
PYTHON = Op(Node, Kind.PYTHON, sample=sample_steps.python)

# The methods by which a node computes.
METHODS = ("calcData", "calcPartialDerivative", "updateParameters")


def op_of(node: Node) -> Op:
    """Returns the row of a node: that of its class, or of the class that it is derived from without other methods.

    A node whose class, or which itself, has methods of its own is computed in Python. A derived class may declare fewer
    `_parameters`, of which the others then do not learn.
    """
    own, cls = vars(node).keys(), type(node)
    parent = next(base for base in cls.__mro__ if base in OPS or base is Node)
    overrides = any(getattr(cls, name) is not getattr(parent, name) for name in METHODS)
    if overrides or not own.isdisjoint(METHODS) or {*cls._parameters} - {*parent._parameters}:
        return PYTHON
    if parent is Node or OPS[parent].kind is Kind.LEAF:
        return PYTHON if node.backward else OPS.get(parent, OWN_LEAF)
    return OPS[parent]
