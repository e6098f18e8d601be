"""Messages of the command about labels that do not begin at 0, and the folders in which it finds data."""

import numpy as np
import pytest
from idx_files import EMNIST_NAMES, NAMES, idx_bytes, write_idx_folder

from cgraph import cli
from cgraph.training.engines import ENGINES


@pytest.fixture
def lines_of(capsys, monkeypatch):
    """Returns a function that runs the command and returns the lines of its output; speeds are not measured."""
    monkeypatch.setattr("cgraph.cli.commands.measure", lambda *_: {"graph": 2.0, "node": 1.0})

    def run(*argv):
        assert cli.main([str(arg) for arg in argv]) == 0
        return capsys.readouterr().out.splitlines()

    return run


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("first", "unseen"), [(3, "0, 1, 2"), (9, "0, 1, 2, 3, 4 and 4 more")])
def test_labels_that_do_not_begin_at_0_are_reported(lines_of, tmp_path, engine, first, unseen):
    folder = write_idx_folder(tmp_path)
    for name, count in ((NAMES[1], 80), (NAMES[3], 30)):
        labels = np.arange(count) % 7 + first
        (folder / name).write_bytes(idx_bytes(labels.astype(np.uint8)))
    options = ("--data", folder, "--output", tmp_path, "--epochs", 1, "--engine", engine)
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
