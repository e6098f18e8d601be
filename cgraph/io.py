"""Save the parameters of a graph to an `.npz` file, and load them into a graph of the same build.

The file holds no code and no pickle: one array for each parameter, in the order of
`parameters(node)`, and one JSON text with the format's name, its version and whatever metadata
the caller adds. `numpy.load` reads it too.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cgraph.node import Node
from cgraph.walk import parameters

__all__ = ["ModelFileError", "load_parameters", "read_metadata", "save_parameters"]

_FORMAT = "cgraph parameters"
_VERSION = 1
_HEADER = "cgraph"

FilePath = str | os.PathLike[str]
Arrays = dict[str, NDArray[Any]]


class ModelFileError(ValueError):
    """A file is not one of ours, is damaged, or does not fit the graph."""


def save_parameters(path: FilePath, node: Node, metadata: Mapping[str, Any] | None = None) -> None:
    """Write the parameters of `node` and all its ancestors.

    The file appears whole or not at all: it is written beside its place and then renamed.

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
        The metadata are not JSON.
    """
    header = {"format": _FORMAT, "version": _VERSION, "metadata": dict(metadata or {})}
    arrays = {_HEADER: np.array(json.dumps(header, allow_nan=False)), **_live_arrays(node)}
    path = Path(path)
    # Not tempfile: its files are private to the user, and this one should obey the umask.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "xb") as file:
            write: Any = np.savez  # its type forbids names that NumPy 2 reserves and we do not use
            write(file, **arrays)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with suppress(FileNotFoundError):
            temporary.unlink()
        raise


def load_parameters(path: FilePath, node: Node) -> dict[str, Any]:
    """Copy the parameters of a file into `node` and its ancestors; their gradient sums stay.

    Either all parameters are taken or, on an error, none.

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
        The file cannot be opened.
    ModelFileError
        The file is not a parameter file, is damaged, or belongs to another graph.
    """
    arrays, metadata = _read(path)
    targets = _live_arrays(node)
    if len(arrays) != len(targets):
        raise ModelFileError(
            f"{os.fspath(path)}: expected {len(targets)} parameter arrays for this graph, "
            f"got {len(arrays)}"
        )
    for key, target in targets.items():
        if key not in arrays:
            raise ModelFileError(f"{os.fspath(path)}: expected a parameter {key}, got none")
        if (arrays[key].shape, arrays[key].dtype) != (target.shape, target.dtype):
            raise ModelFileError(
                f"{os.fspath(path)}: {key} must have shape {target.shape} and dtype "
                f"{target.dtype}, got {arrays[key].shape} and {arrays[key].dtype}"
            )
    for key, target in targets.items():
        target[...] = arrays[key]
    return metadata


def read_metadata(path: FilePath) -> dict[str, Any]:
    """The metadata that were given to `save_parameters`.

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
        The file cannot be opened.
    ModelFileError
        The file is not a parameter file, or is damaged.
    """
    return _read(path)[1]


def _live_arrays(node: Node) -> Arrays:
    """The parameter arrays under the names that they have in a file."""
    return {
        f"{index:05d}.{type(item.node).__name__}.{item.name}": item.value
        for index, item in enumerate(parameters(node))
    }


def _read(path: FilePath) -> tuple[Arrays, dict[str, Any]]:
    name = os.fspath(path)
    with open(path, "rb") as file:
        try:
            with np.load(file, allow_pickle=False) as archive:
                arrays = dict(archive)
            header = json.loads(str(arrays.pop(_HEADER)))
            form, version, metadata = header["format"], header["version"], header["metadata"]
        # Broad on purpose: what zipfile, zlib, NumPy and json raise on damaged bytes is a dozen
        # unrelated classes, and none of them tells the user which file it was.
        except Exception as error:
            raise ModelFileError(
                f"{name}: not a cgraph parameter file, or damaged ({type(error).__name__})"
            ) from error
    if form != _FORMAT or not isinstance(metadata, dict):
        raise ModelFileError(f"{name}: not a cgraph parameter file")
    if version != _VERSION:
        raise ModelFileError(f"{name}: expected format version {_VERSION}, got {version!r}")
    return arrays, metadata
