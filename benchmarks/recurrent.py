"""Recurrent cells beside PyTorch, JAX and onnxruntime: one time step of a prediction, and training over time.

python -m benchmarks.recurrent [--quick]

The graph of a prediction is one cell, which carries its state; all contenders compute a sequence in one call.
"""

from benchmarks.measure import one_core  # noqa: F401  isort: skip
from benchmarks.contenders.recurrent import Cell, predictions, trainings
from benchmarks.measure.peers import built
from benchmarks.measure.tables import number, table
from benchmarks.measure.timing import Effort, alternate, asked_effort, load, machine

THOROUGH = Effort(20, 0.05)
STEPS = 10_000
PREDICTED = (Cell("LSTM", 16), Cell("GRU", 32), Cell("LSTM", 64))
TRAINED, TIME, BATCH = (Cell("GRU", 32), Cell("LSTM", 32)), 50, 16


def main() -> None:
    effort = asked_effort(__doc__, THOROUGH)
    rows = []
    titles: list[str] = []
    for cell in PREDICTED:
        times = alternate(built(predictions(cell, STEPS)), effort)
        titles = [*times]
        rows.append([f"{cell.kind}-{cell.units}", *(number(own.median) for own in times.values())])
    print(f"One time step of {STEPS:,}, float32, one core, µs\n")
    print(table(["", *titles], rows), "\n", flush=True)
    rows = []
    for cell in TRAINED:
        times = alternate(built(trainings(cell, TIME, BATCH)), effort)
        titles = [*times]
        own = [number(each.median * BATCH) for each in times.values()]
        rows.append([f"{cell.kind}-{cell.units}", *own])
    print(
        f"Training, {TIME} time steps, {BATCH} sequences, Adam, float32, one core, µs for a batch\n"
    )
    print(table(["", *titles], rows), "\n")
    print(machine(), "load", load())


if __name__ == "__main__":
    main()
