"""Text for streams that are missing, are closed, or cannot encode every character."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TextIO

# Characters of this package's own texts, and what stands for them in ASCII.
_ASCII = {"×": "x"}


def encodable(text: str, stream: TextIO | None) -> str:
    """The text with every character replaced that the stream would refuse: by its like in ASCII, or escaped."""
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
    except LookupError:  # what a stream of somebody's own calls its encoding
        return True
    return True


def say(text: str) -> None:
    """Print a line to stdout at once; nothing where there is no stdout, or a closed one."""
    _print(text, sys.stdout)


def note(text: str) -> None:
    """Print a line to stderr, if that can be: what is said there is never worth the result of a command."""
    with suppress(OSError):
        _print(text, sys.stderr)


def _print(text: str, stream: TextIO | None) -> None:
    if is_open(stream):
        print(encodable(text, stream), file=stream, flush=True)


def is_open(stream: TextIO | None) -> bool:
    """Whether there is a stream: Python has None where a process was started without it."""
    return stream is not None and not stream.closed


def is_terminal(stream: TextIO | None) -> bool:
    """Whether somebody reads the stream on a terminal."""
    return stream is not None and not stream.closed and stream.isatty()
