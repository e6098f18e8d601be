"""The digits that come with the package, readers for other data, and datasets to train on.

`load_digits` reads the file of the package; `read_idx` and `load_idx_folder` read MNIST's format.
"""

from cgraph.data.datasets import Dataset, digits_dataset, idx_dataset
from cgraph.data.digits import Digits, load_digits
from cgraph.data.idx import DataError, IdxFolder, load_idx_folder, read_idx

__all__ = [
    "DataError",
    "Dataset",
    "Digits",
    "IdxFolder",
    "digits_dataset",
    "idx_dataset",
    "load_digits",
    "load_idx_folder",
    "read_idx",
]
