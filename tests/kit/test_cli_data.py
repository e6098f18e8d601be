"""Messages of the command about labels that do not begin at 0, the folders in which it finds data, and the model file,
which it opens once.
"""

import os

import numpy as np
import pytest
from idx_files import EMNIST_NAMES, NAMES, idx_bytes, write_idx_folder
from model_files import in_threads, save

from cgraph import cli, data


@pytest.fixture
def lines_of(capsys):
    """Returns a function that runs the command and returns the lines of its output."""

    def run(*argv):
        assert cli.main([str(arg) for arg in argv]) == 0
        return capsys.readouterr().out.splitlines()

    return run


@pytest.mark.parametrize(("first", "unseen"), [(3, "0, 1, 2"), (9, "0, 1, 2, 3, 4 and 4 more")])
def test_labels_that_do_not_begin_at_0_are_reported(lines_of, tmp_path, first, unseen):
    folder = write_idx_folder(tmp_path)
    for name, count in ((NAMES[1], 80), (NAMES[3], 30)):
        labels = np.arange(count) % 7 + first
        (folder / name).write_bytes(idx_bytes(labels.astype(np.uint8)))
    options = ("--data", folder, "--output", tmp_path, "--epochs", 1)
    lines = lines_of("train", "digits", *options)
    classes = f"{first + 7} classes"
    assert lines[1] == (
        f"labels from {first} to {first + 6}: {classes}, and no image to train on of {unseen}"
    )
    assert classes in lines[2]
    assert "test accuracy" in lines_of("predict", tmp_path / "model.npz")[-1]


def test_one_set_of_emnist_is_trained_on_and_found_again(lines_of, tmp_path):
    write_idx_folder(tmp_path / "raw", names=EMNIST_NAMES)
    source = tmp_path / "emnist-letters"
    options = ("--data", source, "--output", tmp_path, "--epochs", 1)
    assert lines_of("train", "digits", *options)[0].startswith(f"{source}: 80 images to train on")
    assert "test accuracy" in lines_of("predict", tmp_path / "model.npz")[-1]


@pytest.fixture
def trained(lines_of, tmp_path):
    """Returns the model file of a short training, and the last line of a prediction with it."""
    folder = write_idx_folder(tmp_path / "idx")
    lines_of("train", "digits", "--data", folder, "--output", tmp_path, "--epochs", 1)
    return tmp_path / "model.npz", lines_of("predict", tmp_path / "model.npz")[-1]


def test_predict_takes_metadata_and_parameters_from_one_file(trained, lines_of, monkeypatch):
    path, accuracy = trained

    def dataset_while_the_file_is_replaced(folder):
        save(path, 1)  # the parameters of another graph
        return data.idx_dataset(folder)

    monkeypatch.setattr("cgraph.cli.images.idx_dataset", dataset_while_the_file_is_replaced)
    assert lines_of("predict", path)[-1] == accuracy


@pytest.mark.skipif(os.name != "posix", reason="pipes of POSIX")
def test_predict_reads_a_pipe(trained, lines_of, tmp_path):
    path, accuracy = trained
    pipe, found = tmp_path / "pipe", []
    os.mkfifo(pipe)
    in_threads(
        lambda: pipe.write_bytes(path.read_bytes()),
        lambda: found.extend(lines_of("predict", pipe)),
    )
    assert found[-1] == accuracy
