"""CompiledNodes: what a Graph tells about its nodes, and the values of their parameters by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from cgraph._execution.carrying import Kept
from cgraph._execution.executable import STALE, Executable
from cgraph._execution.feeds import FeedSpecs, feed_specs
from cgraph._execution.summary import summary
from cgraph._execution.threads import default_threads
from cgraph._lowering.carry import as_carry
from cgraph._lowering.layout import LayoutName
from cgraph._lowering.pipeline import lower
from cgraph._lowering.program import Program
from cgraph._streams import say
from cgraph._validation import Array, as_size, describe
from cgraph.node import Node, as_node, as_nodes
from cgraph.parameter import Parameter, parameters_of

if TYPE_CHECKING:
    from cgraph.io.state import LoadReport

# What a copy has anew: what compiling makes, and what is found from it when it is first needed.
_COMPILED = (
    *("_program", "_executable", "_feed_specs", "_arguments"),
    *("_vectors", "_gradient_rows", "_jacobians"),
)


class CompiledNodes:
    """The nodes of a Graph, with their parameters and the steps that compute them."""

    _program: Program
    _executable: Executable
    _feed_specs: FeedSpecs
    _arguments: dict[str, Any]  # those of the constructor, besides the outputs

    def _compile(
        self,
        outputs: Node | Iterable[Node],
        leaf_grads: bool | Iterable[Node] | None,
        threads: int | None,
        layout: LayoutName,
        carry: Mapping[Node, Node] | None = None,
        streams: int | None = None,
    ) -> None:
        """Compiles nodes; the arguments are those of the constructor."""
        given = [outputs] if isinstance(outputs, Node) else as_nodes("Graph", "outputs", outputs)
        ends = list(dict.fromkeys(given))
        count = default_threads() if threads is None else as_size("Graph", "threads", threads)
        if not isinstance(layout, str) or layout not in ("auto", "lanes", "samples"):
            raise ValueError(
                f'Graph: layout must be "auto", "lanes" or "samples", got {describe(layout)}'
            )
        if not (leaf_grads is None or isinstance(leaf_grads, bool)):
            leaf_grads = as_nodes("Graph", "leaf_grads", leaf_grads, minimum=0)
        rows = 0 if streams is None else as_size("Graph", "streams", streams)
        given_carry = as_carry(carry)
        lowered = lower(ends, leaf_grads, layout, given_carry)
        self._arguments = {
            "leaf_grads": leaf_grads,
            "threads": threads,
            "layout": layout,
            "carry": dict(given_carry),
            "streams": streams,
        }
        self._program = lowered.program
        self._feed_specs = feed_specs(self._program.leaves, self._program.carried, rows)
        self._executable = Executable(lowered, count, rows)

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

    def __copy__(self) -> NoReturn:
        raise TypeError(
            "Graph: a graph cannot be copied without its nodes, which belong to one Graph; use copy.deepcopy"
        )

    def __reduce_ex__(self, protocol: object) -> tuple[object, ...]:
        """Returns what deep copies and pickles compile: outputs, arguments, states, and what own classes add.

        Nodes are copied by their own rules, and threads that were not asked for are those of the process in which the
        copy is compiled.
        """
        if self._executable.residency.stale:
            raise RuntimeError(f"Graph, copy or pickle: {STALE}")
        carrying = self._executable.carrying
        kept = None if carrying is None else carrying.kept()
        own = {name: value for name, value in vars(self).items() if name not in _COMPILED}
        return _compiled, (type(self), self._program.outputs, self._arguments, kept), own or None

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


def _compiled(cls: Any, outputs: list[Node], arguments: dict[str, Any], kept: Kept | None) -> Any:
    """Returns a Graph of nodes that were copied or pickled, for which the constructor of an own class is not asked."""
    graph = cls.__new__(cls)
    graph._compile(outputs, **arguments)
    if kept is not None:
        graph._executable.carrying.go_on(kept)
    return graph
