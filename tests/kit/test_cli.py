"""The command line: its output, its files and its errors."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import redirect_stdout
from io import StringIO

import numpy as np
import pytest
from idx_files import NAMES, write_idx_folder

import cgraph as CG
from cgraph import cli, data
from cgraph.cli.images import classifier
from cgraph.fitting import samples
from cgraph.io import read_metadata

pytestmark = pytest.mark.thread_unsafe(reason="starts processes, changes the working directory")


@pytest.fixture
def idx(tmp_path):
    return write_idx_folder(tmp_path / "idx")


@pytest.fixture
def cgraph(capsys):
    """Runs a command line; returns exit code, stdout and stderr."""

    def run(*argv):
        try:
            code = cli.main([str(argument) for argument in argv])
        except SystemExit as stop:
            code = stop.code
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def no_extras(monkeypatch):
    """An interpreter without tqdm and matplotlib."""
    for name in ("tqdm", "matplotlib", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, name, None)


@pytest.fixture(scope="module")
def trained_once(tmp_path_factory):
    """Returns a folder with data, and with the files of two epochs of training on them."""
    folder = tmp_path_factory.mktemp("trained")
    data = write_idx_folder(folder / "idx")
    options = ("--data", data, "--epochs", 2, "--output", folder)
    with redirect_stdout(StringIO()) as out:
        assert cli.main(["train", "digits", *map(str, options)]) == 0
    return folder, out.getvalue()


@pytest.fixture
def trained(trained_once, tmp_path):
    """Returns a copy of a trained model's file."""
    return shutil.copy(trained_once[0] / "model.npz", tmp_path / "trained.npz")


def stop_after(monkeypatch, calls):
    """Raises KeyboardInterrupt in the middle of an epoch, whose 80 images are five calls of the graph."""
    left, train = iter(range(calls)), CG.Graph.train

    def interrupted(self, *arguments, **options):
        if next(left, None) is None:
            raise KeyboardInterrupt
        return train(self, *arguments, **options)

    monkeypatch.setattr(CG.Graph, "train", interrupted)
    monkeypatch.setattr(samples, "_CHUNK_SAMPLES", 16)


def test_train_writes_the_model_and_ends_with_the_accuracy(cgraph, idx, tmp_path, no_extras):
    output = tmp_path / "new" / "folder"
    code, out, err = cgraph(
        "train", "digits", "--data", idx, "--epochs", 2, "--batch", 10, "--seed", 5,
        "--lr", 0.01, "--dtype", "float64", "--output", output,
    )  # fmt: skip
    lines = out.splitlines()
    assert code == 0
    assert lines[0] == f"{idx}: 80 images to train on, 30 held out"
    assert lines[1] == "8 x 8 pixels, 10 classes, 3,706 parameters, float64"
    assert [line.split()[:2] for line in lines[2:4]] == [["epoch", "1/2"], ["epoch", "2/2"]]
    assert lines[4] == f"model: {output / 'model.npz'}"
    accuracy = lines[3].split("test accuracy")[1].split("%")[0].strip()
    assert lines[5:] == [f"test accuracy: {accuracy} %"]
    assert err.splitlines() == [
        'tqdm is not installed: plain lines; pip install ".[demo]"',
        'matplotlib is not installed: no loss curve; pip install ".[demo]"',
    ]
    assert os.listdir(output) == ["model.npz"]
    assert read_metadata(output / "model.npz") == {
        "task": "images", "seed": 5, "data": str(idx), "levels": 255,
    }  # fmt: skip


def test_train_without_data_takes_the_digits_of_the_package(
    cgraph, tmp_path, monkeypatch, no_extras
):
    whole = data.digits_dataset(3)
    few = data.Dataset(
        whole.train_images[:40], whole.train_labels[:40], whole.test_images, whole.test_labels, 16
    )
    monkeypatch.setattr("cgraph.cli.images.digits_dataset", lambda seed: {3: few}[seed])
    monkeypatch.chdir(tmp_path)
    code, out, _ = cgraph("train", "digits", "--epochs", "1", "--seed", "3")
    assert (code, out.splitlines()[0]) == (0, "digits: 40 images to train on, 360 held out")
    code, out, _ = cgraph("predict", "model.npz", "--show", "0")
    assert code == 0
    assert out.startswith("model.npz: 8 x 8 pixels, 10 classes, 3,706 parameters, float32\n")


