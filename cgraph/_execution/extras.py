"""What a learning call may ask for beyond the losses: the checks of these arguments, and the arrays for the results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from cgraph._execution.executable import Executable
from cgraph._kernels.runtime.request import Extras, Feeds
from cgraph._lowering.program import Program
from cgraph._validation import Array, as_real, describe, overflows
from cgraph.node import Node, as_node, as_nodes
from cgraph.optimizers.optimizer import Optimizer

# The gradients of outputs that a call may be given.
Gradients = Mapping[Node, npt.ArrayLike]

Rows = Array | tuple[Array, ...]
# The losses, or the Rows of the outputs whose gradients were given; or a tuple of that and of the Rows of other nodes.
Learnt = Any


class Asked(NamedTuple):
    """What a learning call computes and returns.

    Attributes
    ----------
    node : Node or None
        The first output whose gradient is given; None for the loss.
    out : ndarray
        The array for its data.
    extras : Extras
        All else that is computed.
    result : ndarray or tuple
        The arrays that the call returns.
    """

    node: Node | None
    out: Array
    extras: Extras
    result: Learnt


def learn(
    owner: str,
    executable: Executable,
    feeds: Feeds,
    parameters_only: bool,
    batch: int,
    rule: float | Optimizer,
    weights: npt.ArrayLike | None,
    grads: Gradients | None,
    outputs: Node | Sequence[Node] | None,
    check_loss: bool,
) -> Learnt:
    """Runs forward and backward passes with an option, as `Executable.train` does without any."""
    streams = feeds.streams
    shape = (feeds.size // streams, streams) if streams else (feeds.size,)
    asked = as_asked(owner, executable, shape, weights, grads, outputs, check_loss)
    run = asked.node, asked.out, asked.extras
    executable.train(feeds, parameters_only, batch, rule, *run)
    return asked.result


def as_asked(
    owner: str,
    executable: Executable,
    shape: tuple[int, ...],
    weights: npt.ArrayLike | None,
    grads: Gradients | None,
    outputs: Node | Sequence[Node] | None,
    check_loss: bool,
) -> Asked:
    """Checks the arguments of a learning call, and makes the arrays for its results.

    `shape` is that of one number for each sample: (B,) or, with streams, (T, S).
    """
    program, dtype = executable.program, executable.dtype
    nodes = [] if outputs is None else as_outputs(owner, program, outputs)
    node: Node | None
    out: Array
    rows = [np.empty((*shape, node.size), dtype) for node in nodes]
    if grads is None:
        seeds = None if weights is None else [program.outputs[0]]
        given = [] if weights is None else [as_weights(owner, executable, shape, weights)]
        node, out = None, np.empty(shape, dtype)
        extras = Extras(seeds, given, nodes, rows, owner if check_loss else "")
        result: Rows = out
    else:
        if weights is not None or check_loss:
            both = "weights" if weights is not None else "check_loss"
            raise ValueError(f"{owner}: {both} needs a loss, which a call with grads has not")
        seeds, given = as_gradients(owner, executable, shape, grads)
        data = [np.empty((*shape, each.size), dtype) for each in seeds]
        node, out = seeds[0], data[0]
        extras = Extras(seeds, given, [*seeds[1:], *nodes], [*data[1:], *rows], "")
        result = out if len(data) == 1 else tuple(data)
    if outputs is None:
        return Asked(node, out, extras, result)
    others: Rows = rows[0] if isinstance(outputs, Node) else tuple(rows)
    return Asked(node, out, extras, (result, others))


def as_outputs(owner: str, program: Program, outputs: Node | Sequence[Node]) -> list[Node]:
    """Returns nodes of a graph, of which one may be given alone."""
    nodes = [outputs] if isinstance(outputs, Node) else as_nodes(owner, "outputs", outputs)
    for node in nodes:
        if node not in program.channel_of:
            raise ValueError(f"{owner}: outputs must be nodes of this graph, got {node!r}")
    return [*nodes]


def as_weights(
    owner: str, executable: Executable, shape: tuple[int, ...], weights: npt.ArrayLike
) -> Array:
    """Returns the weights of samples, to which the call does not write."""
    array = as_real(owner, "weights", weights)
    if array.shape != shape:
        name = "(B,)" if len(shape) == 1 else "(T, S)"
        raise ValueError(f"{owner}: weights must have shape {name} = {shape}, got {array.shape}")
    rows = as_rows(executable, array)
    if not np.isfinite(rows).all():
        raise ValueError(f"{owner}: weights must be finite numbers in {executable.dtype}")
    return rows


def as_gradients(
    owner: str, executable: Executable, shape: tuple[int, ...], grads: Gradients
) -> tuple[list[Node], list[Array]]:
    """Returns outputs and their gradients for each sample, to which the call does not write."""
    if not isinstance(grads, Mapping):
        raise TypeError(f"{owner}: grads must map outputs to arrays, got {describe(grads)}")
    if not grads:
        raise ValueError(f"{owner}: grads must hold at least one output, got none")
    for node in grads:
        as_node(owner, "grads", node)
        if node not in executable.program.outputs:
            raise ValueError(f"{owner}: grads must map outputs of this graph, got {node!r}")
    arrays = []
    for node, value in grads.items():
        array = as_real(owner, f"grads of {node!r}", value)
        shapes = (*shape, node.size), (*shape, node.height, node.width)
        if array.shape not in shapes and not (node.size == 1 and array.shape == shape):
            if len(shape) == 1:
                wanted = f"(B, {node.size}) with B = {shape[0]}"
            else:
                wanted = f"(T, S, {node.size}) with (T, S) = {shape}"
            raise ValueError(
                f"{owner}: grads of {node!r} must have shape {wanted}, got {array.shape}"
            )
        arrays.append(as_rows(executable, array))
    return list(grads), arrays


def as_rows(executable: Executable, array: npt.NDArray[np.generic]) -> Array:
    """Returns an array in the nodes' dtype, contiguous, to whose memory the call does not write."""
    if array.dtype.kind == "f" and array.dtype.itemsize > executable.dtype.itemsize:
        # The cast then never warns. An errstate would stay if Ctrl-C came at its end.
        array = np.where(overflows(array, executable.dtype), np.copysign(np.inf, array), array)
    rows: Array = np.require(array, executable.dtype, ("C", "A"))
    return rows.copy() if executable.written.may_include(rows) else rows
