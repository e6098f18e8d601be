"""The times of a training step: each step of a Graph alone, and the remainder for the call, with one sample and
with samples in lanes.

python -m benchmarks.steps [--quick]
"""

from benchmarks.measure import one_core  # noqa: F401  isort: skip
from functools import partial

from benchmarks.contenders import training
from benchmarks.contenders.training import GRAPH_STEP, GRAPH_TRAIN
from benchmarks.measure.internals import graph_steps, runs_over_lanes
from benchmarks.measure.peers import built
from benchmarks.measure.tables import number, table
from benchmarks.measure.timing import Effort, alternate, asked_effort
from benchmarks.networks.lenet import LENET
from benchmarks.networks.mlp import MLP
from benchmarks.networks.network import ETA, Network
from benchmarks.networks.tanh import CURVE, POLICY, SURROGATE, name

THOROUGH = Effort(20, 0.005)
MANY = 4096  # samples in a call
CASES = [
    ("LeNet-5", LENET, "float32", 1),
    ("LeNet-5", LENET, "float32", 128),
    ("MLP", MLP, "float32", 1),
    ("MLP", MLP, "float32", 128),
    (name(SURROGATE), SURROGATE.network, "float32", 1),
    (name(SURROGATE), SURROGATE.network, "float32", 10_000),
    (name(POLICY), POLICY.network, "float32", 1),
    (name(POLICY), POLICY.network, "float32", 64),
    (name(CURVE), CURVE.network, "float64", 200),
]


def steps_table(net: Network, dtype: str, batch: int, effort: Effort) -> str:
    """Each step forward and backward, and the calls that do all of them; for a batch of one, with learning, too."""
    graph, feed = training.graph_and_feed(net, dtype, batch)
    graph.step(feed, ETA)
    kinds = {"forward": (False, False), "backward": (True, False)}
    if not runs_over_lanes(graph):
        kinds["backward with update"] = (True, True)
    steps = graph_steps(graph)
    works = {
        (title, kind): step.work(*flags, ETA, MANY)
        for title, step in steps.items()
        for kind, flags in kinds.items()
    }
    calls = {GRAPH_STEP: partial(training.graph_step, net, dtype, batch)}
    if batch == 1:
        calls[GRAPH_TRAIN] = partial(training.graph_train, net, dtype)
    works |= {(title, ""): work for title, work in built(calls).items()}
    times = {key: own.fastest for key, own in alternate(works, effort).items()}
    rows = []
    for title in steps:
        forward, *both = (times[title, kind] for kind in kinds)
        rows.append([title, number(forward), *(number(each - forward) for each in both)])
    rows += [[title, *[""] * (len(kinds) - 1), number(times[title, ""])] for title in calls]
    return table(["µs", *kinds], rows)


def main() -> None:
    effort = asked_effort(__doc__, THOROUGH)
    for title, net, dtype, batch in CASES:
        table_of_steps = steps_table(net, dtype, batch, effort)
        print(f"{title}, {dtype}, B = {batch}\n\n{table_of_steps}\n", flush=True)


if __name__ == "__main__":
    main()
