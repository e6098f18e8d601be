"""The private parts of cgraph that benchmarks drive: single compiled steps, and what a Graph decides by itself.

No other file of the benchmarks imports a private module of cgraph or reads a private attribute.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import numpy as np

import cgraph as CG
from benchmarks.measure.timing import Work
from cgraph import _kernels
from cgraph._execution import executable
from cgraph._execution.executors import Way
from cgraph._kernels.runtime import plan
from cgraph._kernels.runtime.step import RowPort, Step
from cgraph._lowering.buffers import Access, place_blocks
from cgraph._lowering.fusion import fuse
from cgraph._lowering.layout import NEVER, Choice
from cgraph._lowering.sample_steps import Builder


def overwrite_sums(graph: CG.Graph) -> None:
    """Lets the next pass overwrite the gradient sums instead of adding to them, as after an update."""
    graph._arena.fresh = True


class LayerStep:
    """The last step of a graph, many times in a call, with an arena of its own full of random numbers.

    The step computes the gradients of parameters always, that of its input where `input_gradient` says so.
    """

    def __init__(self, outputs: list[CG.Node], input_gradient: bool, times: int) -> None:
        dtype = outputs[0].dtype
        program = fuse(outputs)
        data = place_blocks(program, dtype)
        unit = program.units[-1]
        inputs, unit.block.wanted = unit.blocks[0], (True, True)
        inputs.wanted = (input_gradient, input_gradient)
        builder = Builder(_kernels.build(dtype), dtype)
        step = builder.step(unit, [Access(inputs, 0, add=False)])
        regions = (data, data, builder.values, builder.values, builder.scratch)
        self.arrays = [region.allocate() for region in regions]
        for array in self.arrays[:3]:
            array[...] = np.random.default_rng(1).normal(size=array.shape)
        self.memory = plan.Memory(*(a.__array_interface__["data"][0] for a in self.arrays))
        self.times = times
        self.steps, self.learners = plan.Steps([step] * times), plan.Steps([])

    def work(self, backward: bool) -> Work:
        """The work of forward passes, and of as many backward passes that overwrite what they compute."""
        route = plan.Route(self.steps, self.memory, 1, [], RowPort(0, 4), [], self.memory)
        out = np.empty(1, np.float32)
        task = {"backward": backward, "lean": False, "fresh": True, "batch": 0, "eta": 0.0}

        def passes() -> None:  # which keeps `self`, and with it the arrays, alive
            plan.run(plan.prepare(route, route, 1, self.learners, [], out, 1, 1, **task))

        return Work(passes, self.times)


class GraphSteps:
    """Some steps of a graph, in the layout of its last call, run for many samples in a call."""

    def __init__(self, graph: CG.Graph, way: Way, steps: list[Step]) -> None:
        self.graph = graph
        _, outlet = way._parts[None]
        memory = way._memories[0]
        self.route = plan.Route(plan.Steps(steps), memory, way.lanes, [], outlet, [], memory)

    def work(self, backward: bool, learn: bool, eta: float, samples: int) -> Work:
        """The work of a forward pass, or of a forward and a backward pass, in which the steps may learn at once."""
        out = np.empty(samples, self.graph.nodes[0].dtype)
        task = {"backward": backward, "lean": True, "fresh": True, "batch": int(learn), "eta": eta}
        route, learners = self.route, self.graph._learners

        def passes() -> None:
            plan.run(plan.prepare(route, route, 1, learners, [], out, samples, samples, **task))

        return Work(passes, samples)


def graph_steps(graph: CG.Graph) -> dict[str, GraphSteps]:
    """All steps of a graph that has been run, and each alone, by the nodes that it computes."""
    lanes = list(graph._batches._lanes.values())  # made by the first batch that wants them
    way = lanes[0] if lanes else graph._batches._samples
    found = {"all": GraphSteps(graph, way, [*way.steps.values(), way._end()])}
    for unit, step in way.steps.items():
        node = unit.nodes[0]
        name = f"{len(found)}: {len(unit.nodes)} × {type(node).__name__}, {node.size}"
        found[name] = GraphSteps(graph, way, [step])
    return found


def runs_over_lanes(graph: CG.Graph) -> bool:
    """Whether the last call had samples side by side."""
    return bool(graph._batches._lanes)


def layout_choices(line: int) -> dict[str, Choice | None]:
    """The layouts that can be chosen with `line` samples in a cache line; None for what the rule says."""
    return {
        "samples": Choice(1, 1, NEVER, 1.0),
        f"lanes of {line}": Choice(line, line, 1, 1.0),
        f"lanes of up to {4 * line}": Choice(4 * line, line, 1, 1.0),
        "chosen": None,
    }


@contextmanager
def chosen_layout(choice: Choice | None) -> Iterator[None]:
    """Inside, a Graph that is built gets this layout."""
    if choice is None:
        yield
    else:
        with mock.patch.object(executable, "choose", return_value=choice):
            yield
