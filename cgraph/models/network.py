"""Network: the nodes of a model by name, and a table of its layers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import prod
from typing import Any

from cgraph._streams import say
from cgraph._subclassing.order import topological_order
from cgraph._validation import describe, is_iterable
from cgraph.node import Node, as_nodes
from cgraph.parameter import Parameter, parameters_of

HEADER = ("layer", "nodes", "shape", "parameters")


class Network(Mapping[str, Any]):
    """Named layers of nodes; ``print(network)`` and ``network.summary()`` show them as a table.

    A layer is a node, or several nodes, one for each channel. ``network["hidden1"]`` and ``network.hidden1`` are the
    same: the node, or a tuple of the channels. A Network holds nodes and does nothing with them, so they may be part of
    other graphs, too: a loss is put on ``network.output`` by hand.

    Parameters
    ----------
    layers : mapping of str to Node or sequence of Node
        The layers in the order in which they are shown.
    inputs, outputs : sequence of str
        The names of the layers that are fed, and of those that are read.

    Attributes
    ----------
    layers : dict of str to tuple of Node
        All layers by name, each as a tuple.

    Raises
    ------
    TypeError
        A layer is neither a node nor a sequence of nodes; a name is not a string.
    ValueError
        A name is empty, or that of an attribute; there is no layer of a name of `inputs` or `outputs`.

    Examples
    --------
    >>> import cgraph as CG
    >>> network = CG.models.mlp(20, [64], 2, rng=0)
    >>> network.output
    Affine(shape=(2, 1), dtype=float64, parameters=130)
    >>> print(network)
    layer    nodes          shape  parameters
    x        Leaf1         20 × 1           0
    hidden1  Affine, Tanh  64 × 1       1,344
    output   Affine         2 × 1         130
    4 nodes, 1,474 parameters, float64
    """

    layers: dict[str, tuple[Node, ...]]

    def __init__(
        self,
        layers: Mapping[str, Node | Iterable[Node]],
        *,
        inputs: Sequence[str],
        outputs: Sequence[str],
    ) -> None:
        owner = type(self).__name__
        if not isinstance(layers, Mapping):
            raise TypeError(
                f"{owner}: layers must be a mapping of names to nodes, got {describe(layers)}"
            )
        known: dict[str, tuple[Node, ...]] = {}
        for name, nodes in layers.items():
            if not isinstance(name, str):
                raise TypeError(f"{owner}: layers must have strings as names, got {describe(name)}")
            if not name or name.startswith("_") or hasattr(Network, name) or name == "layers":
                raise ValueError(
                    f"{owner}: layers must have names that are not those of attributes, got {describe(name)}"
                )
            known[name] = (nodes,) if isinstance(nodes, Node) else as_nodes(owner, name, nodes)
        self._inputs = _names(owner, "inputs", inputs, known)
        self._outputs = _names(owner, "outputs", outputs, known)
        self.layers = known

    @property
    def nodes(self) -> dict[str, Node]:
        """All nodes by name; the channels of a layer have numbers, ``conv1[0]``."""
        return self._named(self.layers)

    @property
    def inputs(self) -> dict[str, Node]:
        """The nodes that are fed, by name."""
        return self._named(self._inputs)

    @property
    def outputs(self) -> dict[str, Node]:
        """The nodes that are read, by name."""
        return self._named(self._outputs)

    @property
    def parameters(self) -> list[Parameter]:
        """The parameters of all layers and of what lies between them, each once, inputs first."""
        return parameters_of(topological_order(self.nodes.values()))

    def summary(self) -> None:
        """Prints the table of the layers; a parameter that several of them share counts in the first one."""
        say(str(self))

    def _named(self, names: Iterable[str]) -> dict[str, Node]:
        named = {}
        for name in names:
            nodes = self.layers[name]
            for number, node in enumerate(nodes):
                named[name if len(nodes) == 1 else f"{name}[{number}]"] = node
        return named

    def __getitem__(self, name: str) -> Any:
        nodes = self.layers[name]
        return nodes[0] if len(nodes) == 1 else nodes

    def __getattr__(self, name: str) -> Any:
        # An object that is being copied has no layers yet.
        if name != "layers" and name in self.layers:
            return self[name]
        raise AttributeError(f"{type(self).__name__}: there is no layer {name!r}")

    def __iter__(self) -> Iterator[str]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self.layers]

    def __repr__(self) -> str:
        count = sum(prod(p.shape) for p in self.parameters)
        return f"{type(self).__name__}(layers={[*self.layers]}, parameters={count})"

    def __str__(self) -> str:
        rows: list[tuple[str, ...]] = [HEADER]
        seen: set[Node] = set()
        counted: set[Parameter] = set()
        for name, nodes in self.layers.items():
            # The nodes between the layers in front of this one and its own.
            own = [node for node in topological_order(nodes) if node not in seen]
            learning = set(parameters_of(own)) - counted
            seen.update(own)
            counted |= learning
            rows.append(
                (name, _kinds(own), _shape(nodes), f"{sum(prod(p.shape) for p in learning):,}")
            )
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(
                cell.rjust(width) if column > 1 else cell.ljust(width)
                for column, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
            for row in rows
        ]
        total = sum(prod(p.shape) for p in counted)
        dtypes = ", ".join(dict.fromkeys(str(node.dtype) for node in seen))
        return "\n".join([*lines, f"{len(seen)} nodes, {total:,} parameters, {dtypes}"])


def _names(
    owner: str, argument: str, names: object, known: Mapping[str, object]
) -> tuple[str, ...]:
    """Returns names of layers as a tuple, or refuses them."""
    if isinstance(names, (str, bytes)) or not is_iterable(names):
        raise TypeError(f"{owner}: {argument} must be a sequence of names, got {describe(names)}")
    result = tuple(names)
    for name in result:
        if name not in known:
            raise ValueError(f"{owner}: {argument} must be names of layers, got {describe(name)}")
    return result


def _kinds(nodes: Sequence[Node]) -> str:
    """Returns the classes of nodes in order, with their numbers: 6 Convolution2d, 6 ReLU."""
    counts: dict[str, int] = {}
    for node in nodes:
        kind = type(node).__name__
        counts[kind] = counts.get(kind, 0) + 1
    return ", ".join(f"{count} {kind}" if count > 1 else kind for kind, count in counts.items())


def _shape(nodes: Sequence[Node]) -> str:
    """Returns the shape of a layer: channels, where there are several, height and width."""
    shapes = dict.fromkeys(f"{node.height} × {node.width}" for node in nodes)
    channels = f"{len(nodes)} × " if len(nodes) > 1 else ""
    return channels + " or ".join(shapes)