def test_the_loss_curve_is_a_png(trained_once):
    pytest.importorskip("matplotlib")
    folder, out = trained_once
    assert f"loss curve: {folder / 'loss.png'}\n" in out
    assert (folder / "loss.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], (CG.Adam, 0.005, "float32")),
        (["--optimizer", "sgd"], (CG.SGD, 0.1, "float32")),
        (["--optimizer", "adamw", "--dtype", "float64"], (CG.AdamW, 0.005, "float64")),
        (["--optimizer", "rmsprop", "--learning-rate", "0.5"], (CG.RMSprop, 0.5, "float32")),
    ],
)
def test_the_options_reach_the_training(cgraph, idx, tmp_path, monkeypatch, options, expected):
    class SpyError(CG.ModelFileError):
        pass

    def spy(graph, feed, optimizer, *, epochs, batch, **_):
        assert (epochs, batch, len(next(iter(feed.values())))) == (3, 7, 80)
        assert optimizer.lr(3 * 12) == 0  # after the last of 12 updates an epoch
        assert (type(optimizer), optimizer.lr(0), graph.leaves[0].dtype.name) == expected
        raise SpyError("the spy has seen all")

    monkeypatch.setattr("cgraph.cli.training.fit", spy)
    always = ["--data", idx, "--output", tmp_path, "--epochs", 3, "--batch", 7]
    assert cgraph("train", "digits", *always, *options)[2].endswith("the spy has seen all\n")


def test_the_same_options_give_the_same_file(cgraph, idx, tmp_path, no_extras):
    files = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        output = tmp_path / name
        options = ("--data", idx, "--epochs", 1, "--output", output, "--seed", seed)
        assert cgraph("train", "digits", *options)[0] == 0
        files.append((output / "model.npz").read_bytes())
    assert files[0] == files[1] != files[2]


def test_ctrl_c_keeps_what_has_been_trained(cgraph, idx, tmp_path, monkeypatch, no_extras):
    stop_after(monkeypatch, 7)
    code, out, _ = cgraph("train", "digits", "--data", idx, "--output", tmp_path, "--epochs", 4)
    assert code == 130
    assert "stopped by Ctrl-C: 1 of 4 epochs done" in out
    assert f"model: {tmp_path / 'model.npz'}" in out
    assert out.splitlines()[-1].startswith("test accuracy after epoch 1: ")
    assert cgraph("predict", tmp_path / "model.npz")[0] == 0


def test_ctrl_c_saves_the_steps_of_the_epoch_that_it_ended(cgraph, idx, tmp_path, monkeypatch):
    contents = []
    for steps in (1, 2):
        with monkeypatch.context() as patch:
            stop_after(patch, steps)
            code, out, _ = cgraph("train", "digits", "--data", idx, "--output", tmp_path)
        assert code == 130
        assert "stopped by Ctrl-C: 0 of 20 epochs done" in out
        assert "accuracy" not in out
        assert sorted(os.listdir(tmp_path)) == ["idx", "model.npz"]
        contents.append((tmp_path / "model.npz").read_bytes())
    assert contents[0] != contents[1]


def test_a_checkpoint_goes_on_to_the_same_model(cgraph, idx, tmp_path, monkeypatch, no_extras):
    command = ("train", "digits", "--data", idx, "--epochs", 3, "--output", tmp_path)
    cgraph(*command)
    undisturbed = (tmp_path / "model.npz").read_bytes()
    command += ("--checkpoint", tmp_path / "state.npz")
    with monkeypatch.context() as patch:
        stop_after(patch, 13)
        assert cgraph(*command)[0] == 130
    assert (tmp_path / "model.npz").read_bytes() != undisturbed
    code, out, _ = cgraph(*command)
    assert (code, out.count("goes on after epoch 2"), out.count("epoch 3/3")) == (0, 1, 1)
    assert (tmp_path / "model.npz").read_bytes() == undisturbed
    code, _, err = cgraph(*command, "--batch", 5)
    assert (code, err.count("checkpoint of another run, with batch 16, got 5")) == (2, 1)


