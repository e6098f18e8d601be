"""Files that are written whole or not at all: a temporary file in the same folder is renamed.

Where a rename cannot replace the file (a mount point, a device, a file in a folder in which no other
can be made), the content is made in memory first and then written in place.
"""

from __future__ import annotations

import errno
import io
import os
import stat
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import IO

from cgraph._kernels.runtime.uninterrupted import complete

Write = Callable[[IO[bytes]], object]

# The temporary file cannot be made: the folder is not writable, or the path is too long.
_NO_NEIGHBOUR = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG})
# The file cannot be replaced: it is a mount point, or belongs to another user in a sticky folder.
_NO_RENAME = frozenset({errno.EBUSY, errno.EXDEV, errno.EACCES, errno.EPERM})
# Windows refuses to replace a file that is open for reading elsewhere, with EACCES.
_PAUSES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0) if os.name == "nt" else ()
_PATIENCE = 10.0  # seconds that a save in place waits for the lock of another save


def write_whole(name: str, write: Write) -> None:
    """Gives a file the content that `write` writes, all of it or, after an exception, none.

    Parameters
    ----------
    name : str
        The path. A symbolic link is kept, and its target is written.
    write : callable
        Writes the content to a binary file that is open for writing; called a second time if the
        temporary file cannot be renamed.

    Raises
    ------
    OSError
        The file cannot be written; `filename` is `name`.
    """
    try:
        old = _status(name)
        target = os.path.realpath(name)
        if not (_is_replaceable(name, target, old) and _write_beside(target, old, write)):
            _write_in_place(name, write)
    except OSError as error:
        if error.errno is None or error.filename == name:
            raise
        # The caller knows neither the temporary file nor the target of a link.
        raise OSError(error.errno, error.strerror, name) from None


def _status(name: str) -> os.stat_result | None:
    """Returns the status of the file under a name, links followed; None if there is no file."""
    try:
        return os.stat(name)
    except FileNotFoundError:
        return None


def _is_replaceable(name: str, target: str, old: os.stat_result | None) -> bool:
    """Whether a rename may replace the file: a regular one, or none, that could also be opened for writing."""
    if old is None:
        return os.path.basename(name) not in ("", os.curdir, os.pardir)
    # The links of /proc/self/fd may lead to pipes and deleted files, and then their targets are not paths.
    if not (stat.S_ISREG(old.st_mode) and os.path.isfile(target)):
        return False
    return os.access(target, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


def _write_beside(target: str, old: os.stat_result | None, write: Write) -> bool:
    """Writes a new file in the folder of `target` and renames it; returns False if the folder does not allow it."""
    # A random name, since threads share a process id, and so do the first processes of two containers;
    # and a short one, since the name of the target may have the greatest length allowed.
    temporary = os.path.join(os.path.dirname(target), f".cgraph-{os.urandom(16).hex()}.tmp")

    def remove() -> None:
        """Removes the temporary file, if there is one; a repeated call has no effect."""
        with suppress(FileNotFoundError):
            os.unlink(temporary)

    try:
        if _make(temporary, old, write) and _rename(temporary, target):
            return True
        complete(remove)
        return False
    except BaseException:
        complete(remove)
        raise


def _make(temporary: str, old: os.stat_result | None, write: Write) -> bool:
    """Makes and writes the temporary file; returns False if the folder does not allow new files."""
    # Not tempfile, whose files are private to the user: a new file obeys the umask. The replacement
    # of a private file is private from its first byte.
    mode = 0o666 if old is None else stat.S_IMODE(old.st_mode) & 0o666
    try:
        # Outside the lines that write, whose errors say nothing about the folder.
        file = open(  # noqa: SIM115
            temporary, "xb", opener=lambda path, flags: os.open(path, flags, mode)
        )
    except OSError as error:
        if error.errno in _NO_NEIGHBOUR:
            return False
        raise
    with file:
        if old is not None:
            _take_over(temporary, old)
        write(file)
        file.flush()
        os.fsync(file.fileno())
    return True


def _take_over(temporary: str, old: os.stat_result) -> None:
    """Gives a file the mode of another, and its owner and group where the system permits."""
    if hasattr(os, "chown"):
        for owner, group in ((-1, old.st_gid), (old.st_uid, -1)):
            with suppress(OSError):
                os.chown(temporary, owner, group)
    with suppress(OSError):  # some file systems have no modes
        os.chmod(temporary, stat.S_IMODE(old.st_mode))


def _rename(temporary: str, target: str) -> bool:
    """Renames the temporary file; returns False if the target cannot be replaced."""
    for pause in (*_PAUSES, None):
        try:
            os.replace(temporary, target)
        except OSError as error:
            if error.errno not in _NO_RENAME:
                raise
            if pause is None:
                return False
            time.sleep(pause)
        else:
            break
    return True


def _write_in_place(name: str, write: Write) -> None:
    """Overwrites a file with content that is complete beforehand, so that the write is as short as possible."""
    content = io.BytesIO()
    write(content)
    # Without O_TRUNC: the old content stays until this writer holds the lock.
    with open(
        name, "wb", opener=lambda path, flags: os.open(path, flags & ~os.O_TRUNC, 0o666)
    ) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            file.write(content.getbuffer())
            return
        _await_turn(file)

        failed: list[OSError] = []

        def overwrite() -> None:
            """Writes the content from the beginning, and notes an error of the disk instead of raising it."""
            try:
                file.seek(0)
                file.write(content.getbuffer())
                file.truncate()
                file.flush()
                os.fsync(file.fileno())
            except OSError as error:
                # Without a number, the error is one that a signal handler has raised: a TimeoutError, say.
                if error.errno is None:
                    raise
                failed.append(error)

        complete(overwrite)
        if failed:
            raise failed[0]


def _await_turn(file: IO[bytes]) -> None:
    """Locks the file against other saves; gives up after a while, since the caller itself may hold the lock."""
    if sys.platform == "win32":
        return
    import fcntl

    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.002)
        except OSError:  # a file system without locks
            return
        else:
            return
