"""Save the parameters of a graph to an `.npz` file, and load them into a graph of the same build.

The file holds no code and no pickle: one array for each parameter, in the order of
`parameters(node)`, and one JSON text with the format's name, its version and whatever metadata
the caller adds. `numpy.load` reads it too.
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
    """A file is not one of ours, is damaged, or does not fit the graph."""


def save_parameters(path: FilePath, node: Node, metadata: Mapping[str, Any] | None = None) -> None:
    """Write the parameters of `node` and all its ancestors.

    The file appears whole or not at all, whoever reads or saves at the same time: it is written
    beside its place and then renamed.

    Parameters
    ----------
    path : str or path
        Where to write; taken as it is, no ending is added.
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
    A symbolic link stays one: its target is replaced, or made where there is none. A file keeps
    its mode, and its owner and group where the system lets it; a new file obeys the umask. Other
    hard links of a file keep the old content. A file that may not be written is not replaced.

    What no rename can replace is written in place, as `numpy.savez` would: a file that is a mount
    point (`docker run -v model.npz:/data/model.npz`), one whose folder takes no other file, a
    named pipe, which waits for its reader, and a device such as `/dev/null`. The content is
    complete before the first byte is written there, and saves wait for each other, but whoever
    reads meanwhile may see part of it.

    A process that is killed may leave a file `.cgraph-*.tmp` behind.
    """
    name = _path_name("save_parameters", path)
    arrays = {_HEADER: np.array(_header(metadata)), **_live_arrays("save_parameters", node)}
    write_whole(name, lambda file: _write_archive(file, arrays))


def load_parameters(path: FilePath, node: Node) -> dict[str, Any]:
    """Copy the parameters of a file into `node` and its ancestors; their gradient sums stay.

    Either all parameters are taken or, on an error, none. What the file announces is compared
    with the graph before any of it is unpacked, so a small file cannot take much memory, whatever
    it unpacks to.

    Parameters
    ----------
    path : str or path
        A file that `save_parameters` wrote.
    node : Node
        The end of a graph with the same parameters in the same order, shapes and dtype.

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
        # In the byte order of this machine, whatever that of the other one was.
        sources = [
            member.read().astype(target.dtype, copy=False)
            for member, target in zip(members, targets.values(), strict=True)
        ]
    assign(list(targets.values()), sources)
    return metadata


def read_metadata(path: FilePath) -> dict[str, Any]:
    """The metadata that were given to `save_parameters`; the parameters are not read.

    Parameters
    ----------
    path : str or path
        A file that `save_parameters` wrote.

    Returns
    -------
    dict
        The metadata, as JSON keeps them: a tuple comes back as a list.

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
    if not isinstance(path, (str, bytes, os.PathLike)):
        raise TypeError(f"{function}: path must be a str or a path, got {describe(path)}")
    return os.fsdecode(path)


def _header(metadata: object) -> str:
    """The JSON text of a file; metadata that JSON cannot hold are refused."""
    if metadata is None:
        metadata = {}
    if not isinstance(metadata, Mapping):
        raise TypeError(f"save_parameters: metadata must be a mapping, got {describe(metadata)}")
    header = {"format": _FORMAT, "version": _VERSION, "metadata": dict(metadata)}
    _check_json(header)
    try:
        return json.dumps(header, allow_nan=False)
    # A circle, too many levels, or an integer of more digits than Python reads.
    except (ValueError, RecursionError) as error:
        raise ValueError(f"save_parameters: metadata must be JSON: {error}") from None


def _check_json(header: dict[str, Any]) -> None:
    """Refuse what json would write differently (keys), or not at all."""
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
    """The parameter arrays under the names that they have in a file."""
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
    write: Any = np.savez  # its type forbids names that NumPy 2 reserves and we do not use
    try:
        write(file, **arrays)
    except ValueError as error:
        # An interrupted zipfile cannot be closed, and says so instead of what has interrupted it.
        cause: BaseException | None = error
        while isinstance(cause, Exception):
            cause = cause.__context__
        raise cause or error from None


@contextmanager
def _opened(name: str) -> Iterator[tuple[Archive, dict[str, Any]]]:
    """The archive and the metadata of a file; what is wrong with it is told with its name."""
    # Here, since zipfile imports so much that `import cgraph` would take a tenth longer.
    from cgraph.io.archive import Archive, DamagedError

    with open(name, "rb") as file:
        try:
            archive = Archive(file)
            # A file is never shorter than its header, unless that is compressed.
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
    """The metadata in the JSON text of a file of our format and version."""
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
    """What a file has for each array of the graph: the same names, shapes and dtypes."""
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
