"""The tables about calls: the nodes' own passes, and a Graph with one sample."""

from functools import partial

from benchmarks.contenders import calls, chain, training
from benchmarks.measure.internals import graph_steps
from benchmarks.measure.peers import Makers
from benchmarks.measure.record import Record
from benchmarks.measure.tables import Section, number, table
from benchmarks.measure.timing import Work
from benchmarks.networks.lenet import LENET
from benchmarks.networks.network import ETA

STEPS = "steps of `step`"
MANY = 256  # samples in a run of the steps alone
OURS, THEIRS = "cgraph", "PyTorch eager"
LENET_STEP = "LeNet-5, a training step node by node"
NODE_ROWS: dict[str, Makers] = {
    **{
        f"{LENET_STEP}, {dtype}": {
            OURS: partial(training.node_path, LENET, dtype),
            THEIRS: partial(training.torch_step, LENET, dtype),
        }
        for dtype in ("float32", "float64")
    },
    "chain, a node built and run": {OURS: chain.node_path, THEIRS: chain.torch_eager},
}


def node_by_node(record: Record) -> list[Section]:
    """Without a Graph, each node is a Python call."""
    section = record.section(
        "Node by node",
        "Without a Graph, each node is a Python call: a training step (forward, backward, update) of one sample of "
        "LeNet-5, and a chain of 1,000 nodes of length 4, built anew, forward and backward. Medians.",
    )
    rows = []
    for name, makers in NODE_ROWS.items():
        times = record.times(name, makers)
        medians = [own.median for own in times.values()]
        rows.append(
            [name, *map(number, medians), *(number(value / medians[0]) for value in medians[1:])]
        )
        if THEIRS in times and name.startswith(LENET_STEP):
            section.ask("{} × PyTorch eager", 1, medians[1] / medians[0], work=name)
    section.table = table(["µs", OURS, THEIRS, "ratio"][: len(rows[0])], rows)
    return [section]


def one_sample(record: Record) -> list[Section]:
    """The time of a call with one sample, and how much of a training step its steps take.

    Times are the least of many short chunks, since the work is the same each time and everything else on the machine
    adds to it.
    """
    rows = []
    for network in calls.NETWORKS:
        times = record.times(f"calls, {network}", call_makers(network))
        rows.append([network, *(number(own.least) for own in times.values())])
    return [
        record.section(
            "A call with one sample",
            "Microseconds, float32, one thread, the least of many chunks. The last column is what the steps of `step` "
            "take alone; the rest is what a call costs whatever it computes.",
            table(["µs", *calls.CALLS, STEPS], rows),
        )
    ]


def call_makers(network: str) -> Makers:
    makers: dict[str, partial[Work]] = {
        call: partial(calls.graph_call, network, call) for call in calls.CALLS
    }
    return {**makers, STEPS: partial(steps_alone, network)}


def steps_alone(network: str) -> Work:
    """All steps of a training step, without the call around them."""
    graph, _, feed = calls.graph_and_feed(network)
    graph.step(feed, ETA)
    return graph_steps(graph)["all"].work(True, True, ETA, MANY)
