"""Writing a file so that nobody ever sees half of it: beside its place, and then renamed.

Where a name stands for something that no rename can replace (a mount point, a device, a file in
a folder that takes no other), the content is made in memory first and then written in place.
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

# No file can be made beside the place: the folder takes none, or the path is too long for one more.
_NO_NEIGHBOUR = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG})
# The place takes no other file: it is a mount point, or in a sticky folder somebody else's.
_NO_RENAME = frozenset({errno.EBUSY, errno.EXDEV, errno.EACCES, errno.EPERM})
# Windows replaces no file that somebody is reading at the moment, and says EACCES.
_PAUSES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0) if os.name == "nt" else ()
_PATIENCE = 10.0  # seconds that a save in place waits for another one


def write_whole(name: str, write: Write) -> None:
    """Give a file the content that `write` writes, all of it or, after an exception, none.

    Parameters
    ----------
    name : str
        The path. A symbolic link stays one, and its target is written.
    write : callable
        Writes the content to a binary file that is open for writing; called a second time where
        the first file could not be renamed.

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
        # Neither the temporary file nor the target of a link is what the caller knows.
        raise OSError(error.errno, error.strerror, name) from None


def _status(name: str) -> os.stat_result | None:
    try:
        return os.stat(name)
    except FileNotFoundError:
        return None


def _is_replaceable(name: str, target: str, old: os.stat_result | None) -> bool:
    """Whether another file may take the place; what opening in place refuses may not, either."""
    if old is None:
        return os.path.basename(name) not in ("", os.curdir, os.pardir)
    # The links of /proc/self/fd may lead to pipes and deleted files: their targets are no paths.
    if not (stat.S_ISREG(old.st_mode) and os.path.isfile(target)):
        return False
    return os.access(target, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


def _write_beside(target: str, old: os.stat_result | None, write: Write) -> bool:
    """Write a new file in the folder of `target` and rename it; False where that cannot be done."""
    # Random, since threads share a process id, and so do the first processes of two containers;
    # short, since the name of the target may be as long as names may be.
    temporary = os.path.join(os.path.dirname(target), f".cgraph-{os.urandom(16).hex()}.tmp")

    def remove() -> None:
        """Remove what is left of the temporary file; to call it again does no harm."""
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
    """Make the temporary file; False where the folder takes none."""
    # Not tempfile: its files are private to the user, and a new one should obey the umask. A file
    # that is to replace a private one is private from its first byte.
    mode = 0o666 if old is None else stat.S_IMODE(old.st_mode) & 0o666
    try:
        # Apart from the lines that write: their errors say nothing about the folder.
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
    """Give a file the owner and group of another where the system lets us, and its mode."""
    if hasattr(os, "chown"):
        for owner, group in ((-1, old.st_gid), (old.st_uid, -1)):
            with suppress(OSError):
                os.chown(temporary, owner, group)
    with suppress(OSError):  # some file systems have no modes
        os.chmod(temporary, stat.S_IMODE(old.st_mode))


def _rename(temporary: str, target: str) -> bool:
    """Rename; False where the target cannot be replaced."""
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
    """Write over what is there, as short a time as possible: the content is complete before."""
    content = io.BytesIO()
    write(content)
    # Without O_TRUNC: the old content stays until it is this writer's turn.
    with open(
        name, "wb", opener=lambda path, flags: os.open(path, flags & ~os.O_TRUNC, 0o666)
    ) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            file.write(content.getbuffer())
            return
        _await_turn(file)

        failed: list[OSError] = []

        def overwrite() -> None:
            """Write the content from the beginning; to call it again does no harm, but on a full disk no good."""
            try:
                file.seek(0)
                file.write(content.getbuffer())
                file.truncate()
                file.flush()
                os.fsync(file.fileno())
            except OSError as error:
                if (
                    error.errno is None
                ):  # a TimeoutError, say, that the handler of a signal has raised
                    raise
                failed.append(error)

        complete(overwrite)
        if failed:
            raise failed[0]


def _await_turn(file: IO[bytes]) -> None:
    """Lock the file, so that two saves do not mix; not for ever, since the lock may be the caller's."""
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
