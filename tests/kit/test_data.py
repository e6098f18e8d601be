"""The digits that come with the package, and the reader of IDX files."""

import gzip
import hashlib
import re

import numpy as np
import pytest
from idx_files import EMNIST_NAMES, NAMES, TYPES, idx_bytes, write_idx_folder

from cgraph.data import DataError, load_digits, load_idx_folder, read_idx

IMAGES = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
GOOD = idx_bytes(IMAGES)
ZIPPED = gzip.compress(GOOD, mtime=0)


def test_the_digits_are_those_of_uci_in_scikit_learns_order():
    images, labels = load_digits()
    assert images.shape == (1797, 8, 8)
    assert images.dtype == labels.dtype == np.uint8
    assert images.max() == 16
    assert np.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    digest = hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()
    assert digest == "87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826"


def test_the_digits_equal_scikit_learns():
    datasets = pytest.importorskip("sklearn.datasets")
    expected = datasets.load_digits()
    images, labels = load_digits()
    np.testing.assert_array_equal(images, expected.images)
    np.testing.assert_array_equal(labels, expected.target)


def test_each_call_gives_arrays_of_its_own():
    load_digits().images[:] = 0
    assert load_digits().images.any()


@pytest.mark.parametrize("content", [GOOD, ZIPPED], ids=["plain", "gzip"])
def test_idx_round_trip(tmp_path, content):
    path = tmp_path / "any-name"
    path.write_bytes(content)
    array = read_idx(path)
    assert array.dtype == np.uint8
    np.testing.assert_array_equal(array, IMAGES)


@pytest.mark.parametrize("kind", TYPES)
def test_each_of_the_six_types_of_numbers_is_read(tmp_path, kind):
    dtype, path = np.dtype(kind), tmp_path / "numbers"
    if dtype.kind == "f":
        expected = np.array([[0, -0.5, 1 / 3], [np.finfo(dtype).max, np.inf, np.nan]], dtype)
    else:
        limits = np.iinfo(dtype)
        expected = np.array([[0, 1, 2], [limits.min, limits.max, 100]], dtype)
    for compress in (bytes, gzip.compress):
        path.write_bytes(compress(idx_bytes(expected)))
        np.testing.assert_array_equal(read_idx(path, 2), expected, strict=True)
        assert read_idx(path).dtype.isnative


def test_the_most_significant_byte_comes_first(tmp_path):
    (tmp_path / "numbers").write_bytes(bytes([0, 0, 0x0B, 1, 0, 0, 0, 2, 1, 2, 0xFF, 0xFE]))
    assert read_idx(tmp_path / "numbers").tolist() == [258, -2]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an IDX file: .*, got an empty file"),
        (b"\x00\x00\x08", "not an IDX file: .*, got 00 00 08"),
        (b"\x89PNG" + GOOD, "not an IDX file: .*, got 89 50 4e 47"),
        (b"\x00\x00\x0a\x03" + GOOD[4:], "expected one of the types 0x08, .*, 0x0e, got type 0x0a"),
        (b"\x00\x00\x0d\x03" + GOOD[4:], r"expected 96 bytes of data for .*, got 24"),
        (idx_bytes(IMAGES[0]), "expected 3 dimension.*, got 2"),
        (GOOD[:9], "expected a header of 16 bytes, got 9"),
        (idx_bytes(IMAGES[:0]), r"dimensions of at least 1, got \(0, 3, 4\)"),
        (GOOD[:-5], r"expected 24 bytes of data for the shape \(2, 3, 4\), got 19"),
        (GOOD + b"x", r"expected 24 bytes of data for the shape \(2, 3, 4\), got more"),
        (b"\x00\x00\x08\x03" + 12 * b"\xff", r"\(4294967295, 4294967295, 4294967295\), got 0"),
        (ZIPPED[:-9], "damaged gzip file"),
        (ZIPPED[:-8] + 8 * b"\0", "damaged gzip file"),
        (ZIPPED[:10] + 30 * b"\xff", "damaged gzip file"),
        (b"\x1f\x8b\x00", "damaged gzip file"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_damaged_idx_files_are_named_and_described(tmp_path, content, message):
    path = tmp_path / "images"
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"^{re.escape(str(path))}: .*{message}"):
        read_idx(path, 3)


@pytest.mark.parametrize("ndim", [0, 33, 255])
def test_a_number_of_dimensions_that_numpy_cannot_hold_is_refused(tmp_path, ndim):
    path = tmp_path / "images"
    path.write_bytes(bytes([0, 0, 8, ndim]) + 255 * b"\0\0\0\1" + b"x")
    with pytest.raises(DataError, match=f"expected 1 to 32 dimension.*, got {ndim}"):
        read_idx(path)


