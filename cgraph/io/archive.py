"""A reader of `.npz` files from untrusted sources: no pickle, and only the requested arrays are unpacked.

The header of each member states the array's shape and dtype. The caller compares them with those
that it expects before the content is read, so a small file cannot make it allocate much memory.
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

# The exceptions of zipfile, zlib, ast and NumPy on damaged bytes. Not Exception, since a signal
# handler may raise an exception of another kind meanwhile. RuntimeError covers RecursionError and
# NotImplementedError, ValueError covers UnicodeDecodeError and io.UnsupportedOperation.
_DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, EOFError, struct.error, ValueError, TypeError, LookupError),
    *(AttributeError, OverflowError, MemoryError, RuntimeError, SyntaxError),
)
_MAGIC = b"\x93NUMPY"
# The length field by version. NumPy writes version 3 only for field names that are not Latin-1.
_LENGTHS = {(1, 0): "<H", (2, 0): "<I"}
_LONGEST_HEADER = 10_000  # NumPy's own limit
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # the methods that NumPy writes
_ENCRYPTED = 1
_UNDAMAGED = "{} must be an undamaged array in NumPy's format"
_CHUNK = 1 << 20


class DamagedError(ValueError):
    """A file is not an undamaged `.npz`; the message gives the reason, without the name of the file."""


@contextmanager
def _damage(message: str) -> Iterator[None]:
    """Turns the exceptions of the libraries on damaged bytes into a DamagedError."""
    try:
        yield
    except DamagedError:
        raise
    except _DAMAGE as error:
        raise DamagedError(f"{message} ({type(error).__name__})") from error


class Archive:
    """The members of an `.npz` file: arrays whose headers are read first, and their content on request.

    Parameters
    ----------
    file : binary file
        The file, open for reading, in which one can seek. The archive lies from its position to its end, where the
        position is afterwards. Closing the file is left to the caller.

    Attributes
    ----------
    size : int
        Size of the archive in bytes.
    names : list of str
        The names of the arrays, as in `numpy.load`.

    Raises
    ------
    DamagedError
        The file is not a zip archive, or two of its members have one name.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        with _damage("expected an .npz file"):
            start, end = file.tell(), file.seek(0, os.SEEK_END)
            self.size = max(end - start, 0)
            if not self.size:
                raise DamagedError(f"expected an .npz file, got no bytes after position {start:,}")
            self._zip = zipfile.ZipFile(file)
            self._infos = {info.filename: info for info in self._zip.infolist()}
        if any(not start <= info.header_offset < end for info in self._infos.values()):
            raise DamagedError("expected members within the file")
        self.names = [name.removesuffix(".npy") for name in self._infos]
        if len(self._infos) < len(self._zip.infolist()):
            raise DamagedError("expected members of different names, got one name twice")

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()
        self._file.seek(0, os.SEEK_END)

    def require_stored(self) -> None:
        """Refuses compressed and overlapping members; what is left takes no more memory than the file has bytes."""
        for name, info in zip(self.names, self._infos.values(), strict=True):
            if info.compress_type != zipfile.ZIP_STORED:
                raise DamagedError(
                    f"{name} must be stored, got compression method {info.compress_type}"
                )
        total = sum([info.file_size for info in self._infos.values()])
        if total > self.size:
            raise DamagedError(f"members must have at most {self.size:,} bytes, got {total:,}")

    def member(self, name: str) -> Member:
        """Reads the header of an array, and returns the array's Member."""
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
    """An array of an archive: its name, shape and dtype; `read` returns its content.

    Attributes
    ----------
    name : str
        The array's name.
    shape : tuple of int
    dtype : numpy.dtype
    nbytes : int
        Size of the content in bytes, which agrees with the archive's directory.
    """

    def __init__(self, archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str) -> None:
        self.name = name
        self._zip, self._info = archive, info
        with _damage(_UNDAMAGED.format(name)), archive.open(info) as stream:
            self._start, fields = _read_header(stream)
            # A description that is not a str is that of a structured dtype, which is refused like objects.
            self.dtype = np.dtype(fields["descr"] if type(fields["descr"]) is str else object)
            self.shape: tuple[int, ...] = fields["shape"]
            self._is_fortran = bool(fields["fortran_order"])
            # Bounded by the file's size: the product of larger numbers could have too many digits for a message.
            numbers = all(type(n) is int and 0 <= n <= info.file_size for n in self.shape)
            if not numbers or type(self.shape) is not tuple:
                raise ValueError
        # Times have no buffer of bytes.
        if self.dtype.hasobject or self.dtype.kind in "mM":
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
        """Returns the content as a new array of `nbytes` bytes, in the byte order of the file."""
        content = bytearray()
        with _damage(_UNDAMAGED.format(self.name)):
            with self._zip.open(self._info) as stream:
                stream.read(self._start)
                # To the end of the member, where zipfile compares the checksum.
                while chunk := stream.read(_CHUNK):
                    content += chunk
            order: Any = "F" if self._is_fortran else "C"
            return np.ndarray(self.shape, self.dtype, content, order=order)

    def text(self, longest: int) -> str:
        """Returns the text of an array without dimensions, if it has at most `longest` bytes."""
        if self.shape or self.dtype.kind != "U" or self.nbytes > longest:
            raise DamagedError(
                f"{self.name} must be a text of at most {longest:,} bytes, got {self.nbytes:,} "
                f"bytes of shape {self.shape} and dtype {self.dtype}"
            )
        # NumPy raises for numbers that are not code points.
        with _damage(f"{self.name} must be a text"):
            return str(self.read())


def _read_header(stream: IO[bytes]) -> tuple[int, dict[str, Any]]:
    """Returns the length of the header of an array in NumPy's format, and its three fields."""
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
