"""Where the time of a training step goes: each step of a Graph alone, and what is left for the call.

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
from cgraph._kernels import plan
from cgraph._kernels.step import RowPort

EFFORT = Effort(20, 0.005)
MANY = 256


class Stretch:
    """Steps of a graph, run for MANY samples in a call; they learn while they go backward."""

    def __init__(self, graph: CG.Graph, steps: list[object]) -> None:
        self.graph, memory = graph, graph._arena.memory
        outlet = RowPort(0, graph.nodes[0].dtype.itemsize)
        self.route = plan.Route(plan.Steps(steps), memory, 1, [], outlet, [], memory)
        self.out = np.empty(MANY, graph.nodes[0].dtype)

    def run(self, backward: bool, learn: bool) -> Callable[[], None]:
        task = {"backward": backward, "lean": True, "fresh": True, "batch": int(learn), "eta": ETA}
        route, learners = self.route, self.graph._learners
        return lambda: plan.run(route, route, 1, learners, [], self.out, MANY, MANY, **task)


def steps_table(net: Network, dtype: str) -> str:
    graph, feed = training.graph_and_feed(net, dtype, 1)
    graph.step(feed, ETA)
    stretches = {"all": Stretch(graph, [*graph._samples.steps.values(), graph._arena.end_step()])}
    for unit, step in graph._samples.steps.items():
        node = unit.nodes[0]
        name = f"{len(stretches)}: {len(unit.nodes)} × {type(node).__name__}, {node.size}"
        stretches[name] = Stretch(graph, [step])
    kinds = {"forward": (False, False), "backward": (True, False), "learning": (True, True)}
    works = {
        (name, kind): Work(stretch.run(*flags), MANY)
        for name, stretch in stretches.items()
        for kind, flags in kinds.items()
    }
    works["Graph.train", ""] = training.graph_train(net, dtype)
    works["Graph.step", ""] = training.graph_step(net, dtype)
    times = {key: own.fastest for key, own in alternate(works, EFFORT).items()}
    rows = []
    for name in stretches:
        forward, both, learning = (times[name, kind] for kind in kinds)
        rows.append([name, number(forward), number(both - forward), number(learning - forward)])
    rows += [[name, "", "", number(times[name, ""])] for name in ("Graph.train", "Graph.step")]
    return table(["µs", "forward", "backward", "backward with update"], rows)


def main() -> None:
    for name, net in {"LeNet-5": LENET, "MLP": network(784, 64, 64, 10)}.items():
        print(f"{name}, float32\n\n{steps_table(net, 'float32')}\n")


if __name__ == "__main__":
    main()
