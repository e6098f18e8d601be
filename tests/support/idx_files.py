"""IDX files for the tests: MNIST's format, made of the digits that come with the package."""

import gzip
import struct

from cgraph.data import load_digits

NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


EMNIST_NAMES = tuple(f"emnist-letters-{name}".replace("t10k", "test") for name in NAMES)
TYPES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def idx_bytes(array):
    """Returns the content of a file that holds an array of one of the format's six types."""
    kind = TYPES[array.dtype.str[1:]]
    header = struct.pack(f">HBB{array.ndim}I", 0, kind, array.ndim, *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


def write_idx_folder(folder, *, train=80, test=30, names=NAMES):
    """A small data set of digits; names that end in .gz are compressed."""
    images, labels = load_digits()
    images = images * 15  # 0 to 240, as bytes of a picture
    folder.mkdir(parents=True, exist_ok=True)
    last = slice(train, train + test)
    for name, array in zip(
        names, (images[:train], labels[:train], images[last], labels[last]), strict=True
    ):
        content = idx_bytes(array)
        (folder / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return folder
