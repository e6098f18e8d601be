"""Model: what a file of a graph holds, once it is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cgraph._subclassing.order import topological_order
from cgraph.node import Node
from cgraph.optimizers.optimizer import Optimizer
from cgraph.parameter import parameters_of


@dataclass(frozen=True, eq=False, repr=False)
class Model:
    """The nodes, the optimiser and the metadata that `CG.load` has loaded; it prints as a table.

    ``model["loss"]`` is short for ``model.nodes["loss"]``.

    Attributes
    ----------
    nodes : dict of str to Node
        The nodes by the names that `CG.save` was given; a single node is called "output". Their ancestors are reached
        from them (`CG.ancestors`).
    optimizer : Optimizer or None
        The optimiser with its state.
    metadata : dict
        The metadata as JSON represents them: a tuple is returned as a list.
    """

    nodes: dict[str, Node]
    optimizer: Optimizer | None
    metadata: dict[str, Any]

    def __getitem__(self, name: str) -> Node:
        """Returns a node by its name; KeyError names those that there are."""
        if name not in self.nodes:
            raise KeyError(f"Model: nodes are {', '.join(map(repr, self.nodes))}, got {name!r}")
        return self.nodes[name]

    def __repr__(self) -> str:
        order = topological_order(self.nodes.values())
        count = sum([parameter._peek().size for parameter in parameters_of(order)])
        head = f"Model of {len(order)} nodes, {count:,} parameters"
        if self.optimizer is not None:
            head += f", {type(self.optimizer).__name__} after {self.optimizer.updates:,} updates"
        rows: list[tuple[str, ...]] = [
            (name, type(node).__name__, str((node.height, node.width)), node.dtype.name)
            for name, node in self.nodes.items()
        ]
        return "\n".join([head, *table(("name", "class", "shape", "dtype"), rows)])


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    """Returns the lines of a table whose columns are as wide as they must be."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    return [
        "  "
        + "  ".join([cell.ljust(width) for cell, width in zip(row, widths, strict=True)]).rstrip()
        for row in (head, *rows)
    ]
