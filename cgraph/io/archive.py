"""Reading an `.npz` file that nobody vouches for: no pickle, and nothing unpacked but what was asked for.

The header of each member says which array it holds. Who reads compares that with what is wanted
before the content is read, so a small file cannot ask for much memory.
"""

from __future__ import annotations

import ast
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

# What zipfile, zlib, ast and NumPy raise on damaged bytes. Not Exception: an exception that a
# signal handler raises meanwhile is none of theirs. RuntimeError covers RecursionError and
# NotImplementedError, ValueError covers UnicodeDecodeError and io.UnsupportedOperation.
_DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, EOFError, struct.error, ValueError, TypeError, LookupError),
    *(AttributeError, OverflowError, MemoryError, RuntimeError, SyntaxError),
)
_MAGIC = b"\x93NUMPY"
_LENGTHS = {(1, 0): "<H", (2, 0): "<I"}  # NumPy writes a version 3 for names of fields alone
_LONGEST_HEADER = 10_000  # NumPy's own limit
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # those that NumPy writes
_ENCRYPTED = 1
_UNDAMAGED = "{} must be an undamaged array in NumPy's format"
_CHUNK = 1 << 20


class DamagedError(ValueError):
    """A file is no `.npz`, or not as it should be; the message says what, without the file's name."""


@contextmanager
def _damage(what: str) -> Iterator[None]:
    """Tell whatever the libraries raise on damaged bytes as one kind of exception."""
    try:
        yield
    except DamagedError:
        raise
    except _DAMAGE as error:
        raise DamagedError(f"{what} ({type(error).__name__})") from error


class Archive:
    """The members of an `.npz` file; each is an array that has been announced but not been read.

    Parameters
    ----------
    file : binary file
        Open for reading, and left open.

    Attributes
    ----------
    size : int
        Bytes of the whole file.
    names : list of str
        The arrays, as `numpy.load` calls them.

    Raises
    ------
    DamagedError
        The file is no zip archive, or two of its members have one name.
    """

    def __init__(self, file: IO[bytes]) -> None:
        with _damage("expected an .npz file"):
            self.size = file.seek(0, os.SEEK_END)
            self._zip = zipfile.ZipFile(file)
            self._infos = {info.filename: info for info in self._zip.infolist()}
        if any(not 0 <= info.header_offset < self.size for info in self._infos.values()):
            raise DamagedError("expected members within the file")
        self.names = [name.removesuffix(".npy") for name in self._infos]
        if len(self._infos) < len(self._zip.infolist()):
            raise DamagedError("expected members of different names, got one name twice")

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    def member(self, name: str) -> Member:
        """Read the header of an array."""
        if f"{name}.npy" not in self._infos:
            raise DamagedError(f"expected an array {name}, got none")
        info = self._infos[f"{name}.npy"]
        if info.flag_bits & _ENCRYPTED:
            raise DamagedError(f"{name} must not be encrypted")
        if info.compress_type not in _METHODS:
            raise DamagedError(
                f"{name} must be stored or deflated, got compression method {info.compress_type}"
            )
        return Member(self._zip, info, name)


class Member:
    """An array of an archive: what its header says, and, once asked for, its content.

    Attributes
    ----------
    name : str
        The array's name.
    shape : tuple of int
    dtype : numpy.dtype
    nbytes : int
        Bytes of the content; the archive agrees.
    """

    def __init__(self, archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str) -> None:
        self.name = name
        self._zip, self._info = archive, info
        with _damage(_UNDAMAGED.format(name)), archive.open(info) as stream:
            self._start, fields = _read_header(stream)
            # A dtype that is no text has fields, which are no numbers whatever they are called.
            self.dtype = np.dtype(fields["descr"] if type(fields["descr"]) is str else object)
            self.shape: tuple[int, ...] = fields["shape"]
            self._is_fortran = bool(fields["fortran_order"])
            # No larger than the file: their product would have too many digits for a message.
            numbers = all(type(n) is int and 0 <= n <= info.file_size for n in self.shape)
            if not numbers or type(self.shape) is not tuple:
                raise ValueError
        if self.dtype.hasobject:
            raise DamagedError(f"{name} must be an array of numbers, got dtype {fields['descr']}")
        self.nbytes = self.dtype.itemsize
        for number in self.shape:
            self.nbytes *= number
        if info.file_size != self._start + self.nbytes:
            raise DamagedError(
                f"{name} must have {self.nbytes:,} bytes for shape {self.shape} and dtype "
                f"{self.dtype}, got {info.file_size - self._start:,}"
            )

    def read(self) -> NDArray[Any]:
        """The array: a new one, as large as `nbytes` says, in the byte order of the file."""
        content = bytearray()
        with _damage(_UNDAMAGED.format(self.name)):
            with self._zip.open(self._info) as stream:
                stream.read(self._start)
                # To the end, where zipfile compares the check sum.
                while chunk := stream.read(_CHUNK):
                    content += chunk
            order: Any = "F" if self._is_fortran else "C"
            return np.ndarray(self.shape, self.dtype, content, order=order)

    def text(self, longest: int) -> str:
        """The text that an array without dimensions holds, if it has at most so many bytes."""
        if self.shape or self.dtype.kind != "U" or self.nbytes > longest:
            raise DamagedError(
                f"{self.name} must be a text of at most {longest:,} bytes, got {self.nbytes:,} "
                f"bytes of shape {self.shape} and dtype {self.dtype}"
            )
        with _damage(f"{self.name} must be a text"):  # where it holds what no character is
            return str(self.read())


def _read_header(stream: IO[bytes]) -> tuple[int, dict[str, Any]]:
    """Length of the header, and the three fields that it has."""
    start = stream.read(len(_MAGIC) + 2)
    if start[:-2] != _MAGIC:
        raise ValueError
    form = _LENGTHS[start[-2], start[-1]]
    (length,) = struct.unpack(form, stream.read(struct.calcsize(form)))
    if length > _LONGEST_HEADER:
        raise ValueError
    text = stream.read(length)
    fields = ast.literal_eval(text.decode("latin1").strip())
    if len(text) < length or len(fields) != 3:
        raise ValueError
    return len(start) + struct.calcsize(form) + length, fields
