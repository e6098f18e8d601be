"""The output of the command line: progress, curves, images as text."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from cgraph._streams import encodable
from cgraph.cli.curves import _draw_losses, _draw_metric, write_curves
from cgraph.cli.terminal import Progress, image_rows
from cgraph.fitting.history import History

LABELS = {"loss": "loss", "val_loss": "test loss", "val_accuracy": "test accuracy"}


def history(losses, held_out=None, accuracies=None):
    """Returns a History of losses, held-out losses and accuracies."""
    columns = (losses, held_out or losses, accuracies or [0.5] * len(losses))
    return History(dict(zip(LABELS, map(np.array, columns), strict=True)))


class Bar:
    """The interface of tqdm that Progress uses."""

    made = ()

    def __init__(self, *, total, **_):
        self.total, self.count, self.lines, self.closed = total, 0, [], False
        Bar.made += (self,)

    def update(self, count):
        self.count += count

    def write(self, line, file):
        self.lines.append((line, file))

    def close(self):
        self.closed = True


EPOCH = "epoch 1/2   loss 1.000e-09   accuracy  98.7 %   0.10 s"


def interrupted_progress():
    with Progress(2, 5, {"loss": "loss", "val_accuracy": "accuracy"}) as progress:
        progress.advance(4)
        progress.advance(3)
        progress.epoch(1, {"loss": 1e-9, "val_accuracy": 0.987, "seconds": 0.1})
        raise KeyboardInterrupt


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_is_a_bar_on_a_terminal_and_lines_elsewhere(monkeypatch, capsys, terminal):
    monkeypatch.setattr(Bar, "made", ())
    monkeypatch.setitem(sys.modules, "tqdm", SimpleNamespace(tqdm=Bar))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    with pytest.raises(KeyboardInterrupt):
        interrupted_progress()
    bars = [(bar.total, bar.count, bar.lines, bar.closed) for bar in Bar.made]
    assert bars == ([(10, 7, [(EPOCH, sys.stdout)], True)] if terminal else [])
    assert capsys.readouterr().out == ("" if terminal else EPOCH + "\n")


def test_progress_goes_with_the_real_tqdm(monkeypatch, capsys):
    pytest.importorskip("tqdm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with Progress(1, 10, {}) as progress:
        progress.resume("state.npz", 1, 10)
    out, err = capsys.readouterr()
    assert out == "state.npz: goes on after epoch 1\n"
    assert "10/10" in err


@pytest.mark.parametrize("losses", [[0.5], [0.5, 0.1, 0.0], [0.5, np.inf]])
def test_curves_are_drawn_for_any_number_of_epochs(tmp_path, losses):
    pytest.importorskip("matplotlib")
    path = tmp_path / "loss.png"
    assert write_curves(path, history(losses), LABELS, "title")
    assert path.read_bytes().startswith(b"\x89PNG")


TITLES = ["$a_{b$", "50 %", "d\udcff", "\u30c7", r"\frac"]


@pytest.mark.parametrize("title", TITLES, ids=ascii)
@pytest.mark.parametrize("usetex", [False, True])
def test_a_title_is_text_whatever_its_characters(tmp_path, capsys, title, usetex):
    matplotlib = pytest.importorskip("matplotlib")
    with matplotlib.rc_context({"text.usetex": usetex}):
        assert write_curves(tmp_path / "loss.png", history([0.5]), LABELS, title)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("accuracies", [[1.0], [1.0, 1.0], [0.5, 0.99], [0.0, 0.0]])
def test_the_axis_of_accuracies_ends_at_100_percent(accuracies):
    figure = pytest.importorskip("matplotlib.figure").Figure()
    axes = figure.subplots()
    _draw_metric(axes, history([1.0] * len(accuracies), None, accuracies), LABELS)
    low, high = axes.get_ylim()
    assert low < 100 * min(accuracies)
    assert high == 100


@pytest.mark.parametrize(("loss", "scale"), [(0.0, "linear"), (0.1, "log")])
def test_losses_that_are_all_0_have_no_logarithmic_axis(tmp_path, loss, scale):
    figure = pytest.importorskip("matplotlib.figure").Figure()
    axes = figure.subplots()
    _draw_losses(axes, history([0.0, loss], [0.0, 0.0]), LABELS)
    figure.savefig(tmp_path / "loss.png")  # a warning would be an error here
    assert axes.get_yscale() == scale


@pytest.mark.parametrize(
    ("encoding", "errors", "expected"),
    [
        ("utf-8", "strict", "2 × é \\udcff"),
        ("utf-8", "surrogateescape", "2 × é \udcff"),
        ("ascii", "strict", "2 x \\xe9 \\udcff"),
        ("ascii", "replace", "2 x é \udcff"),
        ("cp437", "strict", "2 x é \\udcff"),
        ("cp437", None, "2 x é \\udcff"),
        ("unheard-of", "strict", "2 × é \udcff"),
        (None, None, "2 × é \udcff"),
    ],
)
def test_characters_that_a_stream_refuses_are_replaced(encoding, errors, expected):
    stream = SimpleNamespace(encoding=encoding, errors=errors)
    assert encodable("2 × é \udcff", stream) == expected


@pytest.mark.parametrize(
    ("shape", "columns", "expected"),
    [
        ((2, 2), 80, ["@@--", "  @@", "1"]),
        ((4, 17), 80, ["@" * 17, " " * 16 + "@", "1"]),
        ((8, 40), 20, ["@" * 20, " " * 19 + "@", "1"]),
    ],
)
def test_images_are_text_of_about_their_proportions(shape, columns, expected):
    image = np.zeros(shape, np.uint8)
    image[0] = 240
    image[-1, -1] = 240
    if shape == (2, 2):
        image[0, 1] = 90
    rows = list(image_rows(image[None], ["1"], 240, columns))
    assert rows == [*(row.rstrip() for row in expected), ""]


def test_images_stand_side_by_side_as_far_as_the_terminal_goes():
    images = np.full((3, 1, 2), 16, np.uint8)
    rows = list(image_rows(images, ["a", "b", "c"], 16, columns=11))
    assert rows == ["@@@@   @@@@", "a      b", "", "@@@@", "c", ""]
