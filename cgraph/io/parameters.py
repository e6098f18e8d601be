"""Functions that save the parameters of a graph to an `.npz` file, and load them into a graph built alike.

The file holds one array for each parameter, in the order of `parameters(node)`, and one JSON text
with the format's name, its version and the caller's metadata. It contains neither code nor pickle,
and `numpy.load` reads it, too.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cgraph._kernels.runtime.uninterrupted import assign
from cgraph._validation import describe
from cgraph.io.files import write_whole
from cgraph.node import Node
from cgraph.parameter import parameters

if TYPE_CHECKING:
    from cgraph.io.archive import Archive, Member

__all__ = ["ModelFileError", "load_parameters", "read_metadata", "save_parameters"]

_FORMAT = "cgraph parameters"
_VERSION = 1
_HEADER = "cgraph"
_NUMBERS = "biufc"  # kinds of dtypes that are saved without pickle
_STRANGE = "not a cgraph parameter file"
_SHORT_HEADER = 1 << 20  # bytes that the header may have even where the whole file is shorter

FilePath = str | bytes | os.PathLike[str] | os.PathLike[bytes]
Arrays = dict[str, NDArray[Any]]


class ModelFileError(ValueError):
    """A file is not a parameter file of cgraph, is damaged, or does not fit the graph."""


def save_parameters(path: FilePath, node: Node, metadata: Mapping[str, Any] | None = None) -> None:
    """Writes the parameters of `node` and all its ancestors.

    The file appears whole or not at all, also while other processes read or save it: the content is
    written to a temporary file in the same folder, which is then renamed.

    Parameters
    ----------
    path : str or path
        The file to write; the name is used as it is, and no ending is added.
    node : Node
        Usually the loss.
    metadata : mapping, optional
        Anything that JSON can hold, for `read_metadata`.

    Raises
    ------
    OSError
        The file cannot be written.
    TypeError, ValueError
        The metadata are not JSON, or a parameter is no array of numbers; nothing is written.

    Notes
    -----
    A symbolic link is kept: its target is replaced, or made if it does not exist. A replaced file keeps
    its mode, and its owner and group where the system permits; a new file obeys the umask. Other hard
    links to a file keep the old content. A file without write permission is not replaced.

    Files that a rename cannot replace are written in place, as by `numpy.savez`: a file that is a mount
    point (`docker run -v model.npz:/data/model.npz`), a file in a folder where no other can be made, a
    named pipe, which waits for its reader, and a device such as `/dev/null`. The content is complete
    before the first byte is written, and saves wait for each other, but a process that reads
    meanwhile may see a part of it.

    A process that is killed may leave a file `.cgraph-*.tmp` behind.
    """
    name = _path_name("save_parameters", path)
    arrays = {_HEADER: np.array(_header(metadata)), **_live_arrays("save_parameters", node)}
    write_whole(name, lambda file: _write_archive(file, arrays))


def load_parameters(path: FilePath, node: Node) -> dict[str, Any]:
    """Copies the parameters of a file into `node` and its ancestors; their gradient sums are kept.

    Either all parameters are copied or, on an error, none. The shapes and dtypes that the file states
    are compared with those of the graph before anything is unpacked, so a small file cannot take much
    memory, however large its unpacked content is.

    Parameters
    ----------
    path : str or path
        A file that `save_parameters` wrote.
    node : Node
        The last node of a graph with the same parameters, of the same order, shapes and dtype.

    Returns
    -------
    dict
        The metadata of the file.

    Raises
    ------
    OSError
        The file cannot be read.
    ModelFileError
        The file is not a parameter file, is damaged, or belongs to another graph.
    TypeError, ValueError
        A parameter of the graph is no array of numbers, or is read-only.
    """
    name = _path_name("load_parameters", path)
    targets = _live_arrays("load_parameters", node)
    for key, target in targets.items():
        if not target.flags.writeable:
            raise ValueError(f"load_parameters: {key} must be writable, got a read-only array")
    with _opened(name) as (archive, metadata):
        members = _members(name, archive, targets)
        # The arrays are converted to this machine's byte order.
        sources = [
            member.read().astype(target.dtype, copy=False)
            for member, target in zip(members, targets.values(), strict=True)
        ]
    assign(list(targets.values()), sources)
    return metadata


def read_metadata(path: FilePath) -> dict[str, Any]:
    """Returns the metadata that were given to `save_parameters`; the parameters are not read.

    Parameters
    ----------
    path : str or path
        A file that `save_parameters` wrote.

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
    """
    with _opened(_path_name("read_metadata", path)) as (_, metadata):
        return metadata


def _path_name(function: str, path: object) -> str:
    """Returns the path that a public function was given as a str, or raises a TypeError in its name."""
    if not isinstance(path, (str, bytes, os.PathLike)):
        raise TypeError(f"{function}: path must be a str or a path, got {describe(path)}")
    return os.fsdecode(path)


def _header(metadata: object) -> str:
    """Returns the JSON text of a file; metadata that JSON cannot represent raise TypeError or ValueError."""
    if metadata is None:
        metadata = {}
    if not isinstance(metadata, Mapping):
        raise TypeError(f"save_parameters: metadata must be a mapping, got {describe(metadata)}")
    header = {"format": _FORMAT, "version": _VERSION, "metadata": dict(metadata)}
    _check_json(header)
    try:
        return json.dumps(header, allow_nan=False)
    # A reference cycle, too many levels, or an integer with more digits than Python converts.
    except (ValueError, RecursionError) as error:
        raise ValueError(f"save_parameters: metadata must be JSON: {error}") from None


def _check_json(header: dict[str, Any]) -> None:
    """Refuses keys that json would convert to str, and values that it cannot write."""
    pending: list[Any] = [header]
    seen: set[int] = set()
    while pending:
        value = pending.pop()
        if isinstance(value, (dict, list, tuple)):
            if id(value) in seen:
                continue
            seen.add(id(value))
            pending.extend(value.values() if isinstance(value, dict) else value)
            for key in value if isinstance(value, dict) else ():
                if not isinstance(key, str):
                    raise TypeError(
                        f"save_parameters: metadata must have str as keys, got {describe(key)}"
                    )
        elif isinstance(value, float):
            if not math.isfinite(value):
                raise ValueError(f"save_parameters: metadata must hold finite numbers, got {value}")
        elif value is not None and not isinstance(value, (str, int)):
            raise TypeError(
                f"save_parameters: metadata must hold what JSON can, got {describe(value)}"
            )


def _live_arrays(function: str, node: Node) -> Arrays:
    """Returns the parameter arrays of a graph by the names that they have in a file."""
    arrays = {}
    for index, item in enumerate(parameters(node)):
        value: object = item.value
        if not isinstance(value, np.ndarray) or value.dtype.kind not in _NUMBERS:
            raise TypeError(
                f"{function}: {item.name} of {type(item.node).__name__} must be an array of "
                f"numbers, got {describe(value)}"
            )
        arrays[f"{index:05d}.{type(item.node).__name__}.{item.name}"] = value
    return arrays


def _write_archive(file: IO[bytes], arrays: Arrays) -> None:
    """Writes the arrays as `.npz`; an exception that interrupts it is raised as it came."""
    # NumPy's annotations do not accept a dict of arrays beside the keywords that NumPy reserves.
    write: Any = np.savez
    try:
        write(file, **arrays)
    except ValueError as error:
        # zipfile cannot close an interrupted archive, and raises a ValueError in place of the interruption.
        cause: BaseException | None = error
        while isinstance(cause, Exception):
            cause = cause.__context__
        raise cause or error from None


@contextmanager
def _opened(name: str) -> Iterator[tuple[Archive, dict[str, Any]]]:
    """Opens a file, and yields its archive and metadata; damage raises a ModelFileError with the file's name."""
    # Imported here, since `import cgraph` would take a tenth longer with the imports of zipfile.
    from cgraph.io.archive import Archive, DamagedError

    with open(name, "rb") as file:
        try:
            archive = Archive(file)
            # The header is at most as long as the file, unless it is compressed.
            text = archive.member(_HEADER).text(max(archive.size, _SHORT_HEADER))
        except DamagedError as error:
            raise ModelFileError(f"{name}: {_STRANGE}, or damaged ({error})") from error
        with archive:
            metadata = _parsed(name, text)
            try:
                yield archive, metadata
            except DamagedError as error:
                raise ModelFileError(f"{name}: {error}") from error


