"""The header of a file: a JSON text with the format's name, its version, the caller's metadata, and more entries."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from cgraph._validation import describe

HEADER = "cgraph"  # the name of the array that holds the text
STRANGE = "not a cgraph parameter file"
# The names of the formats; files of the last one have a header of their own.
PARAMETERS, GRAPH, CHECKPOINT = "cgraph parameters", "cgraph graph", "cgraph checkpoint"
_VERSION = 1  # of the first two


class ModelFileError(ValueError):
    """A file is no file of cgraph, is damaged, or does not fit the graph."""


def header_text(function: str, form: str, metadata: object, **more: object) -> str:
    """Returns the header of a file of a format, with these metadata and more entries, for which JSON has been seen to.

    Raises
    ------
    TypeError, ValueError
        JSON cannot represent the metadata.
    """
    if metadata is None:
        metadata = {}
    if not isinstance(metadata, Mapping):
        raise TypeError(f"{function}: metadata must be a mapping, got {describe(metadata)}")
    header = {"format": form, "version": _VERSION, "metadata": dict(metadata)}
    _check_json(function, header)
    try:
        return json.dumps(header | more, allow_nan=False)
    # A reference cycle, too many levels, or an integer with more digits than Python converts.
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{function}: metadata must be JSON: {error}") from None


def _check_json(function: str, header: dict[str, Any]) -> None:
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
                        f"{function}: metadata must have str as keys, got {describe(key)}"
                    )
        elif isinstance(value, float):
            if not math.isfinite(value):
                raise ValueError(f"{function}: metadata must hold finite numbers, got {value}")
        elif value is not None and not isinstance(value, (str, int)):
            raise TypeError(f"{function}: metadata must hold what JSON can, got {describe(value)}")


def parsed_header(name: str, text: str) -> dict[str, Any]:
    """Returns the header in the text of the file called `name`; another format or version raises ModelFileError."""
    try:
        header = json.loads(text)
        if header["format"] == CHECKPOINT:
            raise ModelFileError(f"{name}: {STRANGE}, but a checkpoint, which CG.fit reads")
        form, version, metadata = header["format"], header["version"], header["metadata"]
    except ModelFileError:
        raise
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        reason = f"{HEADER} is no such text, {type(error).__name__}"
        raise ModelFileError(f"{name}: {STRANGE}, or damaged ({reason})") from error
    if form not in (PARAMETERS, GRAPH) or not isinstance(metadata, dict):
        raise ModelFileError(f"{name}: {STRANGE}")
    if version != _VERSION:
        raise ModelFileError(f"{name}: expected format version {_VERSION}, got {version!r}")
    result: dict[str, Any] = header
    return result
