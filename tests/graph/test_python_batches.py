"""Batches of a Graph with nodes in Python: the stretches in front of and behind them are compiled over lanes."""

import numpy as np
import pytest
from amounts import full, one_in
from batch_settings import Setting
from batch_twins import BatchTwins, some_nodes, uniform
from graph_networks import crossed_residual, dense_lenet, nodes_of, residual, sparse_lenet
from lane_arena import blocks_of
from own_nodes import Failing, Recorder, Scale, mixed

import cgraph as CG
from cgraph._lowering import pipeline
from cgraph._lowering.layout import Layouts, choose_layouts

pytestmark = [
    pytest.mark.usefixtures("guard_pages"),
    pytest.mark.thread_unsafe(reason="replaces the choice of layouts"),
]
LANES = Setting("lanes", 1)
WIDEST = blocks_of("float64")[-1]  # samples that these small graphs take at a time
ETA = 0.01


class Remembering(CG.Node):
    """ReLU with a mask that `calcData` leaves for `calcPartialDerivative`."""

    def __init__(self, node):
        super().__init__(node.size, node.height, node.width, [node])

    def calcData(self):
        x = self.backward[0].data
        self.mask = x > 0
        self.data = self.mask * x

    def calcPartialDerivative(self):
        self.backward[0].grad += self.mask * self.grad


class Drawing(CG.Node):
    """Dropout: `calcData` draws which elements are left."""

    def __init__(self, node, seed=0):
        super().__init__(node.size, node.height, node.width, [node])
        self.rng = np.random.default_rng(seed)

    def calcData(self):
        self.left = self.rng.random(self.size) < 0.5
        self.data = self.left * self.backward[0].data

    def calcPartialDerivative(self):
        self.backward[0].grad += self.left * self.grad


def repeatable(nodes):
    """Declares that all nodes may compute their data twice."""
    for node in nodes:
        node._repeatable = True
    return nodes


def in_python(nodes, *numbers):
    """Makes Graphs call the methods of these nodes."""
    for number in numbers:
        nodes[number].calcData = nodes[number].calcData
    return nodes


@pytest.fixture
def over_lanes_twice(monkeypatch):
    """Graphs that are built from now on run single samples among lanes, and compute them twice, whatever the cost."""

    def forward_for_both(*arguments):
        forward = choose_layouts(*arguments).forward
        return Layouts(forward, forward)

    monkeypatch.setattr(pipeline, "choose_layouts", forward_for_both)


def executors(graph):
    return graph._executable.executors


def check(make, dtype, setting=LANES):
    """Compares sums, training and predictions of batches around a whole block with the nodes' own passes."""
    nodes = make()
    line = 64 // np.dtype(dtype).itemsize
    twins = BatchTwins(make, len(nodes) - 1, uniform(nodes), 2 * line + 3)
    for count in (2, line + 3):
        twins.check_sums(setting, count, 3)
        twins.check_train(setting, 2 * line + 3, count)
    twins.check_predictions(setting, line + 1, some_nodes(nodes))
    twins.check_samples(setting, line + 1, [0, line])
    return twins.graph


def inner(network):
    """Returns the numbers of the nodes of a network that have inputs."""
    return [k for k, node in enumerate(nodes_of(network, "float64")) if node.backward]