def test_ctrl_c_elsewhere_ends_without_a_traceback(cgraph, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("cgraph.cli.arguments.load", interrupted)
    assert cgraph("predict", "model.npz") == (130, "", "interrupted\n")


def test_predict_shows_digits_and_the_accuracy_of_the_training(cgraph, trained, trained_once):
    code, out, err = cgraph("predict", trained, "--show", 3)
    assert (code, err) == (0, "")
    before, _, after = out.partition("mistakes:")
    assert before.count("%%") > 10
    pairs = re.findall(r"(\d), but is (\d)", after)
    assert len(pairs) == 3
    assert all(predicted != label for predicted, label in pairs)
    wrong = int(after.split(" of 30 are wrong")[0].split()[-1])
    last = out.splitlines()[-1]
    assert last == f"test accuracy: {100 * (30 - wrong) / 30:.1f} %"
    assert last == trained_once[1].splitlines()[-1]


def test_predict_takes_other_data(cgraph, trained, tmp_path):
    names = [f"{name}.gz" for name in NAMES]
    other = write_idx_folder(tmp_path / "other", test=12, names=names)
    code, out, _ = cgraph("predict", trained, "--data", other, "--show", 0)
    assert code == 0
    assert " of 12 are wrong\n" in out
    assert "mistakes" not in out


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "the following arguments are required: {train,predict,info} (see cgraph --help)"),
        (["fly"], "invalid choice: 'fly'"),
        (["train"], "the following arguments are required: digits | table.csv (see cgraph train"),
        (["train", "cats"], "cats: a table needs --target COLUMN; the images are called digits"),
        (["train", "digits", "--epochs", "0"], "expected a whole number of at least 1, got '0'"),
        (["train", "digits", "--batch", "1.5"], "expected a whole number of at least 1"),
        (["train", "digits", "--lr", "0"], "argument --lr/--learning-rate: expected a number"),
        (["train", "digits", "--lr", "nan"], "expected a number above 0, got 'nan'"),
        (["train", "digits", "--learning-rate", "inf"], "expected a number above 0, got 'inf'"),
        (["train", "digits", "--seed", "-1"], "expected a whole number of at least 0, got '-1'"),
        (["train", "digits", "--dtype", "int8"], "invalid choice: 'int8'"),
        (["train", "digits", "--optimizer", "steam"], "invalid choice: 'steam'"),
        (["train", "digits", "--data", "nowhere"], "nowhere: no such folder"),
        (["train", "digits", "--output", "file"], "file: "),
        (["train", "digits", "--wings", "2"], "unrecognized arguments: --wings 2"),
        (["predict"], "the following arguments are required: model.npz"),
        (["predict", "absent.npz"], "absent.npz: "),
        (["predict", "file"], "file: not a cgraph parameter file, or damaged"),
        (["predict", "."], ".: "),
    ],
)
def test_errors_of_the_user_are_one_line(cgraph, tmp_path, monkeypatch, argv, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("no model")
    code, out, err = cgraph(*argv)
    assert (code, out) == (2, "")
    assert err.startswith("cgraph: error: ")
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("changes", "missing", "message"),
    [
        ({"task": None}, None, "holds a graph, but not a model of cgraph train"),
        ({"seed": None}, None, "metadata that describe no model of cgraph train"),
        ({"data": 3}, None, "metadata that describe no model of cgraph train"),
        ({"levels": 0}, None, "metadata that describe no model of cgraph train"),
        ({}, "image", "expected nodes of a model of cgraph train"),
        ({}, "swapped", "expected nodes of a model of cgraph train ("),
        ({"data": "digits"}, None, "the model expects images of 9 x 8, got 8 x 8"),
        ({}, None, "the model knows 3 classes, got labels up to 9"),
        (
            {"data": "/no/such"},
            None,
            "was trained on /no/such, which is not there: say --data FOLDER",
        ),
    ],
)
def test_files_of_other_models_are_refused(cgraph, idx, tmp_path, changes, missing, message):
    known = data.idx_dataset(idx)
    width, classes = (9 if "9 x 8" in message else 8), (3 if "3 classes" in message else 10)
    images, labels = known.train_images, known.train_labels % classes
    images = np.resize(images, (80, width, 8))
    few = data.Dataset(images, labels, images, labels, 255)
    nodes = classifier(few, "float32", np.random.default_rng(0))
    if missing == "image":
        del nodes[missing]
    elif missing == "swapped":
        nodes["logits"] = nodes["loss"]
        few = None
    metadata = {"task": "images", "data": str(idx), "seed": 0, "levels": 255, **changes}
    CG.save(tmp_path / "other.npz", nodes, metadata=metadata)
    if missing == "swapped":
        message = "the model knows 1 classes"
    code, out, err = cgraph("predict", tmp_path / "other.npz")
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


