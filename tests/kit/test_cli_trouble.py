"""The command with broken streams and packages: the result is saved, and only the failing output is missing."""

import os
import subprocess
import sys
from io import BytesIO, StringIO, TextIOWrapper
from types import SimpleNamespace

import numpy as np
import pytest
from idx_files import write_idx_folder

import cgraph as CG
from cgraph import cli
from cgraph.cli import curves, terminal

pytestmark = pytest.mark.thread_unsafe(reason="starts processes, exchanges streams")


@pytest.fixture
def no_extras(monkeypatch):
    """An interpreter without tqdm and matplotlib."""
    for name in ("tqdm", "matplotlib"):
        monkeypatch.setitem(sys.modules, name, None)


def train(data, output, *options):
    """Runs a short training; returns its exit code."""
    words = ("train", "digits", "--epochs", 1, "--data", data, "--output", output, *options)
    return cli.main([str(word) for word in words])


def test_ctrl_c_saves_no_parameters_that_are_not_finite(tmp_path, monkeypatch, capsys, no_extras):
    def diverging(graph, *_, **__):
        graph.parameters[0].value *= np.nan
        raise KeyboardInterrupt

    monkeypatch.setattr(CG.Graph, "train", diverging)
    assert train(write_idx_folder(tmp_path / "idx"), tmp_path) == 1
    assert "parameters are no longer finite when Ctrl-C comes: try" in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["idx"]


# Streams

STREAMS = [("stdout",), ("stderr",), ("stdout", "stderr")]


def closed():
    stream = StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize("make", [lambda: None, closed], ids=["none", "closed"])
@pytest.mark.parametrize("names", STREAMS, ids="+".join)
def test_training_needs_no_stream(tmp_path, monkeypatch, no_extras, names, make):
    data = write_idx_folder(tmp_path / "idx")
    for name in names:
        monkeypatch.setattr(sys, name, make())
    assert train(data, tmp_path) == 0
    assert cli.main(["predict", str(tmp_path / "model.npz")]) == 0


@pytest.mark.parametrize("names", STREAMS, ids="+".join)
def test_an_error_is_an_exit_code_where_no_stream_is(tmp_path, monkeypatch, names):
    for name in names:
        monkeypatch.setattr(sys, name, None)
    assert cli.main(["predict", str(tmp_path / "absent.npz")]) == 2
    with pytest.raises(SystemExit, match=r"^2$"):
        cli.main(["fly"])


@pytest.mark.skipif(os.name != "posix", reason="a shell of POSIX")
@pytest.mark.parametrize("closing", [">&-", "2>&-", ">&- 2>&- <&-"])
def test_training_survives_closed_descriptors(tmp_path, closing):
    data = write_idx_folder(tmp_path / "idx")
    command = f'"{sys.executable}" -m cgraph train digits --epochs 1 --data "{data}" {closing}'
    done = subprocess.run(command, shell=True, cwd=tmp_path, timeout=300, check=False)
    assert done.returncode == 0
    assert (tmp_path / "model.npz").exists()


class Gone(StringIO):
    """A stream whose reader has closed it."""

    def write(self, text):
        raise BrokenPipeError(32, "Broken pipe")


def test_notes_that_cannot_be_written_cost_nothing(tmp_path, monkeypatch, no_extras):
    monkeypatch.setattr(sys, "stderr", Gone())
    assert train(write_idx_folder(tmp_path / "idx"), tmp_path) == 0


# Characters


def stream(encoding):
    return TextIOWrapper(BytesIO(), encoding=encoding, newline="")


def written(file):
    file.flush()
    return file.buffer.getvalue().decode(file.encoding)


def shows_everything():
    """Returns a function that prints all texts of the library."""
    x = CG.Leaf2(8, 8)
    images = [CG.Convolution2d([x], np.full((1, 3, 3), value), 0.0) for value in (0.1, 0.2)]
    graph = CG.Graph(CG.Norm2(CG.Concatenation(images)))
    graph.summary()
    CG.show_config()
    print(CG.gradcheck(graph))


@pytest.mark.parametrize("encoding", ["ascii", "cp437", "cp1251", "koi8-r", "utf-8"])
def test_what_is_printed_goes_to_every_terminal(monkeypatch, encoding):
    reference = StringIO()
    monkeypatch.setattr(sys, "stdout", reference)
    shows_everything()
    file = stream(encoding)
    monkeypatch.setattr(sys, "stdout", file)
    shows_everything()
    expected = reference.getvalue()
    assert " × " in expected
    assert written(file) == (expected if encoding == "utf-8" else expected.replace("×", "x"))


