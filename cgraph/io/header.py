"""The header of a parameter file: a JSON text with the format's name, its version and the caller's metadata."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from cgraph._validation import describe

HEADER = "cgraph"  # the name of the array that holds the text
STRANGE = "not a cgraph parameter file"
_FORMAT = "cgraph parameters"
_VERSION = 1


class ModelFileError(ValueError):
    """A file is not a parameter file of cgraph, is damaged, or does not fit the graph."""


def header_text(metadata: object) -> str:
    """Returns the text of a file with these metadata; what JSON cannot represent raises TypeError or ValueError."""
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


def parsed_metadata(name: str, text: str) -> dict[str, Any]:
    """Returns the metadata in the text of the file called `name`; another format or version raises ModelFileError."""
    try:
        header = json.loads(text)
        form, version, metadata = header["format"], header["version"], header["metadata"]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        reason = f"{HEADER} is no such text, {type(error).__name__}"
        raise ModelFileError(f"{name}: {STRANGE}, or damaged ({reason})") from error
    if form != _FORMAT or not isinstance(metadata, dict):
        raise ModelFileError(f"{name}: {STRANGE}")
    if version != _VERSION:
        raise ModelFileError(f"{name}: expected format version {_VERSION}, got {version!r}")
    return metadata
