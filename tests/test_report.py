"""What the command line shows: the progress, the curves, images as text."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from cgraph._report import Progress, image_rows, write_curves
from cgraph.train import Epoch


class Bar:
    """What Progress asks of tqdm."""

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


def interrupted_progress():
    with Progress(10) as progress:
        progress.advance(4)
        progress.advance(3)
        progress.line("epoch")
        raise KeyboardInterrupt


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_is_a_bar_on_a_terminal_and_lines_elsewhere(monkeypatch, capsys, terminal):
    monkeypatch.setattr(Bar, "made", ())
    monkeypatch.setitem(sys.modules, "tqdm", SimpleNamespace(tqdm=Bar))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    with pytest.raises(KeyboardInterrupt):
        interrupted_progress()
    bars = [(bar.total, bar.count, bar.lines, bar.closed) for bar in Bar.made]
    assert bars == ([(10, 7, [("epoch", sys.stdout)], True)] if terminal else [])
    assert capsys.readouterr().out == ("" if terminal else "epoch\n")


def test_progress_goes_with_the_real_tqdm(monkeypatch, capsys):
    pytest.importorskip("tqdm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with Progress(10) as progress:
        progress.advance(10)
        progress.line("epoch")
    out, err = capsys.readouterr()
    assert out == "epoch\n"
    assert "10/10" in err


@pytest.mark.parametrize("losses", [[0.5], [0.5, 0.1, 0.0], [0.5, np.inf]])
def test_curves_are_drawn_for_any_number_of_epochs(tmp_path, losses):
    pytest.importorskip("matplotlib")
    path = tmp_path / "loss.png"
    epochs = [Epoch(i, loss, loss, 0.5, 1.0) for i, loss in enumerate(losses, 1)]
    assert write_curves(path, epochs, "title")
    assert path.read_bytes().startswith(b"\x89PNG")


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
