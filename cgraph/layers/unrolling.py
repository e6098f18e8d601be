"""rnn: the unrolling of a cell over the time steps of a sequence."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from cgraph._subclassing.order import topological_order
from cgraph._subclassing.rebuilding import built, plan_of, stated
from cgraph._subclassing.sharing import twin
from cgraph._validation import describe, require_dtype
from cgraph.layers.undoing import undone_on_error
from cgraph.node import Node, as_node, as_nodes
from cgraph.nodes.elementwise import Add
from cgraph.nodes.functions import Scale
from cgraph.nodes.pairs import Mul
from cgraph.nodes.reduction import Expand

Cell = Callable[[Node, Node], Node]


def rnn(
    cell: Node | Cell,
    inputs: Iterable[Node],
    state: Node,
    *,
    masks: Iterable[Node] | None = None,
) -> list[Node]:
    """Unrolls a cell over the time steps of a sequence, with the same parameters in each step.

    Parameters
    ----------
    cell : callable or Node
        A function of an input and a state that returns the next state. It is called once, for the first time step; for
        the others, all nodes that it has made between these inputs and its result are made again with the parameters
        of the first. Or a node with parameters, on an input and a state, which `share` puts on the others:
        a `GRUCell`, say, of another sequence.
    inputs : iterable of Node
        The input of each time step, at least one, all of the same size.
    state : Node
        The state before the first time step.
    masks : iterable of Node, optional
        A node of one element for each time step: where it is 1, the state is that of the cell, where it is 0, the state
        is kept, and numbers between mix both. So sequences of different lengths are samples of one batch.

    Returns
    -------
    list of Node
        The state after each time step. Of an `LSTMCell` it is (h; c), of which `Slice` takes the output h.

    Raises
    ------
    TypeError
        An argument is not of this kind; nodes differ in dtype.
    ValueError
        There is no input, or the first one is the state; there is not a mask for each, or one has more than one
        element; the cell returns something that depends on no input, or has another shape than the state. Nothing is
        attached to the nodes then.

    Notes
    -----
    With a mask μ the state is μ h' + (1 − μ) h: exactly one of both where the other one is finite. A `Dropout` within a
    cell has the same mask in all time steps. For predictions on a sequence of any length a Graph of one cell is enough,
    which carries its state: ``CG.Graph(cell, carry={state: cell})``.

    Examples
    --------
    >>> import cgraph as CG
    >>> inputs, h = [CG.Leaf1(3) for _ in range(4)], CG.Leaf1(8)
    >>> states = CG.layers.rnn(lambda x, h: CG.layers.gru_cell(x, h, rng=0), inputs, h)
    >>> states[-1]
    GRUCell(shape=(8, 1), dtype=float64, parameters=312)
    >>> len(states), len(CG.parameters(states[-1]))
    (4, 4)
    """
    owner = "rnn"
    if not isinstance(cell, Node) and not callable(cell):
        raise TypeError(
            f"{owner}: cell must be a Node or a function of two nodes, got {describe(cell)}"
        )
    steps = as_nodes(owner, "inputs", inputs)
    h = as_node(owner, "state", state)
    if steps[0] is h:
        raise ValueError(
            f"{owner}: state must be another node than the first input, got {h!r} for both"
        )
    keeps = None if masks is None else as_masks(owner, masks, len(steps))
    require_dtype(owner, steps[0].dtype, (*steps, h, *(keeps or ())))
    with undone_on_error([*steps, h, *(keeps or ())]):
        return unrolled(owner, cell, steps, h, keeps)


def as_masks(owner: str, masks: Iterable[Node], count: int) -> tuple[Node, ...]:
    """Returns the masks, or refuses them."""
    found = as_nodes(owner, "masks", masks)
    if len(found) != count:
        raise ValueError(
            f"{owner}: masks must hold a node for each of {count} inputs, got {len(found)}"
        )
    for mask in found:
        if mask.size != 1:
            raise ValueError(f"{owner}: a mask must have one element, got {mask.size}")
    return found


def unrolled(
    owner: str,
    cell: Node | Cell,
    steps: Sequence[Node],
    state: Node,
    masks: Sequence[Node] | None,
) -> list[Node]:
    """Returns the state after each step; the arguments are checked."""
    states: list[Node] = []
    between: list[Node] = []
    before = state
    for number, x in enumerate(steps):
        if isinstance(cell, Node):
            after: Any = twin(cell, (x, before))
        elif number == 0:
            after = cell(x, before)
            between = made_between(owner, x, before, after)
        else:
            after = made_again(between, {steps[0]: x, state: before})
        if (after.height, after.width) != (state.height, state.width):
            raise ValueError(
                f"{owner}: cell must return a node of the shape of the state, "
                f"({state.height}, {state.width}), got ({after.height}, {after.width})"
            )
        before = after if masks is None else mixed(after, before, masks[number])
        states.append(before)
    return states


def made_between(owner: str, x: Node, state: Node, result: object) -> list[Node]:
    """Returns the nodes of which a result depends on an input or a state, inputs before their consumers."""
    if not isinstance(result, Node):
        raise TypeError(f"{owner}: cell must return a Node, got {describe(result)}")
    known = {x, state}
    depends = set(known)
    found = []
    for node in topological_order([result], known.__contains__):
        if not depends.isdisjoint(node.backward):
            depends.add(node)
            found.append(node)
    if result not in found:
        raise ValueError(
            f"{owner}: cell must return a new node that depends on its arguments, got {result!r}"
        )
    return found


def made_again(nodes: Sequence[Node], new: dict[Node, Node]) -> Node:
    """Returns the last of some nodes, all made again, with the same parameters, on new nodes for old ones."""
    for node in nodes:
        inputs = [new.get(x, x) for x in node.backward]
        if node._parameters:
            given = inputs if stated(type(node), "_input_argument") is None else [inputs]
            new[node] = twin(node, given)
        else:
            new[node] = built(plan_of(node), inputs)
    return new[nodes[-1]]


def mixed(after: Node, before: Node, mask: Node) -> Node:
    """Returns the node after a step where a mask is 1, and the node before it where it is 0."""
    shape = before.height, before.width
    rest = Scale(mask, -1, 1)
    return Add(Mul(Expand(mask, *shape), after), Mul(Expand(rest, *shape), before))
