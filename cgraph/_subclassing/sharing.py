"""Parameters that several nodes have: how a node gets those of another one.

This module knows nodes by their attributes alone, so that Node may use it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, Self

import numpy as np

from cgraph._kernels.runtime.loans import copy_at_once
from cgraph._kernels.runtime.sharing import Sharing, tie
from cgraph._kernels.runtime.uninterrupted import assign, complete
from cgraph._subclassing import Unfinished, declared_array
from cgraph._subclassing.rebuilding import built, plan_of, stated, take_off
from cgraph._validation import Array, describe, is_iterable, require_dtype


class Shareable:
    """A node whose parameters other nodes may have, too."""

    def share(self, *inputs: Any) -> Self:
        """Returns a new node of the same class on other inputs that has the same parameters.

        The gradients of all nodes with one parameter are summed. It learns once in an update, at the first of its nodes
        that the update reaches; files hold it once.

        Parameters
        ----------
        *inputs : Node, or sequence of Node
            The inputs as the class takes them: ``affine.share(x)``, ``convolution.share(nodes)``.

        Returns
        -------
        Node
            The new node; `Parameter.nodes` lists it.

        Raises
        ------
        TypeError, ValueError
            The class has no parameters, or refuses the inputs; a class of a user's own cannot be built anew from what
            its ``_config`` returns.
        RuntimeError
            The node belongs to a Graph that is running, and whose nodes alone have had these parameters.

        Examples
        --------
        >>> import cgraph as CG
        >>> x1, x2 = CG.Leaf1(1), CG.Leaf1(1)
        >>> y1 = CG.Affine(x1, [[2.0], [1.0]])
        >>> y2 = y1.share(x2)
        >>> y1.weight = [[3.0], [1.0]]
        >>> x2.getInput([10])
        >>> CG.evaluate(y2)
        array([31.])
        """
        node: Self = twin(self, inputs)
        return node


def twin(node: Any, given: Sequence[object]) -> Any:
    """Returns a node of the class of another one, on other inputs, with the same parameters.

    Raises
    ------
    TypeError, ValueError, RuntimeError
        As for `Node.share`.
    """
    owner = type(node).__name__
    if not node._parameters:
        raise TypeError(f"{owner}: share needs parameters, and the class declares none")
    inputs = as_inputs(node, given)
    undo = partial(take_off, [(x, len(x.forward)) for x in dict.fromkeys(inputs)])
    try:
        new = built(plan_of(node), inputs, has_values=False)
        share_parameters(node, new)
    except BaseException as error:
        complete(undo)
        if isinstance(error.__cause__, TypeError) and len(inputs) != len(node.backward):
            expected = f"{owner}: share needs as many inputs as the node has, {len(node.backward)}"
            raise TypeError(f"{expected}, got {len(inputs)}") from None
        if isinstance(error.__cause__, ValueError):
            # The constructor has refused these inputs, not what `_config` returns.
            raise error.__cause__ from None
        raise
    return new


def as_inputs(node: Any, given: Sequence[object]) -> list[Any]:
    """Returns the inputs for `share`, given one by one or, as for the constructor, as a sequence."""
    owner = type(node).__name__
    inputs = [*given]
    if stated(type(node), "_input_argument") is not None:
        if len(inputs) != 1 or not is_iterable(inputs[0]):
            came = describe(inputs[0]) if len(inputs) == 1 else f"{len(inputs)} arguments"
            raise TypeError(f"{owner}: share needs one sequence of Nodes, got {came}")
        inputs = [*inputs[0]]
    for x in inputs:
        if not isinstance(x, Unfinished):
            raise TypeError(f"{owner}: share needs Nodes as inputs, got {describe(x)}")
    require_dtype(f"{owner}: share", node._dtype, inputs)
    return inputs


def share_parameters(node: Any, new: Any) -> None:
    """Gives the parameters of a node, and their gradient sums, to a new node that was built like it.

    Raises
    ------
    TypeError
        An array that `_parameters` names is no attribute of the node itself.
    RuntimeError
        The node belongs to a Graph that is running, and whose nodes alone had these parameters.
    """
    owner = type(node).__name__
    sharing = node._sharing or Sharing()
    rows = [(each, sharing) for each in (node, new)]
    changes: list[Any] = [(("_sharing",), rows)]
    changes += [((name,), [(new, getattr(node, name))]) for name in shared_attributes(node)]
    known = vars(node).setdefault("_parameter_objects", {})
    changes.append((("_parameter_objects",), [(new, known)]))
    accounts = [*getattr(node, "_loans", {}).values()]
    if node._sharing is None:
        sharing.add(node)
        sharing.compiled = node._residency is not None
    # The nodes are asked only where a Graph may have one: of a graph with many such nodes, each is added in equal time.
    compiled = sharing.nodes if sharing.compiled else ()
    residencies = {id(x._residency): x._residency for x in compiled if x._residency}
    for residency in residencies.values():
        if not residency.stale and not residency.is_public(sharing, accounts):
            # No other Graph has nodes with these parameters.
            residency.tie(owner, accounts, sharing, [new], changes)
            return
    tie(sharing, [new], changes)


def may_share(node: Any) -> bool:
    """Returns whether a node may share its parameters now: no running Graph has them for itself alone."""
    residency = node._residency
    if residency is None or residency.stale or not residency.memory.busy:
        return True
    accounts = [*getattr(node, "_loans", {}).values()]
    return node._sharing is not None and residency.is_public(node._sharing, accounts)


def at_once(node_arrays: Iterable[tuple[Any, Array]]) -> list[Array]:
    """Returns arrays of nodes, to be read at once; of those that nodes share, copies as they are at one moment.

    So while a Graph in another thread learns, they are all of the same of its calls. The arrays of a user's own class
    change as they learn.
    """
    found = [*node_arrays]
    shared = [
        number
        for number, (node, array) in enumerate(found)
        if node._sharing is not None and array.flags.c_contiguous and not array.dtype.hasobject
    ]
    arrays = [array for _, array in found]
    copies = [np.empty_like(arrays[number]) for number in shared]
    copy_at_once(copies, [arrays[number] for number in shared])
    for number, copy in zip(shared, copies, strict=True):
        arrays[number] = copy
    return arrays


def assign_at_once(destinations: list[Array], sources: list[Array]) -> None:
    """Copies the content of each source into the destination at its place, of the same shape; no signal is heard.

    Where all are contiguous, no call of a Graph in another thread reads some of them before, and others afterwards.
    """
    alike = [
        x.dtype == y.dtype
        and not x.dtype.hasobject
        and x.flags.c_contiguous
        and y.flags.c_contiguous
        for x, y in zip(destinations, sources, strict=True)
    ]
    if all(alike):
        copy_at_once(destinations, sources)
    else:
        assign(destinations, sources)


def shared_attributes(node: Any) -> list[str]:
    """Returns the names of the attributes that nodes have in common: arrays, and what counts the loans of these."""
    names: list[str] = []
    built_in = getattr(node, "_parts", {})
    if built_in:
        names = ["_loans", *node._parameter_views(node._parameter_vector)]
        names += node._grad_views(node._grad_vector)
    for pair in node._parameters:
        if pair in built_in:
            continue
        for name in pair:
            declared_array(node, name)
            if name not in vars(node):
                raise TypeError(
                    f"{type(node).__name__}: {name} must be an attribute of the node itself to be shared, "
                    "got one of its class"
                )
            names.append(name)
    return names


def holders(nodes: Iterable[Any]) -> list[Any]:
    """Returns nodes and all others that have their parameters, each once."""
    found: dict[Any, None] = {}
    for node in nodes:
        if node._sharing is None:
            found[node] = None
        elif node not in found:
            found.update(dict.fromkeys(node._sharing.nodes))
    return [*found]


def pass_on(node: Any) -> None:
    """Gives arrays that a method of a node has exchanged for others to the nodes that share them."""
    built_in = getattr(node, "_parts", {})
    for pair in node._parameters:
        if pair not in built_in:
            for name in pair:
                array = getattr(node, name)
                for other in node._sharing.nodes:
                    if getattr(other, name) is not array:
                        setattr(other, name, array)
