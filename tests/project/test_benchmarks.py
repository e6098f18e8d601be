"""The commands in benchmarks/ start without any peer library, and the private parts of cgraph that they use exist."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import cgraph as CG

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "benchmarks"
if not FOLDER.exists() or Path(CG.__file__).parents[1] != ROOT:
    pytest.skip("cgraph is not that of the sources", allow_module_level=True)
sys.path.append(str(ROOT))

from benchmarks.measure import parity, peers  # noqa: E402
from benchmarks.measure.internals import (  # noqa: E402
    LayerStep,
    chosen_layout,
    graph_steps,
    layout_choices,
    overwrite_sums,
    runs_over_lanes,
)
from benchmarks.measure.timing import Work  # noqa: E402

COMMANDS = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "__init__")
SAMPLES = 64  # a few lines of samples


@pytest.mark.thread_unsafe(reason="starts a process")
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_shows_its_help(command):
    arguments = [sys.executable, "-m", f"benchmarks.{command}", "--help"]
    shown = subprocess.run(arguments, cwd=ROOT, check=True, capture_output=True, text=True)
    assert "--quick" in shown.stdout


def test_the_peers_that_cannot_be_imported_are_left_out(capsys):
    def torch_is_missing():
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    peers.report_missing.cache_clear()
    work = Work(int)
    makers = {"cgraph": lambda: work, "first": torch_is_missing, "second": torch_is_missing}
    assert peers.built(makers) == {"cgraph": work}
    assert capsys.readouterr().err == "torch cannot be imported: its rows are left out.\n"


def test_a_fault_of_the_benchmarks_themselves_is_raised():
    def broken():
        raise ModuleNotFoundError("No module named 'cgraph.nowhere'", name="cgraph.nowhere")

    with pytest.raises(ModuleNotFoundError):
        peers.built({"cgraph": broken})


def small_graph():
    """Returns a Graph with convolutions and an affine layer, and a feed of a few lines of samples."""
    x, t = CG.Leaf2(4, 4, dtype="float32"), CG.Leaf1(1, dtype="float32")
    channels = [CG.Convolution2d([x], [[[1.0]]], 0.0) for _ in range(8)]
    y = CG.Affine(CG.Concatenation(channels), [[0.01]] * 129)
    feed = {x: [[[1.0] * 4] * 4] * SAMPLES, t: [[1.0]] * SAMPLES}
    return CG.Graph(CG.MSE(y, t), threads=1), feed


@pytest.mark.parametrize("samples", [1, SAMPLES])
def test_each_step_of_a_graph_runs_alone(samples):
    graph, feed = small_graph()
    graph.step({leaf: values[:samples] for leaf, values in feed.items()}, 0.0)
    assert runs_over_lanes(graph) == (samples > 1)
    for step in graph_steps(graph).values():
        step.work(backward=True, learn=samples == 1, eta=0.0, samples=SAMPLES).call()


@pytest.mark.parametrize("backward", [False, True])
def test_the_step_of_a_layer_runs_without_a_graph(backward):
    x = CG.Leaf2(4, 4, dtype="float32")
    below = [CG.Convolution2d([x], [[[1.0]]], 0.0) for _ in range(8)]
    layer = [CG.Convolution2d(below, [[[1.0]]] * 8, 0.0) for _ in range(8)]
    LayerStep(layer, input_gradient=True, times=2).work(backward).call()


def test_a_graph_is_built_with_each_layout_and_may_overwrite_its_sums():
    for layout_plan in layout_choices(16).values():
        with chosen_layout(layout_plan):
            graph, feed = small_graph()
        graph.step(feed, 0.0)
        overwrite_sums(graph)
        graph.accumulate(feed)


@pytest.mark.thread_unsafe(reason="starts a process")
@pytest.mark.parametrize("command", ["tanh", "elements"])
def test_contenders_compute_the_same_numbers(command):
    arguments = [sys.executable, "-m", f"benchmarks.{command}", "--check"]
    shown = subprocess.run(arguments, cwd=ROOT, check=True, capture_output=True, text=True)
    lines = shown.stdout.splitlines()
    assert len(lines) > 12
    said = ["Results differ by at most"]
    if command == "elements":  # whose other contenders are PyTorch's
        said.append("There is nothing to compare")
    assert all(any(words in line for words in said) for line in lines)


def test_contenders_that_compute_different_numbers_end_the_program():
    def contender(value):
        return lambda: Work(int, result=lambda: np.array([1.0, value]))

    makers = {"first": contender(1.0), "other": contender(1.5), "third": contender(np.nan)}
    with pytest.raises(SystemExit, match=r"other by 5\.0e-01, third by nan"):
        parity.checked(makers, "float32")