def _parsed(name: str, text: str) -> dict[str, Any]:
    """Returns the metadata in the JSON text of a file, whose format and version are checked."""
    try:
        header = json.loads(text)
        form, version, metadata = header["format"], header["version"], header["metadata"]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        reason = f"{_HEADER} is no such text, {type(error).__name__}"
        raise ModelFileError(f"{name}: {_STRANGE}, or damaged ({reason})") from error
    if form != _FORMAT or not isinstance(metadata, dict):
        raise ModelFileError(f"{name}: {_STRANGE}")
    if version != _VERSION:
        raise ModelFileError(f"{name}: expected format version {_VERSION}, got {version!r}")
    return metadata


def _members(name: str, archive: Archive, targets: Arrays) -> list[Member]:
    """Returns the member for each array of the graph; names, shapes and dtypes must be equal."""
    count = len(archive.names) - 1
    if count != len(targets):
        raise ModelFileError(
            f"{name}: expected {len(targets)} parameter arrays for this graph, got {count}"
        )
    members = []
    for key, target in targets.items():
        if key not in archive.names:
            raise ModelFileError(f"{name}: expected a parameter {key}, got none")
        member = archive.member(key)
        if (member.shape, member.dtype.newbyteorder("=")) != (target.shape, target.dtype):
            raise ModelFileError(
                f"{name}: {key} must have shape {target.shape} and dtype "
                f"{target.dtype}, got {member.shape} and {member.dtype}"
            )
        members.append(member)
    return members
