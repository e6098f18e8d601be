"""CompiledNodes: what a Graph tells about its nodes, and the values of their parameters by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NoReturn

from cgraph._execution.executable import Executable
from cgraph._execution.summary import summary
from cgraph._lowering.program import Program
from cgraph._streams import say
from cgraph._validation import Array
from cgraph.node import Node, as_node
from cgraph.parameter import Parameter, parameters_of

if TYPE_CHECKING:
    from cgraph.io.state import LoadReport


class CompiledNodes:
    """The nodes of a Graph, with their parameters and the steps that compute them."""

    _program: Program
    _executable: Executable

    @property
    def nodes(self) -> list[Node]:
        """All nodes of the graph, inputs before their consumers."""
        return list(self._program.order)

    @property
    def leaves(self) -> list[Node]:
        """The leaves of the graph, in the order of `nodes`."""
        return list(self._program.leaves)

    @property
    def parameters(self) -> list[Parameter]:
        """The parameters of all nodes, in the order of `nodes`, each once."""
        return parameters_of(self._program.order)

    def state_dict(self) -> dict[str, Array]:
        """Returns copies of all parameters by name, such as ``00000.Affine.weight``, in the order of `parameters`.

        Raises
        ------
        TypeError
            A parameter of an own class is no array of numbers.
        """
        # Imported here, since files of parameters come along, which few programs read when they begin.
        from cgraph.io.state import state_dict

        return state_dict("Graph.state_dict", self)

    def load_state_dict(
        self, state: Mapping[str, Array], *, cast: bool = False, strict: bool = True
    ) -> LoadReport:
        """Copies arrays into the parameters of the same names, all or, on an error, none; gradient sums are kept.

        Parameters
        ----------
        state : mapping of str to ndarray
            What `state_dict` returned, of this Graph or of one with the same parameters.
        cast : bool, optional
            Whether arrays of another floating-point dtype are converted.
        strict : bool, optional
            Whether names and shapes must be equal; else those that are not equal are left out.

        Returns
        -------
        LoadReport
            The names that were left out.

        Raises
        ------
        TypeError, ValueError
            `state` is not as above, or does not fit the parameters.
        """
        from cgraph.io.state import load_state_dict

        return load_state_dict("Graph.load_state_dict", self, state, cast=cast, strict=strict)

    def summary(self) -> None:
        """Prints a table of the steps, and the size of the memory.

        A row shows the nodes of a step, their shape and parameters, the multiply-adds of a sample in a forward pass,
        and the layout of the samples of a batch: side by side ("lanes") or one after the other ("samples"). The last
        lines have the sums, for which parameters that several nodes share count once.
        """
        say(summary(self._executable))

    def __repr__(self) -> str:
        return f"Graph({len(self._executable.executors.samples.steps)} steps for {len(self._program.order)} nodes)"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(
            "Graph: a graph cannot be copied or pickled; copy or pickle its nodes, and build a Graph of them"
        )

    def _predicted_node(self, node: Node | None) -> Node:
        """Returns the node that `predict` is to compute: the argument, checked, or the only output."""
        if node is None:
            if len(self._program.outputs) > 1:
                raise ValueError(
                    "Graph.predict: node must be given where there are several outputs"
                )
            return self._program.outputs[0]
        as_node("Graph.predict", "node", node)
        if node not in self._program.channel_of:
            raise ValueError(f"Graph.predict: node must be one of this graph, got {node!r}")
        return node