def test_damage_anywhere_gives_an_array_or_a_data_error(tmp_path):
    path = tmp_path / "images"
    rng = np.random.default_rng(1)
    for content in (GOOD, ZIPPED):
        for place in range(len(content)):
            damaged = bytearray(content)
            damaged[place] ^= rng.integers(1, 256)
            path.write_bytes(damaged)
            try:
                array = read_idx(path)
            except DataError:
                continue
            assert array.size == IMAGES.size


@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize("separator", ["-", "."])
def test_the_usual_names_of_mnist_files_are_found(tmp_path, separator, ending):
    names = [name.replace("-idx", f"{separator}idx") + ending for name in NAMES]
    data = load_idx_folder(write_idx_folder(tmp_path, train=6, test=3, names=names))
    images, labels = load_digits()
    np.testing.assert_array_equal(data.train_images, images[:6] * 15)
    np.testing.assert_array_equal(data.train_labels, labels[:6])
    np.testing.assert_array_equal(data.test_images, images[6:9] * 15)
    np.testing.assert_array_equal(data.test_labels, labels[6:9])


@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize("place", ["", "raw", "EMNIST/raw"])
@pytest.mark.parametrize("names", [NAMES, EMNIST_NAMES], ids=["MNIST", "EMNIST"])
def test_emnists_names_and_torchvisions_folders_are_found(tmp_path, names, place, ending):
    write_idx_folder(tmp_path / place, train=6, test=3, names=[name + ending for name in names])
    (tmp_path / place / "emnist-letters-mapping.txt").touch()
    data = load_idx_folder(tmp_path)
    np.testing.assert_array_equal(data.train_labels, load_digits().labels[:6])
    np.testing.assert_array_equal(data.test_labels, load_digits().labels[6:9])


@pytest.mark.parametrize("place", ["", "raw", "EMNIST/raw"])
def test_one_of_several_sets_of_emnist_is_named(tmp_path, place):
    write_idx_folder(tmp_path / place, train=6, names=EMNIST_NAMES)
    digits = [name.replace("letters", "digits") for name in EMNIST_NAMES]
    write_idx_folder(tmp_path / place, train=7, names=digits)
    assert len(load_idx_folder(tmp_path / "emnist-letters").train_labels) == 6
    assert len(load_idx_folder(tmp_path / place / "emnist-digits").train_labels) == 7
    with pytest.raises(DataError, match=r"expected one data set, got 2: .*digits, .*letters"):
        load_idx_folder(tmp_path)
    with pytest.raises(FileNotFoundError, match="one of the files emnist-mnist-train-images-idx3"):
        load_idx_folder(tmp_path / "emnist-mnist")


def test_of_several_data_sets_of_torchvision_one_is_named(tmp_path):
    for name in ("FashionMNIST", "MNIST"):
        write_idx_folder(tmp_path / name / "raw", train=len(name))
    with pytest.raises(DataError, match=r"expected one data set, got 2: .*FashionMNIST"):
        load_idx_folder(tmp_path)
    assert len(load_idx_folder(tmp_path / "MNIST").train_labels) == 5


def test_mnist_beside_emnist_is_mnist(tmp_path):
    write_idx_folder(tmp_path, train=6, names=EMNIST_NAMES)
    write_idx_folder(tmp_path, train=7)
    assert len(load_idx_folder(tmp_path).train_labels) == 7
    assert len(load_idx_folder(tmp_path / "emnist-letters").train_labels) == 6


@pytest.mark.parametrize("name", EMNIST_NAMES)
def test_a_missing_file_of_emnist_is_named(tmp_path, name):
    (write_idx_folder(tmp_path, names=EMNIST_NAMES) / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"{re.escape(str(tmp_path))}: .*{name}"):
        load_idx_folder(tmp_path)


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_file_is_named(tmp_path, name):
    (write_idx_folder(tmp_path) / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"{re.escape(str(tmp_path))}: .*{name}"):
        load_idx_folder(tmp_path)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere: no such folder"):
        load_idx_folder(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        (NAMES[1], np.zeros(79, np.uint8), "expected 80 labels, .*train-images.*, got 79"),
        (NAMES[3], np.zeros(31, np.uint8), "expected 30 labels, .*t10k-images.*, got 31"),
        (NAMES[2], np.zeros((30, 8, 9), np.uint8), "expected images of 8 x 8 .*, got 8 x 9"),
        (NAMES[0], np.zeros(80, np.uint8), "expected 3 dimension.*, got 1"),
        (NAMES[1], np.zeros((80, 8, 8), np.uint8), "expected 1 dimension.*, got 3"),
    ],
)
def test_files_that_do_not_belong_together_are_refused(tmp_path, name, array, message):
    (write_idx_folder(tmp_path) / name).write_bytes(idx_bytes(array))
    with pytest.raises(DataError, match=f"{name}: {message}"):
        load_idx_folder(tmp_path)
