"""The time of a call of a Graph with one sample, and how much of a training step its steps take.

python -m benchmarks.calls [--quick]

The rest is what a call costs whatever it computes: its checks, its results, the buffers of what it is fed. Times are
the least of many short chunks, since the work is the same each time and everything else on the machine adds to it.
"""

from benchmarks.measure import one_core  # noqa: F401  isort: skip

from benchmarks.contenders import calls
from benchmarks.measure.internals import graph_steps
from benchmarks.measure.tables import number, table
from benchmarks.measure.timing import Effort, alternate, asked_effort, load, machine
from benchmarks.networks.network import ETA

THOROUGH = Effort(300, 0.002)
MANY = 256  # samples in a run of the steps alone


def main() -> None:
    effort = asked_effort(__doc__, THOROUGH)
    start = load()
    rows = []
    for network in calls.NETWORKS:
        works = calls.graph_calls(network)
        graph, _, feed = calls.graph_and_feed(network)
        graph.step(feed, ETA)
        works["its steps"] = graph_steps(graph)["all"].work(True, True, ETA, MANY)
        times = {name: min(own.chunks) for name, own in alternate(works, effort).items()}
        rest = times[calls.STEP] - times["its steps"]
        rows.append([network, *map(number, (*times.values(), rest))])
    print(table(["µs", *calls.CALLS, "steps of Graph.step", "rest of Graph.step"], rows))
    print(f"\n{machine()}. Load average: {start} at the start, {load()} at the end.")


if __name__ == "__main__":
    main()