NETWORKS = [residual, crossed_residual, dense_lenet, sparse_lenet]
PLACES = [
    (network, places)
    for network in NETWORKS
    for numbers in [inner(network)]
    for places in (
        *((number,) for number in numbers[:: max(1, len(numbers) // 4)]),
        (numbers[len(numbers) // 2], numbers[-2]),
        (numbers[-1],),
    )
]


def places(count):
    """Runs a test for all networks with nodes in Python at all places, by default for one in `count` of them."""
    return pytest.mark.parametrize(
        ("network", "numbers"),
        one_in(count, PLACES),
        ids=lambda x: getattr(x, "__name__", None) or str(x),
    )


dtypes = pytest.mark.parametrize("dtype", ["float64", full("float32")])


@places(2)
@dtypes
def test_any_node_in_python_gives_the_results_of_the_nodes(network, numbers, dtype):
    check(lambda: in_python(nodes_of(network, dtype), *numbers), dtype)


@places(3)
@dtypes
def test_what_lies_behind_repeatable_nodes_goes_over_lanes(
    network, numbers, dtype, over_lanes_twice
):
    check(lambda: repeatable(in_python(nodes_of(network, dtype), *numbers)), dtype)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("setting", [LANES, Setting("auto", 2)], ids=str)
def test_own_nodes_among_channels_give_the_results_of_the_nodes(dtype, setting):
    graph = check(lambda: mixed(dtype), dtype, setting)
    if setting is LANES:
        assert executors(graph).lanes


def body(own, *arguments):
    """Builds layers, a node of the given class, and layers behind it."""
    rng = np.random.default_rng(3)
    x = CG.Leaf1(20)
    first = CG.Affine(x, rng.uniform(-1, 1, (21, 30)))
    node = own(first, *arguments)
    last = CG.Affine(node, rng.uniform(-1, 1, (31, 4)))
    return [x, first, node, last, CG.Norm2(last)]


def test_a_node_that_remembers_the_sample_of_its_last_calcData_learns_rightly():
    graph = check(lambda: body(Remembering), "float64")
    assert executors(graph).layouts.backward.backward_at_once


def test_a_repeatable_node_that_remembers_computes_its_data_again(over_lanes_twice):
    graph = check(lambda: repeatable(body(Remembering)), "float64")
    assert not executors(graph).layouts.backward.backward_at_once


def test_a_node_that_draws_at_random_goes_backward_by_what_it_drew():
    """The same draws, in the same order, as one sample at a time."""
    samples = np.random.default_rng(0).uniform(-1, 1, (11, 20))
    found = []
    for layout in ("samples", "lanes"):
        nodes = body(Drawing)
        graph = CG.Graph(nodes[-1], layout=layout)
        losses = graph.train({nodes[0]: samples}, 0.001, batch=9)
        predictions = graph.predict({nodes[0]: samples}, nodes[3])
        values = [p.value.copy() for p in graph.parameters]
        found.append((losses, predictions, *values))
        assert bool(executors(graph).lanes) is (layout == "lanes")
    for by_sample, over_lanes in zip(*found, strict=True):
        np.testing.assert_allclose(over_lanes, by_sample, rtol=1e-10, atol=1e-12)


def calls_of(layout, count, repeat, call):
    """Returns the calls of methods of two own nodes, with compiled nodes around them."""
    log = []
    x = CG.Leaf1(2)
    first = Recorder([CG.Affine(x, np.eye(3, 2))], log, "a")
    second = Recorder([CG.Tanh(first)], log, "b")
    first._repeatable = second._repeatable = repeat
    graph = CG.Graph(CG.Norm2(CG.Affine(second, np.eye(3, 2))), layout=layout)
    call(graph, {x: np.ones((count, 2))})
    return [(method, name) for method, name, *_ in log]


def test_methods_are_called_in_the_order_of_single_samples():
    def calls(graph, feed):
        graph.step(feed, 0.0)
        graph.predict(feed)

    expected = calls_of("samples", 5, False, calls)
    assert calls_of("lanes", 5, False, calls) == expected


def test_repeatable_nodes_compute_all_samples_but_the_last_one_twice(over_lanes_twice):
    forward = [("calcData", "a"), ("calcData", "b")]
    backward = [("calcPartialDerivative", "b"), ("calcPartialDerivative", "a")]
    found = calls_of("lanes", 3, True, lambda graph, feed: graph.accumulate(feed))
    assert found == forward * 3 + backward + (forward + backward) * 2


def test_a_repeatable_node_in_front_of_a_large_network_leaves_it_over_lanes():
    """What costs more than the second `calcData` goes over lanes; a small network does not."""
    layouts = []
    for size in (300, 3):
        x = CG.Leaf1(size, dtype="float32")
        weight = np.zeros((size + 1, size))
        for below in (x, CG.Affine(x, weight)):
            (node,) = repeatable([Failing(below)])
            loss = CG.Norm2(CG.Affine(CG.Affine(node, weight), weight))
            layouts.append(executors(CG.Graph(loss)).layouts)
    twice = [x.backward.has_steps_of(x.forward) and x.backward.lanes > 1 for x in layouts]
    assert twice == [True, True, False, False]


@pytest.mark.parametrize("method", ["calcData", "calcPartialDerivative"])
def test_an_exception_comes_out_of_the_last_block_too(method):
    """A full block comes first; the one of the last sample has steps and memory of its own."""
    nodes = body(Failing)
    x, node = nodes[0], nodes[2]
    graph = CG.Graph(nodes[-1], layout="lanes")
    samples = np.random.default_rng(0).uniform(-1, 1, (WIDEST + 1, x.size))
    assert executors(graph).layouts.backward.used(WIDEST + 1) == {WIDEST, blocks_of("float64")[0]}
    calls, check_own = iter(range(WIDEST + 1)), node.check
    node.check = lambda name: check_own(name if name == method and next(calls) == WIDEST else "")
    node.fails_in = method
    with pytest.raises(ZeroDivisionError, match=method):
        graph.accumulate({x: samples})


@pytest.mark.parametrize("method", ["calcData", "calcPartialDerivative"])
@pytest.mark.parametrize("repeat", [False, True])
def test_an_exception_amid_a_block_leaves_sums_and_parameters(method, repeat, request):
    nodes = body(Failing)
    if repeat:
        repeatable(nodes)
        request.getfixturevalue("over_lanes_twice")
    x, node = nodes[0], nodes[2]
    graph = CG.Graph(nodes[-1], layout="lanes")
    samples = np.random.default_rng(0).uniform(-1, 1, (8, 20))
    graph.accumulate({x: samples})
    before = [(p.value.copy(), p.grad.copy()) for p in graph.parameters]
    calls = iter(range(100))
    check_own = node.check
    node.check = lambda name: check_own(name if name == method and next(calls) == 5 else "")
    node.fails_in = method
    for call in (lambda: graph.accumulate({x: samples}), lambda: graph.step({x: samples}, 1.0)):
        calls = iter(range(100))
        with pytest.raises(ZeroDivisionError, match=method):
            call()
        for parameter, (value, total) in zip(graph.parameters, before, strict=True):
            np.testing.assert_array_equal(parameter.value, value)
            np.testing.assert_array_equal(parameter.grad, total)
    with pytest.raises(RuntimeError, match=r"needs a forward"):
        graph.backward()
    node.fails_in = None
    graph.accumulate({x: samples})
    for parameter, (_, total) in zip(graph.parameters, before, strict=True):
        np.testing.assert_allclose(parameter.grad, 2 * total)


def test_an_own_node_with_parameters_learns_among_lanes():
    graph = check(lambda: body(Scale, np.linspace(0.5, 1, 30)), "float64")
    assert executors(graph).layouts.backward.lanes > 1


def test_frozen_parameters_stay_whichever_way_their_nodes_are_run():
    nodes = body(Scale, np.linspace(0.5, 1, 30))
    graph = CG.Graph(nodes[-1], layout="lanes")
    parameters = graph.parameters
    for parameter in parameters[::2]:
        parameter.trainable = False
    before = [p.value.copy() for p in parameters]
    graph.train({nodes[0]: np.ones((9, 20))}, ETA, batch=8)
    changed = [bool((p.value != old).any()) for p, old in zip(parameters, before, strict=True)]
    assert changed == [False, True, False]


def summary_of(graph, capsys):
    """Returns the layouts of all steps, and the line about batches."""
    graph.summary()
    *rows, last = capsys.readouterr().out.splitlines()
    return [row.split()[-1] for row in rows[1:-1]], last


def test_summary_says_which_steps_take_one_sample_and_why(capsys):
    steps, line = summary_of(CG.Graph(body(Remembering)[-1], layout="lanes"), capsys)
    assert steps == ["lanes", "samples", "samples", "samples"]
    assert line.startswith(
        f"batches: up to {WIDEST} samples at a time, but one in steps 2 to 4 (Remembering may not compute twice: see "
        f"_repeatable); without gradients up to {WIDEST} samples at a time, but one in step 2; in one thread, since "
        "Remembering is computed in Python; "
    )


def test_summary_of_repeatable_nodes_blames_nobody(capsys, over_lanes_twice):
    nodes = repeatable(body(Remembering))
    steps, line = summary_of(CG.Graph(nodes[-1], layout="lanes"), capsys)
    assert steps == ["lanes", "samples", "lanes", "lanes"]
    assert line.startswith(
        f"batches: up to {WIDEST} samples at a time, but one in step 2; in one thread, since Remembering is "
        "computed in Python"
    )


def test_summary_says_why_all_samples_go_one_by_one(capsys):
    x = CG.Leaf1(3)
    loss = CG.Norm2(Failing(Remembering(x)))
    assert summary_of(CG.Graph(loss, layout="lanes"), capsys)[1].startswith(
        "batches: one sample at a time (no step lies in front of them, and Remembering, Failing may not compute twice: "
        f"see _repeatable); without gradients up to {WIDEST} samples at a time, but one in steps 1 to 2; in one "
        "thread, since Remembering, Failing are computed in Python; "
    )
    line = summary_of(CG.Graph(loss, layout="samples"), capsys)[1]
    assert line.startswith("batches: one sample at a time; in one thread, since Remembering, ")


def test_the_memory_of_both_layouts_counts():
    """One sample at a time with gradients, blocks without them."""
    loss = CG.Norm2(Failing(Remembering(CG.Leaf1(3))))
    each = executors(CG.Graph(loss, layout="lanes"))
    blocks = each._lanes[False]
    assert each.nbytes == each.samples.nbytes + sum(x.nbytes for x in blocks.values())
    assert sorted(blocks) == blocks_of("float64")


def test_a_graph_without_a_loss_has_the_layout_of_predictions(capsys):
    nodes = body(Remembering)
    steps, line = summary_of(CG.Graph(nodes[3], layout="lanes"), capsys)
    assert steps == ["lanes", "samples", "lanes"]
    assert line.startswith(
        f"batches: up to {WIDEST} samples at a time, but one in step 2; in one thread"
    )


def test_many_elements_in_front_of_a_python_node_are_not_copied_for_little_work():
    """Copies of single samples cost more than lanes save on a cheap layer with many elements."""
    layouts = []
    for outputs, inputs in ((4096, 8), (64, 784)):
        x = CG.Leaf1(inputs, dtype="float32")
        node = Remembering(CG.Affine(x, np.zeros((inputs + 1, outputs))))
        layouts.append(executors(CG.Graph(CG.Norm2(node))).layouts.backward.lanes)
    assert layouts[0] == 1 < layouts[1]


def test_a_class_with_a_calcData_of_its_own_must_declare_again_that_it_may_run_twice():
    class Repeatable(Remembering):
        _repeatable = True

    class Inheriting(Repeatable):
        def calcPartialDerivative(self):
            super().calcPartialDerivative()

    class Overriding(Repeatable):
        def calcData(self):
            super().calcData()

    found = []
    for cls in (Remembering, Repeatable, Inheriting, Overriding):
        loss = CG.Norm2(CG.Affine(cls(CG.Leaf1(300)), np.zeros((301, 300))))
        found.append(executors(CG.Graph(loss, layout="lanes")).layouts.backward.lanes > 1)
    assert found == [False, True, True, False]


def test_where_all_samples_go_one_by_one_the_nodes_show_the_last_one():
    x = CG.Leaf1(3)
    node = Remembering(x)
    graph = CG.Graph(CG.Norm2(CG.Affine(node, np.ones((4, 1)))), layout="lanes", leaf_grads=True)
    graph.predict({x: np.ones((3, 3))})  # makes the executor for forward passes
    graph.accumulate({x: [[1, 1, 1], [1, -2, 3]]})
    assert node.data.tolist() == [1, 0, 3]
    assert x.grad.tolist() == [1, 0, 1]
