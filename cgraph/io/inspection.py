"""What a file of cgraph holds, told without building anything: for `cgraph info`."""

from __future__ import annotations

from typing import Any, NamedTuple

from cgraph.io.fields import place, taken
from cgraph.io.header import GRAPH, HEADER
from cgraph.io.opening import is_parameter, opened_archive
from cgraph.io.records import Record, parsed_records
from cgraph.io.state import SAMPLES
from cgraph.io.streams import File


class ArrayInfo(NamedTuple):
    """The name, the shape and the dtype of an array, as its header states them."""

    name: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def size(self) -> int:
        """The number of elements."""
        size = 1
        for number in self.shape:
            size *= number
        return size


class FileInfo(NamedTuple):
    """What a file states.

    Attributes
    ----------
    form : str
        The name of the format.
    version : int
    size : int
        The size of the file in bytes.
    metadata : dict
    parameters : list of ArrayInfo
    nodes : list of Record
        The nodes of a graph; of a file of parameters there are none.
    names : dict of str to int
        The names of nodes, with their numbers.
    optimizer : dict, optional
        The record of the optimiser.
    """

    form: str
    version: int
    size: int
    metadata: dict[str, Any]
    parameters: list[ArrayInfo]
    nodes: list[Record]
    names: dict[str, int]
    optimizer: dict[str, Any] | None


def inspect(file: File) -> FileInfo:
    """Returns what a file of `save_parameters` or of `CG.save` states; contents of arrays are not read.

    Raises
    ------
    OSError
        The file cannot be read.
    ModelFileError
        The file is neither of these, or its header is damaged.
    TypeError, ValueError
        The argument is no file that can be read.
    """
    with opened_archive("inspect", file) as (archive, header):
        members = [archive.member(name) for name in archive.names if is_parameter(name)]
        arrays = [ArrayInfo(m.name, m.shape, m.dtype.name) for m in members]
        nodes: list[Record] = []
        names: dict[str, int] = {}
        if header["format"] == GRAPH:
            nodes = [*parsed_records(taken(header, HEADER, "nodes", list))]
            names = {
                name: place("names", name, number, len(nodes))
                for name, number in taken(header, HEADER, "names", dict).items()
            }
        has_optimizer = header["format"] == GRAPH and "optimizer" in header
        return FileInfo(
            form=header["format"],
            version=header["version"],
            size=archive.size,
            metadata=header["metadata"],
            parameters=[x for x in arrays if not x.name.startswith(SAMPLES)],
            nodes=nodes,
            names=names,
            optimizer=taken(header, HEADER, "optimizer", dict) if has_optimizer else None,
        )
