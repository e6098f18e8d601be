"""The examples learn, or at least begin to, within the few steps of a test."""

import importlib.util
from pathlib import Path

import pytest

import cgraph as CG

FOLDER = Path(__file__).parents[2] / "examples"
if not FOLDER.exists():
    pytest.skip("the tests run without the examples", allow_module_level=True)

# The agents: steps, and a mean return that a policy that does not learn stays far below, since pushes at random keep
# the pole up for 22 steps.
AGENTS = {"dqn": (4_000, 60), "ppo": (8_000, 100), "stream_ac": (2_000, 50)}


def module(name):
    """The example of this name, as a module."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", FOLDER / f"{name}.py")
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def test_each_example_has_a_test():
    names = {path.stem for path in FOLDER.glob("*.py")}
    assert {name for name in names if name in AGENTS or f"test_{name}" in globals()} == names


@pytest.mark.thread_unsafe(reason="redirects standard output")
@pytest.mark.parametrize("name", AGENTS)
def test_an_agent_learns_without_a_step_in_python(name, capsys, monkeypatch):
    graphs = []

    class Kept(CG.Graph):
        def __init__(self, *arguments, **settings):
            super().__init__(*arguments, **settings)
            graphs.append(self)

    monkeypatch.setattr(CG, "Graph", Kept)
    steps, reached = AGENTS[name]
    assert module(name).main(seed=1, steps=steps) > reached
    assert capsys.readouterr().out.count(" s\n") >= 10
    assert graphs
    for graph in graphs:
        graph.summary()
        assert "Python" not in capsys.readouterr().out


@pytest.mark.thread_unsafe(reason="redirects standard output")
@pytest.mark.parametrize("seed", [1, 4])
def test_levenberg_marquardt(seed, capsys):
    """The fit ends in fewer than 30 iterations, with residuals as large as the noise."""
    iterations, residuals = module("levenberg_marquardt").main(seed=seed)
    assert iterations < 30
    assert 0.8 < residuals < 1.1
    assert capsys.readouterr().out.count("iteration ") == iterations + 1


@pytest.mark.thread_unsafe(reason="redirects standard output")
def test_lbfgs_digits(capsys):
    pytest.importorskip("scipy")
    train, test = module("lbfgs_digits").main(seed=1, iterations=40)
    assert train > 0.99
    assert test > 0.95
    assert "accuracy" in capsys.readouterr().out


def test_the_cart_pole_is_the_same_for_all_agents():
    sources = [(FOLDER / f"{name}.py").read_text(encoding="utf-8") for name in AGENTS]
    poles = [source.partition("class CartPole")[2].partition("\n\n\n")[0] for source in sources]
    assert len(set(poles)) == 1


@pytest.mark.thread_unsafe(reason="redirects standard output")
def test_jacobian_control(capsys):
    """Errors in degrees: without control, with torques found beforehand alone, and with feedback."""
    free, ahead, controlled = module("jacobian_control").main(seed=1, steps=2_000)
    assert min(free, ahead) > 50
    assert controlled < 5
    assert "with feedback" in capsys.readouterr().out