def test_damaged_idx_files_are_named(cgraph, idx):
    (idx / NAMES[0]).write_bytes(b"\x00\x00\x08\x03")
    code, _, err = cgraph("train", "digits", "--data", idx)
    assert code == 2
    assert err == (f"cgraph: error: {idx / NAMES[0]}: expected a header of 16 bytes, got 4\n")


@pytest.mark.parametrize("options", [("--lr", "1e30"), ("--optimizer", "sgd", "--lr", "1e30")])
def test_training_that_diverges_fails_and_leaves_the_model_as_it_was(
    cgraph, idx, tmp_path, options
):
    (tmp_path / "model.npz").write_text("old")
    code, _, err = cgraph("train", "digits", "--data", idx, "--output", tmp_path, *options)
    assert code == 1
    assert err.endswith("try a smaller learning rate than 1e+30; nothing was saved\n")
    assert (tmp_path / "model.npz").read_text() == "old"


@pytest.mark.parametrize("command", [(), ("train",), ("predict",)])
def test_help_says_what_there_is(cgraph, command):
    code, out, _ = cgraph(*command, "--help")
    assert code == 0
    words = {
        (): ["train", "predict", "example: cgraph train digits"],
        ("train",): [
            "--learning-rate",
            "0.005 for adam",
            "(default: float32)",
            "(default: adam)",
            "examples: ",
        ],
        ("predict",): ["--show", "(default: 4)", "examples: cgraph predict model.npz"],
    }
    text = " ".join(out.split())
    for word in words[command]:
        assert word in text
    assert "None" not in text


def run_python(*arguments, **options):
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=300, **options
    )


def test_python_m_cgraph_is_the_command(tmp_path):
    done = run_python("-m", "cgraph", "predict", "absent.npz", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("cgraph: error: absent.npz: ")


def test_import_cgraph_leaves_the_command_lines_modules_alone():
    code = "import sys, json, cgraph; print(json.dumps(list(sys.modules)))"
    modules = set(json.loads(run_python("-c", code).stdout))
    assert not modules & {"tqdm", "matplotlib", "argparse", "cgraph.cli", "cgraph.cli.images"}


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_ctrl_c_is_heard_at_once(idx, tmp_path, ctrl_c):
    command = [sys.executable, "-m", "cgraph", "train", "digits", "--data", str(idx)]
    with subprocess.Popen(
        [*command, "--epochs", "100000", "--output", str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        lines = iter(process.stdout.readline, "")
        assert any(line.startswith("epoch") for line in lines)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "stopped by Ctrl-C" in out
    assert (tmp_path / "model.npz").exists()


@pytest.mark.skipif(os.name != "posix", reason="pipes of POSIX")
@pytest.mark.parametrize("rest", ["--show 30 | head -c 1", "--show 0 | true"])
def test_a_reader_that_leaves_early_sees_no_traceback(trained, rest):
    buffered = {name: text for name, text in os.environ.items() if name != "PYTHONUNBUFFERED"}
    command = f'"{sys.executable}" -m cgraph predict "{trained}" {rest}'
    done = subprocess.run(
        command, shell=True, capture_output=True, text=True, timeout=300, env=buffered
    )
    assert done.stderr == ""