@pytest.mark.parametrize(
    ("name", "shown"),
    [("café", r"caf\xe9"), ("$a_{b$", "$a_{b$"), (os.fsdecode(b"d\xff"), r"d\udcff")],
    ids=ascii,
)
def test_every_name_of_a_folder_is_printed(tmp_path, monkeypatch, no_extras, name, shown):
    try:
        data = write_idx_folder(tmp_path / name)
    except (OSError, UnicodeEncodeError):
        pytest.skip("this file system has no such names")
    file = stream("ascii")
    monkeypatch.setattr(sys, "stdout", file)
    assert train(data, data) == 0
    assert cli.main(["predict", str(data / "model.npz"), "--show", "0"]) == 0
    lines = written(file).splitlines()
    assert lines[0] == f"{tmp_path / shown}: 80 images to train on, 30 held out"
    assert f"model: {tmp_path / shown / 'model.npz'}" in lines
    assert lines[-1].startswith("test accuracy: ")


# Optional packages


def refusing(kind, text):
    def refuse(*_, **__):
        raise kind(text)

    return refuse


BROKEN = {
    "backend": (
        ValueError("Key backend: 'module://x' is not\na valid value"),
        "no loss curve: matplotlib does not work here (ValueError: Key backend: 'module://x' is not a valid value)",
    ),
    "library": (
        ImportError("libfreetype.so.6: cannot open shared object file"),
        "no loss curve: matplotlib does not work here (ImportError: libfreetype.so.6: cannot open shared object file)",
    ),
    "half": (
        ModuleNotFoundError("No module named 'numpy.core'", name="numpy.core"),
        "no loss curve: matplotlib does not work here (ModuleNotFoundError: No module named 'numpy.core')",
    ),
    "missing": (
        ModuleNotFoundError("No module named 'matplotlib'", name="matplotlib"),
        'matplotlib is not installed: no loss curve; pip install ".[demo]"',
    ),
    "older": (None, "no loss curve: AttributeError: 'types.SimpleNamespace' object has no attribute 'rc_context'"),
    "long": (
        RuntimeError("latex was not able to process " + 50 * "the string "),
        "no loss curve: matplotlib does not work here (RuntimeError: latex was not able to process",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("error", "message"), BROKEN.values(), ids=BROKEN)
def test_a_broken_matplotlib_costs_the_curve_alone(tmp_path, monkeypatch, capsys, error, message):
    def imported(name):
        if error is not None and name != "tqdm":
            raise error
        return SimpleNamespace()

    for module in (terminal, curves):
        monkeypatch.setattr(module, "import_module", imported)
    assert train(write_idx_folder(tmp_path / "idx"), tmp_path) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[-1].startswith("test accuracy: ")
    assert err.startswith(message)
    assert err.count("\n") == 1
    assert len(err) < 220
    assert sorted(os.listdir(tmp_path)) == ["idx", "model.npz"]


class Failing:
    """A bar of tqdm whose terminal has been closed."""

    def __init__(self, **_):
        self.update = self.close = refusing(OSError, "Input/output error")


@pytest.mark.parametrize("tqdm", [Failing, refusing(TypeError, "'dynamic_ncols'")])
def test_a_broken_tqdm_costs_the_bar_alone(tmp_path, monkeypatch, capsys, tqdm):
    monkeypatch.setitem(sys.modules, "tqdm", SimpleNamespace(tqdm=tqdm))
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert train(write_idx_folder(tmp_path / "idx"), tmp_path) == 0
    assert "epoch 1/1" in capsys.readouterr().out


def test_a_curve_that_cannot_be_written_costs_no_more(tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    (tmp_path / "loss.png").mkdir()
    monkeypatch.setitem(sys.modules, "tqdm", SimpleNamespace())
    assert train(write_idx_folder(tmp_path / "idx"), tmp_path) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[-1].startswith("test accuracy: ")
    assert err.startswith("no loss curve: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize("backend", ["module://no_inline.backend", "nonsense"])
def test_the_backend_of_a_notebook_does_not_matter(tmp_path, backend):
    pytest.importorskip("matplotlib")
    data = write_idx_folder(tmp_path / "$a_{b$")
    command = [sys.executable, "-m", "cgraph", "train", "digits", "--epochs", "1", "--data", data]
    done = subprocess.run(
        command,
        env=os.environ | {"MPLBACKEND": backend},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0
    assert "no loss curve" not in done.stderr
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--optimizer", "sgd", "--lr", 200), "worse than guessing: try a smaller"),
        (("--lr", 20), "worse than guessing: try a smaller"),
        (("--lr", 1e39), "not finite in float32"),
    ],
)
def test_a_learning_rate_that_is_far_too_large_ends_without_a_model(
    options, says, tmp_path, capsys, no_extras
):
    """The training fails also where the loss stays finite."""
    words = ["train", "digits", "--epochs", 2, "--output", tmp_path, *options]
    assert cli.main([str(word) for word in words]) == 1
    assert says in capsys.readouterr().err
    assert not (tmp_path / "model.npz").exists()
