"""The IDX format of the MNIST files: unsigned bytes, plain or gzip.

A file is a header and the elements, row by row. The header is two zero bytes, one byte for the
element type (8: unsigned byte), one for the number of dimensions, then each dimension as a
big-endian 32-bit integer.
"""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from pathlib import Path
from typing import IO, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]

_UNSIGNED_BYTE = 8
_GZIP_MAGIC = b"\x1f\x8b"
_CHUNK = 1 << 20
_MAX_NDIM = 32  # NumPy 1's limit


class DataError(ValueError):
    """A data file is damaged, or is not what its name or its neighbours say."""


class IdxFolder(NamedTuple):
    """What the four files of a folder hold: images (n, height, width) and labels (n,)."""

    train_images: Bytes
    train_labels: Bytes
    test_images: Bytes
    test_labels: Bytes


def read_idx(path: str | os.PathLike[str], ndim: int | None = None) -> Bytes:
    """Read one IDX file of unsigned bytes, plain or gzip (told by the content, not the name).

    Parameters
    ----------
    path : str or path
        The file.
    ndim : int, optional
        Number of dimensions that the file must have: 3 for images, 1 for labels.

    Returns
    -------
    numpy.ndarray
        Unsigned bytes in the dimensions that the file states.

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


def _read_stream(stream: IO[bytes], name: str, ndim: int | None) -> Bytes:
    """Header, then exactly as many bytes as it announces."""
    shape = _read_shape(stream, name, ndim)
    expected = math.prod(shape)
    content = _read_at_most(stream, expected + 1)
    if len(content) != expected:
        came = "more" if len(content) > expected else f"{len(content):,}"
        raise DataError(
            f"{name}: expected {expected:,} bytes of data for the shape {shape}, got {came}"
        )
    return np.frombuffer(content, dtype=np.uint8).reshape(shape)


def _read_shape(stream: IO[bytes], name: str, ndim: int | None) -> tuple[int, ...]:
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0":
        raise DataError(
            f"{name}: not an IDX file: expected two zero bytes, the type and the number of "
            f"dimensions, got {magic.hex(' ') or 'an empty file'}"
        )
    if magic[2] != _UNSIGNED_BYTE:
        raise DataError(f"{name}: expected unsigned bytes (type 0x08), got type 0x{magic[2]:02x}")
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
    return shape


def _read_at_most(stream: IO[bytes], size: int) -> bytearray:
    """Read in chunks: a damaged header may announce more bytes than there is memory."""
    content = bytearray()
    while len(content) < size:
        chunk = stream.read(min(_CHUNK, size - len(content)))
        if not chunk:
            break
        content += chunk
    return content


def load_idx_folder(folder: str | os.PathLike[str]) -> IdxFolder:
    """Read the four files of an MNIST-like data set.

    Parameters
    ----------
    folder : str or path
        Holds `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, `t10k-images-idx3-ubyte` and
        `t10k-labels-idx1-ubyte`; a dot before `idx` and a `.gz` at the end are understood.

    Returns
    -------
    IdxFolder
        The images and labels of both parts.

    Raises
    ------
    FileNotFoundError
        The folder or one of the files is not there.
    DataError
        A file is damaged, or the files do not belong together.
    """
    if not Path(folder).is_dir():
        raise FileNotFoundError(f"{os.fspath(folder)}: no such folder")
    parts = []
    for part in ("train", "t10k"):
        images_path = _find(Path(folder), f"{part}-images", 3)
        labels_path = _find(Path(folder), f"{part}-labels", 1)
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


def _find(folder: Path, stem: str, ndim: int) -> Path:
    """The first of the usual names that exists."""
    names = [
        f"{stem}{separator}idx{ndim}-ubyte{ending}" for separator in "-." for ending in ("", ".gz")
    ]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise FileNotFoundError(f"{folder}: expected one of the files {', '.join(names)}; found none")


def _size(images: Bytes) -> str:
    return f"{images.shape[1]} x {images.shape[2]}"
