"""The private parts of cgraph that benchmarks drive: single compiled steps, and the layout that a Graph chooses.

No other file of the benchmarks imports a private module of cgraph or reads a private attribute.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from unittest import mock

import numpy as np

import cgraph as CG
from benchmarks.measure.timing import Work
from cgraph import _kernels
from cgraph._execution.executors import Executor
from cgraph._execution.goals import LOSS
from cgraph._kernels.cpu import AVX512_IS_EMULATED
from cgraph._kernels.runtime import plan
from cgraph._kernels.runtime.memory import Memory
from cgraph._kernels.runtime.request import Feeds, Request
from cgraph._kernels.runtime.step import RowPort, Step
from cgraph._lowering import layout
from cgraph._lowering.buffers import Use, place_buffers
from cgraph._lowering.fusion import fuse
from cgraph._lowering.layout import ONE_BY_ONE, LayoutPlan
from cgraph._lowering.program import FusedGroup
from cgraph._lowering.sample_steps import SampleBuilder


def available_instructions() -> tuple[str, ...]:
    """The builds of the kernels that this CPU runs, those that are emulated apart."""
    found = _kernels.available()
    return tuple(name for name in found if not (name == "avx512" and AVX512_IS_EMULATED))


def instructions_in_use() -> str:
    """The instruction set of the build in use; an emulated one has the instructions of AVX2."""
    selected = _kernels._selected
    return "avx2" if selected == "avx512" and AVX512_IS_EMULATED else selected


def overwrite_sums(graph: CG.Graph) -> None:
    """Lets the next pass overwrite the gradient sums instead of adding to them, as after an update."""
    graph._executable.memory.grads_are_zero = True


@contextmanager
def single_steps() -> Iterator[None]:
    """Makes Graphs that are built and first called meanwhile run each function of elements as a step of its own."""

    def apart(groups: Iterable[FusedGroup]) -> Iterator[list[FusedGroup]]:
        return ([group] for group in groups)

    with mock.patch("cgraph._lowering.stretches.stretches", apart):
        yield


class LayerStep:
    """The last step of a graph, many times in a call, with an arena of its own full of random numbers.

    The step computes the gradients of parameters always, that of its input where `input_gradient` says so.
    """

    def __init__(self, outputs: list[CG.Node], input_gradient: bool, times: int) -> None:
        dtype = outputs[0].dtype
        program = fuse(outputs)
        data = place_buffers(program, dtype)
        group = program.groups[-1]
        inputs, group.buffer.requires_grad = group.input_buffers[0], (True, True)
        inputs.requires_grad = (input_gradient, input_gradient)
        builder = SampleBuilder(_kernels.build(dtype), dtype, program.shared)
        step = builder.step(group, [Use(inputs, 0, accumulate=False)])
        allocators = (data, data, builder.parameters, builder.parameters, builder.scratch)
        self.arrays = [allocator.zeros() for allocator in allocators]
        for array in self.arrays[:3]:
            array[...] = np.random.default_rng(1).normal(size=array.shape)
        self.memory = Memory(*(a.__array_interface__["data"][0] for a in self.arrays))
        self.times = times
        self.steps, self.update_steps = plan.Steps([step] * times), plan.Steps([])

    def work(self, backward: bool, samples: int = 1) -> Work:
        """The work of forward passes, and of as many backward passes, one sample after the other.

        They overwrite what they compute, but for the sums of gradients of a second sample and those after it.
        """
        binding = plan.Binding(self.steps, self.memory, 1, [], [RowPort(0, 4)], [], self.memory)
        out = np.empty(samples, np.float32)
        request = Request(None, Feeds([], [], samples), out, backward)
        schedule = plan.Schedule(request, [binding], bytes(1), samples, one_by_one=True)

        def passes() -> None:  # which keeps `self`, and with it the arrays, alive
            plan.run(plan.prepare(request, schedule, self.update_steps, True))

        return Work(passes, self.times * samples)


class GraphSteps:
    """Steps of a graph, in the layout of its last call, which a call runs for many samples, all `times` times."""

    def __init__(
        self, graph: CG.Graph, executor: Executor, steps: list[Step], times: int = 1
    ) -> None:
        self.graph, self.times = graph, times
        _, fetch_ports = executor._steps_to[LOSS]
        memory = executor._memories[0]
        self.binding = plan.Binding(
            plan.Steps(steps * times), memory, executor.lanes, [], fetch_ports, [], memory
        )

    def work(self, backward: bool, learn: bool, eta: float, samples: int) -> Work:
        """The work of a forward pass, or of a forward and a backward pass, in which the steps may make fused SGD."""
        out = np.empty(samples, self.graph.nodes[0].dtype)
        request = Request(None, Feeds([], [], samples), out, backward, True, int(learn), eta)
        schedule = plan.Schedule(request, [self.binding], bytes(1), samples)

        def passes() -> None:  # which keeps the graph, and with it the memory, alive
            update_steps = self.graph._executable.update_steps
            plan.run(plan.prepare(request, schedule, update_steps, True))

        return Work(passes, self.times * samples)


def graph_steps(graph: CG.Graph) -> dict[str, GraphSteps]:
    """Returns the work of all steps of a graph that has been run, and of each alone, by the nodes that it computes."""
    executor = last_executor(graph)
    found = {"all": GraphSteps(graph, executor, [*executor.steps.values(), executor._seed(None)])}
    for group, step in executor.steps.items():
        node = group.nodes[0]
        name = f"{len(found)}: {len(group.nodes)} × {type(node).__name__}, {node.size}"
        found[name] = GraphSteps(graph, executor, [step])
    return found


def step_of(graph: CG.Graph, node: CG.Node, times: int = 1) -> GraphSteps:
    """Returns the work of the one step that computes a node, in a graph that has been run."""
    executor = last_executor(graph)
    (step,) = (step for group, step in executor.steps.items() if node in group.nodes)
    return GraphSteps(graph, executor, [step], times)


def last_executor(graph: CG.Graph) -> Executor:
    """What has run the only call of a graph."""
    lanes = graph._executable.executors.lanes  # built by the first batch in lanes
    return lanes[0] if lanes else graph._executable.executors.samples


def runs_over_lanes(graph: CG.Graph) -> bool:
    """Whether the last call had samples side by side."""
    return bool(graph._executable.executors.lanes)


def blocks_of(lanes: int) -> tuple[int, ...]:
    """Blocks of one size, however many samples are left."""
    return (lanes,) * (lanes + 1)


def layout_choices(line: int) -> dict[str, LayoutPlan | None]:
    """The layouts that can be chosen with `line` samples in a cache line; None for the choice of the rule."""
    return {
        "samples": LayoutPlan(ONE_BY_ONE, 1.0),
        f"lanes of {line}": LayoutPlan(blocks_of(line), 1.0),
        f"lanes of up to {4 * line}": LayoutPlan(blocks_of(4 * line), 1.0),
        "chosen": None,
    }


@contextmanager
def chosen_layout(layout_plan: LayoutPlan | None) -> Iterator[None]:
    """Gives this layout to Graphs that are built inside the context."""
    if layout_plan is None:
        yield
    else:
        with mock.patch.object(layout, "choose_layout", return_value=layout_plan):
            yield
