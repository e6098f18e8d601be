"""Whole graphs in files: their structure as JSON, their arrays beside it, and the optimiser; no code, no pickle.

docs/understand/decisions/0022-files-of-graphs.md describes the format.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from cgraph._subclassing.order import topological_order
from cgraph._subclassing.structure import while_idle
from cgraph._validation import as_size, describe, is_iterable
from cgraph.io.fields import place, taken
from cgraph.io.header import GRAPH, HEADER, header_text
from cgraph.io.model import Model
from cgraph.io.opening import OF_GRAPH, opened_archive, write_archive
from cgraph.io.optimizers import built_optimizer, optimizer_record
from cgraph.io.records import Classes, built_nodes, records_of
from cgraph.io.state import Arrays, MisfitError
from cgraph.io.streams import File, as_destination, write_file
from cgraph.node import Node
from cgraph.optimizers.optimizer import Optimizer

OUTPUT = "output"  # the name of a single node
_DIGEST = f"{OF_GRAPH}digest"
_MOST = 1 << 28


def save(
    file: File,
    nodes: Node | Mapping[str, Node],
    *,
    optimizer: Optimizer | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Writes a whole graph to a file: nodes with all their ancestors, and an optimiser with its state.

    `CG.load` builds it anew in another process. The file holds, of each node, its class and the arguments of its
    constructor, its parameters and which of them learn, the data of leaves that were given any, and how many samples a
    Dropout has seen. Parameters that several nodes share stand in it once. It is an `.npz` without pickle.

    Parameters
    ----------
    file : str, path or binary file object
        As for `save_parameters`: under a path, the file appears whole or not at all.
    nodes : Node, or dict of str to Node
        The nodes by the names under which `CG.load` returns them, such as the leaves, the output and the loss; one Node
        is called "output". All of them are written as one graph.
    optimizer : Optimizer, optional
        An optimiser of parameters of these nodes: its class, its settings, and its state.
    metadata : mapping, optional
        Anything that JSON can hold.

    Raises
    ------
    OSError
        The file cannot be written.
    TypeError, ValueError
        An argument is none of the above; a class of the user's own cannot be built anew from what its ``_config``
        returns, or returns more than numbers, texts, bools, None and lists of these; a schedule of the optimiser is not
        one of `CG.schedules`; the optimiser has state or groups for other nodes. Nothing is written.
    RuntimeError
        A node belongs to a Graph that is running.

    Notes
    -----
    A class of the user's own is written by its name, what ``_config`` returns, and its parameters; other attributes are
    not. A tuple comes back as a list. Gradient sums are not written, nor are nodes behind those given.
    `load_parameters` and `read_metadata` read the file, too.

    Examples
    --------
    >>> import io
    >>> import cgraph as CG
    >>> x = CG.Leaf1(2)
    >>> y = CG.Tanh(CG.Affine(x, [[1.0], [2.0], [0.5]]))
    >>> file = io.BytesIO()
    >>> CG.save(file, {"x": x, "y": y}, metadata={"epochs": 3})
    >>> _ = file.seek(0)
    >>> model = CG.load(file)
    >>> model
    Model of 3 nodes, 3 parameters
      name  class  shape   dtype
      x     Leaf1  (2, 1)  float64
      y     Tanh   (1, 1)  float64
    >>> CG.Graph(model["y"]).predict({model["x"]: [[0.0, 0.0]]}).round(6)
    array([[0.462117]])
    """
    as_destination("save", file)
    named = _as_named(nodes)
    if optimizer is not None and not isinstance(optimizer, Optimizer):
        raise TypeError(f"save: optimizer must be an Optimizer or None, got {describe(optimizer)}")
    order = topological_order(named.values())
    header, arrays = while_idle("save", order, lambda: _written(named, order, optimizer))
    text = header_text("save", GRAPH, metadata, **header)
    contents = {HEADER: np.array(text), _DIGEST: np.array(_digest(text, arrays)), **arrays}
    write_file(file, lambda stream: write_archive(stream, contents))


