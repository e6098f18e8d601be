"""Functions that save the parameters of a graph to an `.npz` file, and load them into a graph built alike.

The file holds one array for each parameter, in the order of `parameters(node)`, one number of samples
for each Dropout, and one JSON text
with the format's name, its version and the caller's metadata. It contains neither code nor pickle,
and `numpy.load` reads it, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from cgraph.io.header import HEADER, PARAMETERS, ModelFileError, header_text
from cgraph.io.opening import is_parameter, opened_archive, write_archive
from cgraph.io.state import (
    Arrays,
    HasParameters,
    LoadReport,
    arrays_to_read,
    arrays_to_write,
    replace,
)
from cgraph.io.streams import File, as_destination, as_source, write_file
from cgraph.node import Node

if TYPE_CHECKING:
    from cgraph.io.archive import Archive

__all__ = [
    "LoadReport",
    "Metadata",
    "ModelFileError",
    "ParameterFile",
    "load_parameters",
    "open_parameters",
    "read_metadata",
    "save_parameters",
]


class Metadata(dict[str, Any]):
    """The metadata of a file, a dict, with a report on the arrays that were not loaded.

    Attributes
    ----------
    report : LoadReport
        The names of the arrays that `strict=False` left out.
    """

    report: LoadReport

    def __init__(self, metadata: Mapping[str, Any], report: LoadReport) -> None:
        super().__init__(metadata)
        self.report = report


def save_parameters(
    file: File, node: Node | HasParameters, metadata: Mapping[str, Any] | None = None
) -> None:
    """Writes the parameters of `node` and all its ancestors, or of a Graph, and how many samples a Dropout has seen.

    Under a path, the file appears whole or not at all, also while other processes read or save it: the
    content is written to a temporary file in the same folder, which is then renamed.

    Parameters
    ----------
    file : str, path or binary file object
        The file to write; a name is used as it is, and no ending is added. A file object, open for writing,
        gets the content at its position, is flushed, and stays open; it may be a pipe.
    node : Node or Graph
        Usually the loss, or the Graph of it. Of a Graph with several outputs all parameters are saved.
    metadata : mapping, optional
        Anything that JSON can hold, for `read_metadata`.

    Raises
    ------
    OSError
        The file cannot be written.
    TypeError, ValueError
        The file is neither of the above, or not open for writing; the metadata are not JSON; a parameter is
        no array of numbers. Nothing is written.

    Notes
    -----
    A symbolic link is kept: its target is replaced, or made if it does not exist. A replaced file keeps
    its mode, and its owner and group where the system permits; a new file obeys the umask. Other hard
    links to a file keep the old content. A file without write permission is not replaced.

    Files that a rename cannot replace are written in place, as by `numpy.savez`: a file that is a mount
    point (`docker run -v model.npz:/data/model.npz`), a file in a folder where no other can be made, a
    named pipe, which waits for its reader, a device such as `/dev/null`, and a file object. The content is
    complete before the first byte is written, and saves under a path wait for each other, but a process
    that reads meanwhile may see a part of it.

    A process that is killed may leave a file `.cgraph-*.tmp` behind.

    Examples
    --------
    >>> import io
    >>> import cgraph as CG
    >>> y = CG.Affine(CG.Leaf1(1), [[1.0], [2.0]])
    >>> file = io.BytesIO()
    >>> CG.save_parameters(file, y, {"epoch": 3})
    >>> _ = file.seek(0)
    >>> CG.load_parameters(file, y)
    {'epoch': 3}
    """
    as_destination("save_parameters", file)
    text = header_text("save_parameters", PARAMETERS, metadata)
    named = arrays_to_read("save_parameters", node)
    arrays = {HEADER: np.array(text), **named}
    write_file(file, lambda stream: write_archive(stream, arrays))


def load_parameters(
    file: File, node: Node | HasParameters, *, cast: bool = False, strict: bool = True
) -> Metadata:
    """Copies the parameters of a file into `node` and its ancestors, or into a Graph; gradient sums are kept.

    Either all parameters are copied or, on an error, none. The shapes and dtypes that the file states
    are compared with those of the graph before anything is unpacked, so a small file cannot take much
    memory, however large its unpacked content is. The number of samples that a Dropout has seen is copied
    where the file has one, and the graph has that Dropout.

    Parameters
    ----------
    file : str, path or binary file object
        What `save_parameters` or `CG.save` wrote. A file object, open for reading, is read from its position to its
        end, and stays open; it may be a pipe.
    node : Node or Graph
        The last node of a graph with the same parameters, of the same order, shapes and dtype; or a Graph
        of such nodes.
    cast : bool, optional
        Whether floating-point parameters of another dtype are converted: float64 to float32, say. A number
        that overflows is refused. Parameters of other kinds are never converted.
    strict : bool, optional
        Whether the file must hold exactly the parameters of the graph. With False, those are loaded whose
        name and shape are the same in both, and all others keep their values, so that a trained body can
        get a new last layer. A name is the place in the order of `parameters`, the class of the node, and
        the name in that node: ``00003.Affine.weight``. Where a layer is inserted, those behind it therefore
        have other names.

    Returns
    -------
    dict
        The metadata of the file. Its attribute `report`, a `LoadReport`, has the names of the arrays that
        were not loaded.

    Raises
    ------
    OSError
        The file cannot be read.
    ModelFileError
        The file is not a parameter file, is damaged, or belongs to another graph; or, with `strict=False`,
        no parameter fits.
    TypeError, ValueError
        The file is neither of the above, or not open for reading; a parameter of the graph is no array of
        numbers, or is read-only.

    Examples
    --------
    >>> import io
    >>> import cgraph as CG
    >>> def network(classes):
    ...     body = CG.ReLU(CG.Affine(CG.Leaf1(1), [[1.0], [2.0]]))
    ...     return CG.Affine(body, [[0.0] * classes] * 2)
    >>> file = io.BytesIO()
    >>> CG.save_parameters(file, network(10))
    >>> _ = file.seek(0)
    >>> CG.load_parameters(file, network(3), strict=False).report
    LoadReport(missing=(), mismatched=('00001.Affine.weight',), unexpected=())
    """
    as_source("load_parameters", file)
    targets = arrays_to_write("load_parameters", node)
    with _saved("load_parameters", file) as saved:
        return saved._copy_into(targets, cast, strict)


def read_metadata(file: File) -> dict[str, Any]:
    """Returns the metadata that were given to `save_parameters` or `CG.save`; the parameters are not read.

    Parameters
    ----------
    file : str, path or binary file object
        As for `load_parameters`.

    Returns
    -------
    dict
        The metadata as JSON represents them: a tuple is returned as a list.

    Raises
    ------
    OSError
        The file cannot be read.
    ModelFileError
        The file is not a parameter file, or its metadata are damaged.
    TypeError, ValueError
        The file is neither of the above, or not open for reading.
    """
    with _saved("read_metadata", file) as saved:
        return saved.metadata


@contextmanager
def open_parameters(file: File) -> Iterator[ParameterFile]:
    """Opens a file once, for a program that builds its graph as the metadata say and then loads the parameters.

    Both are those of one file, even if another process saves to its path meanwhile.

    Parameters
    ----------
    file : str, path or binary file object
        As for `load_parameters`.

    Yields
    ------
    ParameterFile
        The open file, which is closed when the `with` block ends.

    Raises
    ------
    OSError, ModelFileError, TypeError, ValueError
        As for `read_metadata`.

    Examples
    --------
    >>> import io
    >>> import numpy as np
    >>> import cgraph as CG
    >>> file = io.BytesIO()
    >>> CG.save_parameters(file, CG.Affine(CG.Leaf1(2), np.ones((3, 4))), {"inputs": 2, "outputs": 4})
    >>> _ = file.seek(0)
    >>> with CG.io.open_parameters(file) as saved:
    ...     m, n = saved.metadata["inputs"], saved.metadata["outputs"]
    ...     y = CG.Affine(CG.Leaf1(m), np.zeros((m + 1, n)))
    ...     _ = saved.load(y)
    >>> float(y.weight.sum())
    12.0
    """
    with _saved("open_parameters", file) as saved:
        yield saved


@contextmanager
def _saved(function: str, file: File) -> Iterator[ParameterFile]:
    with opened_archive(function, file) as (archive, header):
        saved = ParameterFile(archive, header["metadata"])
        try:
            yield saved
        finally:
            saved._archive = None


class ParameterFile:
    """A parameter file that `open_parameters` has opened.

    Attributes
    ----------
    metadata : dict
        The metadata, as `read_metadata` returns them.
    """

    metadata: dict[str, Any]

    def __init__(self, archive: Archive, metadata: dict[str, Any]) -> None:
        self._archive: Archive | None = archive
        self.metadata = metadata

    def load(
        self, node: Node | HasParameters, *, cast: bool = False, strict: bool = True
    ) -> Metadata:
        """Copies the parameters into a graph: see `load_parameters`.

        Raises
        ------
        OSError, ModelFileError, TypeError, ValueError
            As for `load_parameters`; the `with` block has ended.
        """
        return self._copy_into(arrays_to_write("ParameterFile.load", node), cast, strict)

    def _copy_into(self, targets: Arrays, cast: bool, strict: bool) -> Metadata:
        if self._archive is None:
            raise ValueError("ParameterFile.load: the file must be open, and is closed")
        names = [name for name in self._archive.names if is_parameter(name)]
        report = replace(targets, names, self._archive.member, cast, strict)
        return Metadata(self.metadata, report)
