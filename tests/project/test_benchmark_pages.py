"""The pages about performance are made of raw results; no time is taken here."""

import os
import sys
from pathlib import Path
from unittest import mock

import pytest

import cgraph as CG

ROOT = Path(__file__).parents[2]
if not (ROOT / "benchmarks").exists() or Path(CG.__file__).parents[1] != ROOT:
    pytest.skip("cgraph is not that of the sources", allow_module_level=True)
sys.path.append(str(ROOT))

# A benchmark binds its process to one core and one thread, which this one is not to be.
with mock.patch.dict(os.environ), mock.patch("os.sched_setaffinity", create=True):
    from benchmarks import performance
    from benchmarks.measure import one_core, record
    from benchmarks.measure.bandwidth import WORKING_SETS
    from benchmarks.measure.instructions import environment, worth_measuring
    from benchmarks.measure.machine import kind_in_words, processor
    from benchmarks.measure.record import Record
    from benchmarks.measure.timing import QUICK, Times
    from benchmarks.pages import averages, functions, layer_norm, tanh, wide
    from benchmarks.pages.groups import GROUPS
    from benchmarks.pages.report import kind_page, measured, side_by_side
    from benchmarks.pages.results import Kind, Result, kinds, save

CIRCUMSTANCES = {
    "cpu": "a processor",
    "family": "1",
    "model": "2",
    "processor": "AMD Zen 9",
    "held": False,
    "cores": 2,
    "pinned": True,
    "commit": "0123abc",
    "date": "2026-01-02",
    "python": "3.11",
    "libraries": {"numpy": "2.4"},
    "switches": {},
    "peaks": {name: {"float32": 100.0, "float64": 50.0} for name in ("avx2", "avx512")},
    "load": [0.0, 0.5],
}


@pytest.fixture
def invented_times(monkeypatch):
    """Each contender takes longer than the ones before it, and none is built."""

    def alternate(contenders, effort):
        squares = [float((place + 1) ** 2) for place in range(len(contenders))]
        return {name: Times(s, s, s) for name, s in zip(contenders, squares, strict=True)}

    monkeypatch.setattr(record, "alternate", alternate)
    monkeypatch.setattr(record, "built", dict)
    monkeypatch.setattr(one_core, "CORES", [0])  # no process is started for the rows on two cores
    monkeypatch.setattr(wide.wide, "in_lanes", wide.wide.one_by_one)
    for page in (averages, functions, layer_norm, tanh):
        monkeypatch.setattr(page, "checked", lambda makers, dtype: "Results agree.")


def no_pictures(kind):
    return {}


def kind_of(instructions, groups):
    """Returns a kind of machine on which invented times were taken with these instructions."""
    results = {}
    for name in groups:
        own = Record(QUICK)
        own.instructions = instructions
        GROUPS[name].sections(own)
        results[name] = Result({**CIRCUMSTANCES, "instructions": instructions}, own)
    return Kind(f"zen9_{instructions}", kind_in_words(results[groups[0]].circumstances), results)


@pytest.mark.parametrize("group", [name for name in GROUPS if name != "threads"])
def test_a_page_of_saved_results_is_the_one_of_the_results_themselves(
    group, invented_times, tmp_path
):
    kind = kind_of("avx2", [group])
    for name, own in kind.results.items():
        save(tmp_path / kind.name, name, own)
    (read,) = kinds(tmp_path, GROUPS)
    page = kind_page(measured(kind), {})
    assert kind_page(measured(read), {}) == page
    assert page.count("\n## ") >= 1


def test_each_kind_of_machine_has_its_own_goals_and_a_column(invented_times):
    text = side_by_side(
        [measured(kind_of(name, ["lenet"])) for name in ("avx512", "avx2")],
        "performance",
        no_pictures,
    )
    row = {
        tuple(cells[:2]): cells[2:]
        for cells in ([c.strip() for c in line.split("|")[1:-1]] for line in text.splitlines())
        if len(cells) == 4
    }
    work = "LeNet-5, training, B = 32, float32"
    floor, pytorch = row[work, "× the floor"], row[work, "× the fastest PyTorch"]
    assert floor[0] == ""
    assert "≤ 1.2" in floor[1]
    assert "≥ 5" in pytorch[0]
    assert pytorch[1] == ""


def test_a_goal_that_is_missed_is_in_bold_letters(invented_times):
    own = measured(kind_of("avx2", ["affine", "lenet"]))
    missed = [asked for asked in own.asks if not asked.met]
    met = [asked for asked in own.asks if asked.met]
    text = side_by_side([own], "performance", no_pictures)
    assert missed
    assert met
    assert text.count("** (") == len(missed)


def test_a_layer_with_arithmetic_enough_is_marked_where_it_is_behind():
    shares = {"forward": 0.9, "both gradients": 0.5}
    assert wide.Result(shares, enough=True).text() == "90 / **50**"
    assert wide.Result(shares, enough=False).text() == "90 / 50"


def test_a_layer_that_moves_more_than_it_computes_has_not_arithmetic_enough():
    times = {"forward": Times(1, 1, 1), "with both": Times(3, 3, 3)}
    peak, slow = Times(1e-3, 1e-3, 1e-3), 1e-3
    moved = {str(size): Times(slow, slow, slow) for size in WORKING_SETS}
    matrix = wide.Cell(wide.Affine(1024), 1)  # 4 bytes for 2 FLOP
    image = wide.Cell(wide.Convolution(64, 3, 1, 28), 1)
    assert not wide.result(matrix, times, peak, moved).enough
    assert wide.result(image, times, peak, moved).enough


def test_a_record_that_is_read_back_measures_nothing(invented_times):
    kind = kind_of("avx2", ["affine"])
    read = Record.replay(kind.results["affine"].record.saved())
    with pytest.raises(KeyError):
        read.times("another title", {"cgraph": lambda: None})


@pytest.mark.parametrize(
    ("family", "model", "name"),
    [(25, 1, "AMD Zen 3"), (25, 17, "AMD Zen 4"), (25, 33, "AMD Zen 3"), (26, 2, "AMD Zen 5")],
)
def test_processors_of_amd_have_their_generation(family, model, name):
    info = {"vendor_id": "AuthenticAMD", "cpu family": str(family), "model": str(model)}
    assert processor(info) == name


def test_a_process_for_each_set_of_instructions_has_its_switches_alone(monkeypatch):
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Prescott")
    for name in worth_measuring():
        assert environment(name)["CGRAPH_SIMD"] == name
        assert environment(name).get("OPENBLAS_CORETYPE") != "Prescott"


def test_the_pages_are_those_of_the_raw_results():
    pages = performance.pages(performance.FOLDER)
    assert len(pages) > 1
    for path, text in pages.items():
        assert path.read_text(encoding="utf-8") == text, f"{path}: --render has to be run"