def load(
    file: File,
    *,
    classes: Iterable[type[Any]] | Mapping[str, type[Any]] = (),
    max_elements: int = _MOST,
) -> Model:
    """Builds the graph of a file that `CG.save` wrote.

    Parameters
    ----------
    file : str, path or binary file object
        As for `load_parameters`.
    classes : sequence of classes, or dict of str to class, optional
        The classes of the user's own, of nodes and of optimisers, that the file may use; a dict gives them by the names
        that they had when the file was written.
    max_elements : int, optional
        The largest number of elements that the data of all nodes may have together, and with them the parameters of
        nodes of the user's own classes that share those of others; a file with more is refused.

    Returns
    -------
    Model
        The nodes by name, the optimiser, and the metadata.

    Raises
    ------
    OSError
        The file cannot be read.
    ModelFileError
        The file is not one of `CG.save`, is damaged, has a class that is neither one of cgraph nor among `classes`, or
        more elements than `max_elements`.
    TypeError, ValueError
        An argument is none of the above.

    Notes
    -----
    Nothing in a file is executed: it names classes, and only constructors of cgraph and of `classes` are called. What
    it states is checked, and compared with a digest, before anything is built, the arrays take no more memory than the
    file has bytes, and the time is proportional to the sizes of the file and of the nodes' data. The digest finds
    damage; whoever can write a file can write its digest, too.

    Examples
    --------
    See `CG.save`.
    """
    known = _as_classes(classes)
    most = as_size("load", "max_elements", max_elements)
    with opened_archive("load", file) as (archive, header):
        if header["format"] != GRAPH:
            raise MisfitError(
                "holds parameters without their graph: build it, and use load_parameters"
            )
        archive.require_stored()
        text = archive.member(HEADER).text(archive.size)
        digest = archive.member(_DIGEST).text(archive.size)
        names = [name for name in archive.names if name not in (HEADER, _DIGEST)]
        arrays = {name: archive.member(name).read() for name in names}
        if digest != _digest(text, arrays):
            raise MisfitError("must have the content that its digest tells, and is damaged")
        try:
            return _model(header, {name: _native(x) for name, x in arrays.items()}, known, most)
        except RecursionError:
            raise MisfitError("must have fewer levels of lists and objects") from None


def _as_named(nodes: object) -> dict[str, Node]:
    """Returns nodes by name, or refuses the argument."""
    if isinstance(nodes, Node):
        return {OUTPUT: nodes}
    if not isinstance(nodes, Mapping):
        raise TypeError(
            f"save: nodes must be a Node or a dict of str to Node, got {describe(nodes)}"
        )
    if not nodes:
        raise ValueError("save: nodes must hold at least 1 node, got none")
    for name, node in nodes.items():
        if not isinstance(name, str) or not isinstance(node, Node):
            raise TypeError(
                f"save: nodes must map str to Nodes, got {describe(name)}: {describe(node)}"
            )
    return dict(nodes)


def _as_classes(classes: object) -> Classes:
    """Returns classes by name, or refuses the argument."""
    expected = (
        "load: classes must be a sequence, or a dict by name, of classes of nodes or optimisers"
    )
    if isinstance(classes, type | str) or not is_iterable(classes):
        raise TypeError(f"{expected}, got {describe(classes)}")
    if isinstance(classes, Mapping):
        pairs = [*classes.items()]
    else:
        pairs = [(getattr(cls, "__name__", ""), cls) for cls in classes]
    known: dict[str, type[Any]] = {}
    for name, cls in pairs:
        if not isinstance(name, str) or not isinstance(cls, type):
            raise TypeError(f"{expected}, got {describe(cls)}")
        if not issubclass(cls, Node | Optimizer):
            raise TypeError(f"{expected}, got {describe(cls)}")
        if known.setdefault(name, cls) is not cls:
            raise ValueError(f"load: classes must have different names, got two called {name}")
    return known


def _written(
    named: dict[str, Node], order: list[Node], optimizer: Optimizer | None
) -> tuple[dict[str, Any], Arrays]:
    """Returns the entries of the header for a graph, and copies of its arrays by name."""
    own: dict[str, type[Any]] = {}
    records, arrays = records_of("save", order, own)
    numbers = {node: number for number, node in enumerate(order)}
    header: dict[str, Any] = {"nodes": records}
    header["names"] = {name: numbers[node] for name, node in named.items()}
    if optimizer is not None:
        header["optimizer"], state = optimizer_record("save", optimizer, order, own)
        arrays |= state
    return header, arrays


def _model(header: dict[str, Any], arrays: Arrays, classes: Classes, most: int) -> Model:
    """Returns what header and arrays of a file describe."""
    nodes = built_nodes(taken(header, HEADER, "nodes", list), arrays, classes, most)
    names = taken(header, HEADER, "names", dict)
    named = {
        name: nodes[place("names", name, number, len(nodes))] for name, number in names.items()
    }
    optimizer = None
    if "optimizer" in header:
        record = taken(header, HEADER, "optimizer", dict)
        optimizer = built_optimizer(record, nodes, arrays, classes)
    if arrays:
        raise MisfitError(f"expected arrays of its nodes alone, got {describe(min(arrays))}, too")
    return Model(named, optimizer, header["metadata"])


def _digest(text: str, arrays: Arrays) -> str:
    """Returns the SHA-256 of a header and of the names, dtypes, shapes and contents of arrays, as a text."""
    # Imported here, since `import cgraph` would take longer.
    from hashlib import sha256

    result = sha256(text.encode("utf-8", "surrogatepass"))
    for name in sorted(arrays):
        array = arrays[name]
        about = f"\n{name} {array.dtype.str} {array.shape}\n"
        result.update(about.encode("utf-8", "surrogatepass"))
        result.update(np.ascontiguousarray(array).data)
    return result.hexdigest()


def _native(array: Any) -> Any:
    """Returns an array in the byte order of this processor."""
    return array.astype(array.dtype.newbyteorder("="), copy=False)
