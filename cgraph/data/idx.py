"""The IDX format of the MNIST files: arrays of six types of numbers, plain or gzip.

A file is a header and the elements, row by row, the most significant byte first. The header is
two zero bytes, one byte for the element type, one for the number of dimensions, then each
dimension as a 32-bit integer.
"""

from __future__ import annotations

import gzip
import math
import os
import re
import struct
import zlib
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[Any]

_TYPES: dict[int, np.dtype[Any]] = {
    0x08: np.dtype(np.uint8),
    0x09: np.dtype(np.int8),
    0x0B: np.dtype(">i2"),
    0x0C: np.dtype(">i4"),
    0x0D: np.dtype(">f4"),
    0x0E: np.dtype(">f8"),
}
_NAME = re.compile(
    r"(?:(?:train|t10k)|(emnist-\w+-)(?:train|test))-(?:images[-.]idx3|labels[-.]idx1)-ubyte(?:\.gz)?"
)
_GZIP_MAGIC = b"\x1f\x8b"
_CHUNK = 1 << 20
_MAX_NDIM = 32  # NumPy 1's limit


class DataError(ValueError):
    """A data file is damaged, or does not fit its name or the other files of its data set."""


class IdxFolder(NamedTuple):
    """The arrays of the four files of a folder: images (n, height, width) and labels (n,)."""

    train_images: Numbers
    train_labels: Numbers
    test_images: Numbers
    test_labels: Numbers


def read_idx(path: str | os.PathLike[str], ndim: int | None = None) -> Numbers:
    """Reads one IDX file, plain or gzip (recognised by the content, not by the name).

    Parameters
    ----------
    path : str or path
        The file.
    ndim : int, optional
        Number of dimensions that the file must have: 3 for images, 1 for labels.

    Returns
    -------
    numpy.ndarray
        The array of the shape and type that the file states: uint8 (0x08), int8 (0x09), int16
        (0x0B), int32 (0x0C), float32 (0x0D) or float64 (0x0E), in this machine's byte order.

    Raises
    ------
    OSError
        The file cannot be opened.
    DataError
        The file is damaged, truncated, too long, or holds something else.
    """
    with open(path, "rb") as file:
        zipped = file.read(2) == _GZIP_MAGIC
        file.seek(0)
        # GzipFile reads like any binary file, but typeshed does not call it an IO[bytes].
        stream = cast(IO[bytes], gzip.GzipFile(fileobj=file)) if zipped else file
        try:
            return _read_stream(stream, os.fspath(path), ndim)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise DataError(f"{os.fspath(path)}: damaged gzip file ({error})") from error


def _read_stream(stream: IO[bytes], name: str, ndim: int | None) -> Numbers:
    """Reads a header, and then exactly the number of bytes that the header announces."""
    dtype, shape = _read_header(stream, name, ndim)
    expected = math.prod(shape) * dtype.itemsize
    content = _read_at_most(stream, expected + 1)
    if len(content) != expected:
        got = "more" if len(content) > expected else f"{len(content):,}"
        raise DataError(
            f"{name}: expected {expected:,} bytes of data for the shape {shape}, got {got}"
        )
    numbers = np.frombuffer(content, dtype).reshape(shape)
    return numbers.astype(dtype.newbyteorder("="), copy=False)


def _read_header(
    stream: IO[bytes], name: str, ndim: int | None
) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """Reads a header; returns the dtype in the file's byte order, and the shape."""
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0":
        raise DataError(
            f"{name}: not an IDX file: expected two zero bytes, the type and the number of "
            f"dimensions, got {magic.hex(' ') or 'an empty file'}"
        )
    if magic[2] not in _TYPES:
        known = ", ".join(f"0x{number:02x}" for number in _TYPES)
        raise DataError(f"{name}: expected one of the types {known}, got type 0x{magic[2]:02x}")
    if not 1 <= magic[3] <= _MAX_NDIM or ndim not in (None, magic[3]):
        expected = f"1 to {_MAX_NDIM}" if ndim is None else str(ndim)
        raise DataError(f"{name}: expected {expected} dimension(s), got {magic[3]}")
    sizes = stream.read(4 * magic[3])
    if len(sizes) < 4 * magic[3]:
        raise DataError(
            f"{name}: expected a header of {4 + 4 * magic[3]} bytes, got {4 + len(sizes)}"
        )
    shape = struct.unpack(f">{magic[3]}I", sizes)
    if 0 in shape:
        raise DataError(f"{name}: expected dimensions of at least 1, got {shape}")
    return _TYPES[magic[2]], shape


