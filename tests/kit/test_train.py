"""The data sets of images, the classifier, and its training by the command."""

import re
from pathlib import Path

import numpy as np
import pytest
from idx_files import NAMES, TYPES, idx_bytes, write_idx_folder

import cgraph as CG
from cgraph.cli.images import classifier
from cgraph.cli.training import Settings, train
from cgraph.data import DataError, Dataset, digits_dataset, idx_dataset, load_digits


def network(height=8, width=8, classes=10, dtype="float64", levels=16):
    """Returns the nodes of a classifier, and a data set that it fits."""
    images = np.arange(height * width).reshape(1, height, width) % (levels + 1)
    labels = np.array([classes - 1], np.uint8)
    few = Dataset(images.astype(np.uint8), labels, images.astype(np.uint8), labels, levels)
    return classifier(few, dtype, np.random.default_rng(0)), few


def test_the_split_divides_the_digits():
    data = digits_dataset(0)
    assert len(data.train_labels) == 1437
    assert len(data.test_labels) == 360
    assert (data.size, data.classes, data.levels) == ((8, 8), 10, 16)
    images, labels = load_digits()
    both = np.concatenate([data.train_images, data.test_images]).reshape(-1, 64)
    both = np.column_stack([both, np.concatenate([data.train_labels, data.test_labels])])
    whole = np.column_stack([images.reshape(-1, 64), labels])
    np.testing.assert_array_equal(np.unique(both, axis=0), np.unique(whole, axis=0))


def test_the_split_is_fixed_by_the_seed_for_good():
    # Saved models rely on these numbers: a change would test them on digits of their training.
    assert digits_dataset(0).test_labels[:12].tolist() == [0, 6, 3, 8, 1, 8, 4, 1, 5, 8, 9, 7]
    assert digits_dataset(7).test_labels[:12].tolist() == [2, 1, 9, 3, 9, 3, 8, 6, 0, 6, 9, 0]


def test_idx_files_are_a_dataset(tmp_path):
    data = idx_dataset(write_idx_folder(tmp_path, train=20, test=10))
    assert (len(data.train_images), len(data.test_images), data.levels) == (20, 10, 255)
    assert data.train_images.max() == 240


def test_classes_without_images_to_train_on_are_known(tmp_path):
    folder = write_idx_folder(tmp_path)
    assert idx_dataset(folder).unseen == []
    # Labels from 1, like EMNIST's letters.
    for name, count in ((NAMES[1], 80), (NAMES[3], 30)):
        (folder / name).write_bytes(idx_bytes((np.arange(count) % 26 + 1).astype(np.uint8)))
    data = idx_dataset(folder)
    assert (data.classes, data.unseen) == (27, [0])


@pytest.mark.parametrize("kind", TYPES)
def test_labels_of_every_type_are_classes(tmp_path, kind):
    folder = write_idx_folder(tmp_path)
    expected = idx_dataset(folder)
    for name, labels in ((NAMES[1], expected.train_labels), (NAMES[3], expected.test_labels)):
        (folder / name).write_bytes(idx_bytes(labels.astype(kind)))
    data = idx_dataset(folder)
    np.testing.assert_array_equal(data.train_labels, expected.train_labels, strict=True)
    np.testing.assert_array_equal(data.test_labels, expected.test_labels, strict=True)


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        (NAMES[1], np.full(80, -1, "i1"), "labels that are whole .* from 0 to 255, got -1"),
        (NAMES[3], np.full(30, 256, "i4"), "labels that are whole .* from 0 to 255, got 256"),
        (NAMES[1], np.full(80, 0.5, "f4"), "labels that are whole .* from 0 to 255, got 0.5"),
        (NAMES[1], np.full(80, np.nan), "labels that are whole .* from 0 to 255, got nan"),
        (NAMES[3], np.full(30, np.inf), "labels that are whole .* from 0 to 255, got inf"),
        (NAMES[0], np.zeros((80, 8, 8), "f4"), r"images of unsigned bytes .*, got float32"),
        (NAMES[2], np.zeros((30, 8, 8), "i2"), r"images of unsigned bytes .*, got int16"),
    ],
)
def test_numbers_that_are_no_images_and_classes_are_refused(tmp_path, name, array, message):
    (write_idx_folder(tmp_path) / name).write_bytes(idx_bytes(array))
    with pytest.raises(DataError, match=f"^{re.escape(str(tmp_path))}: expected {message}"):
        idx_dataset(tmp_path)


@pytest.mark.parametrize("size", [(1, 1), (2, 5), (9, 7), (28, 28)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_images_of_any_size_are_classified_from_grey_values(size, dtype):
    nodes, few = network(*size, classes=4, dtype=dtype)
    brighter, _ = network(*size, classes=4, dtype=dtype, levels=32)
    assert {node.dtype.name for node in CG.ancestors(nodes["loss"])} == {dtype}
    logits = CG.Graph(nodes["logits"]).predict({nodes["image"]: few.test_images})
    twice = CG.Graph(brighter["logits"]).predict({brighter["image"]: few.test_images * 2})
    assert logits.shape == (1, 4)
    np.testing.assert_allclose(logits, twice, rtol=1e-5, atol=1e-6)


SETTINGS = Settings(4, 2, "sgd", 0.01, 0, "float64", Path(), None)


def line(validation):
    """Trains a line, with the inputs of this validation."""
    x, t = CG.Leaf1(1), CG.Leaf1(1)
    graph = CG.Graph(CG.MSE(CG.Affine(x, [[0.5], [0.0]]), t))
    feed = {x: [[1.0], [2.0], [3.0]], t: [[1.0], [2.0], [3.0]]}
    labels = {"loss": "loss", "val_loss": "held-out loss", "val_mae": "mae"}
    return train(
        SETTINGS,
        graph,
        feed,
        {x: validation, t: [[1.0]]},
        metric="mae",
        labels=labels,
        rng=np.random.default_rng(0),
    )


def test_the_rate_falls_in_a_line_and_each_epoch_has_a_line(capsys):
    history, finished = line([[1.0]])
    assert finished
    np.testing.assert_allclose(history["lr"], [0.01, 0.0075, 0.005, 0.0025])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert re.fullmatch(
        r"epoch 4/4   loss \d\.\d{4}   held-out loss \d\.\d{4}   mae \d\.\d{4}   .* s", lines[3]
    )


def test_a_held_out_loss_that_is_not_finite_ends_the_training():
    with pytest.raises(FloatingPointError, match=r"held-out part is inf in epoch 1: .* than 0\.01"):
        line([[np.inf]])
