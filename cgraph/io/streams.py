"""The files that are saved to and loaded from: paths, or binary file objects that the caller has opened."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, TypeGuard

from cgraph._validation import describe
from cgraph.io.files import Write, write_whole

FilePath = str | bytes | os.PathLike[str] | os.PathLike[bytes]
File = FilePath | IO[bytes]

_CHUNK = 1 << 20


def as_destination(function: str, file: object) -> str:
    """Returns the name of a path or of a binary file object that is open for writing, or refuses the argument."""
    return _checked_name(function, file, "write", "writable", "writing")


def as_source(function: str, file: object) -> str:
    """Returns the name of a path or of a binary file object that is open for reading, or refuses the argument."""
    return _checked_name(function, file, "read", "readable", "reading")


def _checked_name(function: str, file: object, method: str, is_able: str, purpose: str) -> str:
    if _is_path(file):
        return os.fsdecode(file)
    if not callable(getattr(file, method, None)) or isinstance(file, type):
        raise TypeError(
            f"{function}: file must be a path or a binary file object, got {describe(file)}"
        )
    # The wrappers of tempfile are of classes of their own, and show the encoding of the text file within.
    if isinstance(file, io.TextIOBase) or isinstance(getattr(file, "encoding", None), str):
        raise TypeError(
            f"{function}: file must be binary, got a text file of type {type(file).__name__}"
        )
    # A file object of a user's own class may lack the method.
    if not getattr(file, is_able, lambda: True)():
        raise ValueError(f"{function}: file must be open for {purpose}, got {_object_name(file)}")
    return _object_name(file)


def _is_path(file: object) -> TypeGuard[FilePath]:
    return isinstance(file, (str, bytes, os.PathLike))


def _object_name(file: object) -> str:
    """Returns the `name` of a file object if that is a text, else a name made of its type."""
    name: Any = getattr(file, "name", None)
    if _is_path(name) and name:
        return os.fsdecode(name)
    return f"<{type(file).__name__}>"


def write_file(file: File, write: Write) -> None:
    """Gives a path a file with the content that `write` writes, or appends the content to an open file.

    An open file gets its first byte when the content is complete. It is flushed, and stays open.
    """
    if _is_path(file):
        write_whole(os.fsdecode(file), write)
        return
    content = io.BytesIO()
    write(content)
    stream: Any = file
    if isinstance(stream, io.RawIOBase):
        _write_raw(stream, content.getbuffer())
    else:
        stream.write(content.getvalue())
    getattr(stream, "flush", lambda: None)()


def _write_raw(stream: io.RawIOBase, content: memoryview) -> None:
    """Writes all of the content to an unbuffered file, of which one call may write a part only."""
    while content:
        count = stream.write(content)
        if count is None:  # nothing: the file must not block
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN), _object_name(stream))
        content = content[count:]


@contextmanager
def opened(file: File) -> Iterator[IO[bytes]]:
    """Yields a file in which one can seek, and whose content begins at its position.

    A path is opened and closed again; a file object stays open. A pipe, or any file in which one cannot seek, is read
    to its end first.
    """
    if _is_path(file):
        with open(os.fsdecode(file), "rb") as stream:
            yield _seekable(stream)
    else:
        yield _seekable(file)


def _seekable(file: Any) -> IO[bytes]:
    """Returns the file itself, or a copy in memory of the rest of a file in which one cannot seek."""
    if getattr(file, "seekable", lambda: False)():
        stream: IO[bytes] = file
        return stream
    content = io.BytesIO()
    while chunk := file.read(_CHUNK):
        content.write(chunk)
    content.seek(0)
    return content
