"""The time of one time step of recurrent graphs: within a call, with a call each, and of many streams side by side.

python -m benchmarks.carry [--quick]
"""

from benchmarks.measure import one_core  # noqa: F401  isort: skip
from collections.abc import Callable

import numpy as np

import cgraph as CG
from benchmarks.measure.tables import number, table
from benchmarks.measure.timing import Effort, Work, alternate, asked_effort, load, machine

THOROUGH = Effort(20, 0.005)
STEPS = 10_000  # in a call without streams
STREAM_STEPS = 1_000
UNITS = 16
DTYPE = "float32"


Nodes = tuple[CG.Node, CG.Node, CG.Node]


def elman() -> Nodes:
    """Returns the input, the state and the new state of an Elman cell of one input."""
    rng = np.random.default_rng(0)
    x, h = CG.Leaf1(1, dtype=DTYPE), CG.Leaf1(UNITS, dtype=DTYPE)
    h.getInput(np.zeros(UNITS))
    joined = CG.Concatenation([x, h])
    return x, h, CG.Tanh(CG.Affine(joined, rng.normal(0, 0.3, (UNITS + 2, UNITS))))


def lstm() -> Nodes:
    """Returns the input, the state and the new state of an LSTM cell of one input."""
    x, state = CG.Leaf1(1, dtype=DTYPE), CG.Leaf1(2 * UNITS, dtype=DTYPE)
    state.getInput(np.zeros(2 * UNITS))
    return x, state, CG.layers.lstm_cell(x, state, rng=0)


Cell = Callable[[], Nodes]
CELLS = {f"Elman, {UNITS} units": elman, f"LSTM, {UNITS} units": lstm}


def rows(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=shape).astype(DTYPE)


def within_a_call(cell: Cell, carry: bool) -> Work:
    """All time steps in one call; without a carry, the same steps on samples that are fed one after the other."""
    x, h, new = cell()
    graph = CG.Graph(new, carry={h: new} if carry else None, layout="samples", threads=1)
    feed, out = {x: rows(STEPS, 1)}, np.empty((STEPS, new.size), DTYPE)
    return Work(lambda: graph.predict(feed, out=out), STEPS)


def a_call_each(cell: Cell) -> Work:
    x, h, new = cell()
    graph = CG.Graph(new, carry={h: new}, threads=1)
    feed = {x: rows(1, 1)}
    return Work(lambda: graph.predict(feed))


def learner(cell: Cell, learns: bool) -> Work:
    x, h, new = cell()
    t = CG.Leaf1(new.size, dtype=DTYPE)
    graph = CG.Graph(CG.MSE(new, t), carry={h: new}, threads=1)
    learning = CG.Learner(graph, x, t, new, CG.Adam())
    sample, target = rows(1), rows(new.size)
    if learns:
        return Work(lambda: learning.learn_one(sample, target))
    return Work(lambda: learning.predict_one(sample))


def side_by_side(cell: Cell, streams: int, learns: bool) -> Work:
    x, h, new = cell()
    end, feed = new, {x: rows(STREAM_STEPS, streams, 1)}
    if learns:
        t = CG.Leaf1(new.size, dtype=DTYPE)
        end, feed[t] = CG.MSE(new, t), rows(STREAM_STEPS, streams, new.size)
    graph = CG.Graph(end, carry={h: new}, streams=streams, threads=1)
    if learns:
        return Work(lambda: graph.train(feed, 1e-6, batch=1), STREAM_STEPS * streams)
    out = np.empty((STREAM_STEPS, streams, new.size), DTYPE)
    return Work(lambda: graph.predict(feed, out=out), STREAM_STEPS * streams)


def works(cell: Cell) -> dict[str, Work]:
    """Returns the work of each row of the table; its units are time steps of single streams."""
    found = {
        f"{STEPS:,} time steps in a call": within_a_call(cell, True),
        "the same, nothing carried": within_a_call(cell, False),
        "a call for each, Graph.predict": a_call_each(cell),
        "a call for each, Learner.predict_one": learner(cell, False),
        "a call for each, Learner.learn_one, Adam": learner(cell, True),
    }
    for streams in (64, 256):
        found[f"{streams} streams"] = side_by_side(cell, streams, False)
        found[f"{streams} streams, an update in each time step"] = side_by_side(cell, streams, True)
    return found


def main() -> None:
    effort = asked_effort(__doc__, THOROUGH)
    times = [alternate(works(cell), effort) for cell in CELLS.values()]
    lines = [[title, *(number(1000 * own[title].fastest) for own in times)] for title in times[0]]
    print(f"The fastest time of a time step of a stream in ns, one input, {DTYPE}, one core\n")
    print(table(["", *CELLS], lines), "\n")
    print(machine(), "load", load())


if __name__ == "__main__":
    main()
