"""Where the time of a training step goes: each step of a Graph alone, and what is left for the call; of one sample, and
of one of many side by side.

python benchmarks/steps.py
"""

import one_core  # noqa: F401  isort: skip
from collections.abc import Callable

import numpy as np
import training
from lenet import LENET
from mlp import network
from network import ETA, Network
from tables import number, table
from timing import Effort, Work, alternate

import cgraph as CG
from cgraph._execution.executors import Way
from cgraph._kernels.runtime import plan
from cgraph._kernels.runtime.step import Step

EFFORT = Effort(20, 0.005)
MANY = 256


class Stretch:
    """Steps of a graph, one sample at a time or over lanes, run for MANY samples in a call."""

    def __init__(self, graph: CG.Graph, way: Way, steps: list[Step]) -> None:
        self.graph = graph
        _, outlet = way._parts[None]
        memory = way._memories[0]
        self.route = plan.Route(plan.Steps(steps), memory, way.lanes, [], outlet, [], memory)
        self.out = np.empty(MANY, graph.nodes[0].dtype)

    def run(self, backward: bool, learn: bool) -> Callable[[], None]:
        """Backward steps may learn at once."""
        task = {"backward": backward, "lean": True, "fresh": True, "batch": int(learn), "eta": ETA}
        route, learners = self.route, self.graph._learners
        return lambda: plan.run(
            plan.prepare(route, route, 1, learners, [], self.out, MANY, MANY, **task)
        )


def steps_table(net: Network, dtype: str, batch: int) -> str:
    """Of a batch of one: learning, too, and the calls that do no more than this."""
    graph, feed = training.graph_and_feed(net, dtype, batch)
    graph.step(feed, ETA)
    lanes = list(graph._batches._lanes.values())  # what the step has made
    way = lanes[0] if lanes else graph._batches._samples
    stretches = {"all": Stretch(graph, way, [*way.steps.values(), way._end()])}
    for unit, step in way.steps.items():
        node = unit.nodes[0]
        name = f"{len(stretches)}: {len(unit.nodes)} × {type(node).__name__}, {node.size}"
        stretches[name] = Stretch(graph, way, [step])
    kinds = {"forward": (False, False), "backward": (True, False), "learning": (True, True)}
    if lanes:
        del kinds["learning"]
    works = {
        (name, kind): Work(stretch.run(*flags), MANY)
        for name, stretch in stretches.items()
        for kind, flags in kinds.items()
    }
    calls = {"Graph.step": training.graph_step(net, dtype, batch)}
    if batch == 1:
        calls["Graph.train"] = training.graph_train(net, dtype)
    works |= {(name, ""): work for name, work in calls.items()}
    times = {key: own.fastest for key, own in alternate(works, EFFORT).items()}
    rows = []
    for name in stretches:
        forward, *both = (times[name, kind] for kind in kinds)
        rows.append([name, number(forward), *(number(each - forward) for each in both)])
    rows += [[name, *[""] * (len(kinds) - 1), number(times[name, ""])] for name in calls]
    return table(["µs", "forward", "backward", "backward with update"][: len(kinds) + 1], rows)


def main() -> None:
    for name, net in {"LeNet-5": LENET, "MLP": network(784, 64, 64, 10)}.items():
        for batch in (1, 128):
            print(f"{name}, float32, B = {batch}\n\n{steps_table(net, 'float32', batch)}\n")


if __name__ == "__main__":
    main()
