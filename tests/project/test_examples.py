"""The examples learn, or at least begin to, within the few steps of a test, and print what their first lines say."""

import importlib.util
import re
from pathlib import Path

import pytest

import cgraph as CG

FOLDER = Path(__file__).parents[2] / "examples"
if not FOLDER.exists():
    pytest.skip("the tests run without the examples", allow_module_level=True)


def fits(result):
    """Whether Levenberg-Marquardt ends in fewer than 30 iterations, with residuals as large as the noise."""
    iterations, residuals = result
    return iterations < 30 and 0.8 < residuals < 1.1


def follows(degrees):
    """Whether the pendulum follows its trajectory with feedback, and only then."""
    free, ahead, controlled = degrees
    return min(free, ahead) > 50 and controlled < 5


# Settings of a short run, and what its result must satisfy. A policy that does not learn stays far below the mean
# returns of the three agents, since pushes at random keep the pole up for 22 steps.
RUNS = [
    ("dqn", {"steps": 4_000}, lambda mean_return: mean_return > 60),
    ("ppo", {"steps": 8_000}, lambda mean_return: mean_return > 100),
    ("stream_ac", {"steps": 2_000}, lambda mean_return: mean_return > 50),
    ("xor", {"epochs": 100}, lambda wrong: wrong == 0),
    ("tabular_regression", {"epochs": 20}, lambda errors: errors[0] < 0.7 * errors[1]),
    ("drifting_stream", {"samples": 3_000}, lambda right: right[0] > 0.8 > 0.6 > right[1]),
    ("siamese_digits", {"steps": 200}, lambda right: right[0] > 0.85 and right[1] > 0.3),
    ("transfer", {"epochs": 40}, lambda right: right[0] > right[1] > 0.55),
    ("own_node", {"epochs": 30}, lambda right: right > 0.9),
    ("own_optimizer", {"epochs": 4}, lambda right: min(right.values()) > 0.85),
    ("forecast", {"series": "chaos", "epochs": 6}, lambda errors: errors[0] < 0.5),
    ("characters", {"sentences": 1_000, "epochs": 6}, lambda written: written[0] > 0.4),
    ("anomalies", {"count": 9_000}, lambda shares: min(shares) > 0.9),
    ("pedal", {"seconds": 1.0, "epochs": 9, "played": 1.0}, lambda found: found[0] < 0.1),
    ("lbfgs_digits", {"iterations": 40}, lambda right: right[0] > 0.99 and right[1] > 0.95),
    ("levenberg_marquardt", {}, fits),
    ("levenberg_marquardt", {"seed": 4}, fits),
    ("jacobian_control", {"steps": 2_000}, follows),
]


def module(name):
    """The example of this name, as a module."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", FOLDER / f"{name}.py")
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def without_numbers(lines):
    """The different lines, without their numbers."""
    return {" ".join(re.sub(r"[\d.,]*\d", "#", line).split()) for line in lines}


def test_each_example_has_a_run():
    assert {name for name, *_ in RUNS} == {path.stem for path in FOLDER.glob("*.py")}


@pytest.mark.thread_unsafe(reason="redirects standard output")
@pytest.mark.parametrize(("name", "settings", "has_learnt"), RUNS, ids=[name for name, *_ in RUNS])
def test_an_example_learns_and_prints_what_it_says(name, settings, has_learnt, capsys, monkeypatch):
    graphs = []

    class Kept(CG.Graph):
        def __init__(self, *arguments, **settings):
            super().__init__(*arguments, **settings)
            graphs.append(self)

    if name == "lbfgs_digits":
        pytest.importorskip("scipy")
    example = module(name)
    monkeypatch.setattr(CG, "Graph", Kept)
    assert has_learnt(example.main(**{"seed": 1, **settings}))
    lines = example.__doc__.splitlines()
    shown = [line for line in lines if line.startswith("    ")]
    assert without_numbers(capsys.readouterr().out.splitlines()) == without_numbers(shown)
    assert f"python examples/{name}.py" in example.__doc__
    assert re.search(r"takes [\d.]+ s of processor time", example.__doc__)

    for graph in graphs:
        graph.summary()
    assert ("Python" in capsys.readouterr().out) == (name == "own_node")


def test_the_cart_pole_is_the_same_for_all_agents():
    sources = [
        (FOLDER / f"{name}.py").read_text(encoding="utf-8") for name in ("dqn", "ppo", "stream_ac")
    ]
    poles = [source.partition("class CartPole")[2].partition("\n\n\n")[0] for source in sources]
    assert len(set(poles)) == 1
