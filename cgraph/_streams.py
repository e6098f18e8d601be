"""Output of text to streams that may be missing, closed, or unable to encode some characters."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TextIO

# Characters in the texts of this package, with a replacement in ASCII for each.
_ASCII = {"×": "x", "²": "2"}


def encodable(text: str, stream: TextIO | None) -> str:
    """Returns the text with each character that the stream cannot encode replaced: by its ASCII like, or escaped."""
    encoding = getattr(stream, "encoding", None)
    if not isinstance(encoding, str):
        return text
    errors = getattr(stream, "errors", None) or "strict"
    if _encodes(text, encoding, "strict"):
        return text
    for character, replacement in _ASCII.items():
        if not _encodes(character, encoding, "strict"):
            text = text.replace(character, replacement)
    if _encodes(text, encoding, errors):
        return text
    return text.encode(encoding, "backslashreplace").decode(encoding)


def _encodes(text: str, encoding: str, errors: str) -> bool:
    try:
        text.encode(encoding, errors)
    except UnicodeEncodeError:
        return False
    except LookupError:
        # A stream of a user's own class may name an encoding that Python does not know.
        return True
    return True


def say(text: str) -> None:
    """Prints a line to stdout and flushes; does nothing if stdout is missing or closed."""
    _print(text, sys.stdout)


def note(text: str) -> None:
    """Prints a line to stderr; ignores an OSError, since a note must never cost the result of a command."""
    with suppress(OSError):
        _print(text, sys.stderr)


def _print(text: str, stream: TextIO | None) -> None:
    if is_open(stream):
        print(encodable(text, stream), file=stream, flush=True)


def is_open(stream: TextIO | None) -> bool:
    """Returns whether a stream can be written to; Python has None for one that a process was started without."""
    return stream is not None and not stream.closed


def is_terminal(stream: TextIO | None) -> bool:
    """Returns whether a stream is a terminal."""
    return stream is not None and not stream.closed and stream.isatty()