def _read_at_most(stream: IO[bytes], size: int) -> bytearray:
    """Reads up to `size` bytes in chunks, since a damaged header may announce more than the memory holds."""
    content = bytearray()
    while len(content) < size:
        chunk = stream.read(min(_CHUNK, size - len(content)))
        if not chunk:
            break
        content += chunk
    return content


def load_idx_folder(folder: str | os.PathLike[str]) -> IdxFolder:
    """Reads the four files of an MNIST-like data set.

    Parameters
    ----------
    folder : str or path
        Holds `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, `t10k-images-idx3-ubyte` and
        `t10k-labels-idx1-ubyte`, or the files of EMNIST, `emnist-letters-train-images-idx3-ubyte`
        and so on; a dot before `idx` and a `.gz` at the end are understood. The files may also
        lie where torchvision puts them, in `raw` or, for one data set, in `MNIST/raw` and the
        like. Of several EMNIST sets in a folder one is named as if it were a file there:
        `FOLDER/emnist-letters`.

    Returns
    -------
    IdxFolder
        The images and labels of both parts, of the types that `read_idx` gives.

    Raises
    ------
    FileNotFoundError
        The folder or one of the files does not exist.
    DataError
        A file is damaged, the files do not belong together, or there are several data sets.

    Notes
    -----
    Labels are returned as the files have them. Those of EMNIST's letters are 1 to 26, so a classifier
    that uses labels as indices, as `cgraph train` does, has 27 classes, of which the first never occurs.
    EMNIST's images are transposed: rows and columns are exchanged.
    """
    data_folder, prefix = _choose(Path(folder))
    parts = []
    for part in ("train", "test" if prefix else "t10k"):
        images_path = _find(data_folder, f"{prefix}{part}-images", 3)
        labels_path = _find(data_folder, f"{prefix}{part}-labels", 1)
        images, labels = read_idx(images_path, 3), read_idx(labels_path, 1)
        if len(labels) != len(images):
            raise DataError(
                f"{labels_path}: expected {len(images):,} labels, one for each image of "
                f"{images_path.name}, got {len(labels):,}"
            )
        parts.append((images_path, images, labels))
    (_, train_images, train_labels), (test_path, test_images, test_labels) = parts
    if test_images.shape[1:] != train_images.shape[1:]:
        raise DataError(
            f"{test_path}: expected images of {_size(train_images)} as in the training set, "
            f"got {_size(test_images)}"
        )
    return IdxFolder(train_images, train_labels, test_images, test_labels)


def _choose(folder: Path) -> tuple[Path, str]:
    """Returns the folder that holds the files, and the prefix of their names, empty but for EMNIST."""
    asked = ""
    if not folder.is_dir() and re.fullmatch(r"emnist-\w+", folder.name):
        folder, asked = folder.parent, f"{folder.name}-"
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    for candidates in ([folder], [folder / "raw"], sorted(folder.glob("*/raw"))):
        sets = [
            (candidate, prefix)
            for candidate in candidates
            for prefix in _prefixes(candidate)
            if not asked or prefix == asked
        ]
        if len(sets) > 1:
            names = ", ".join(str(found / prefix.rstrip("-")) for found, prefix in sets)
            raise DataError(
                f"{folder}: expected one data set, got {len(sets)}: name one of {names}"
            )
        if sets:
            return sets[0]
    return folder, asked


def _prefixes(folder: Path) -> list[str]:
    """Returns the prefix of each data set in a folder: empty for MNIST's names, else that of each EMNIST set."""
    if not folder.is_dir():
        return []
    matches = [_NAME.fullmatch(name) for name in os.listdir(folder)]
    prefixes = {match[1] or "" for match in matches if match}
    return [""] if "" in prefixes else sorted(prefixes)


def _find(folder: Path, stem: str, ndim: int) -> Path:
    """Returns the first file that exists among the usual names with this stem."""
    names = [
        f"{stem}{separator}idx{ndim}-ubyte{ending}" for separator in "-." for ending in ("", ".gz")
    ]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise FileNotFoundError(f"{folder}: expected one of the files {', '.join(names)}; found none")


def _size(images: Numbers) -> str:
    return f"{images.shape[1]} x {images.shape[2]}"
