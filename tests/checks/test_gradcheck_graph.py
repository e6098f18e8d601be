"""gradcheck of a Graph checks the Graph's own passes, and leaves its state unchanged."""

import numpy as np
import pytest
from amounts import one_in, over_slopes
from op_row import build, leaf_of
from random_graphs import Recipe

import cgraph as CG

both_modes = pytest.mark.parametrize("mode", ["full", "projection"])


class Wrong(CG.Affine):
    """An affine node whose weight gradient is wrong in one element."""

    def calcPartialDerivative(self):
        super().calcPartialDerivative()
        self.gradWeight[1, 0] += 0.25


def network(kind=CG.Affine, dtype="float64"):
    """A convolutional network for images of 6 × 6 with two targets: image, target, dense node, loss."""
    rng = np.random.default_rng(0)
    image, target = CG.Leaf2(6, 6, dtype=dtype), CG.Leaf1(2, dtype=dtype)
    image.getInput(rng.normal(size=36))
    target.getInput([0.0, 1.0])
    maps = [CG.Tanh(CG.Convolution2d([image], rng.normal(size=(1, 3, 3)), 0.1)) for _ in range(3)]
    pooled = CG.Concatenation([CG.MaxPooling2d(node, 2, 2, 2) for node in maps])
    dense = kind(pooled, rng.normal(size=(13, 2)) / 4)
    return image, target, dense, CG.CEE(CG.Softmax(dense), target)


def feed(image, target, count=5):
    rng = np.random.default_rng(1)
    return {image: rng.normal(size=(count, 36)), target: np.eye(2)[rng.integers(2, size=count)]}


@both_modes
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_graph_has_the_same_rows_as_its_loss(mode, dtype):
    loss = network(dtype=dtype)[-1]
    expected = CG.gradcheck(loss, mode=mode)
    report = CG.gradcheck(CG.Graph(loss), mode=mode)
    assert [row[:3] for row in map(described, report)] == [
        row[:3] for row in map(described, expected)
    ]
    tolerance = 1e-12 if dtype == "float64" else 1e-4
    for row, other in zip(report, expected, strict=True):
        if row.index == other.index and mode == "full":  # the worst direction may be another one
            assert row.analytic == pytest.approx(other.analytic, rel=tolerance, abs=tolerance)


@over_slopes(large=50)
def test_gradients_of_every_op_are_the_slopes_of_the_data(row, case, mode, gradcheck):
    node = build(row, case, "float64").node
    weights = leaf_of((node.height, node.width), "float64")
    weights.getInput(np.random.default_rng(2).standard_normal(node.size))
    gradcheck(CG.Graph(CG.Dots(node, weights)), mode=mode)


@pytest.mark.parametrize("seed", one_in(2, range(100, 160)))
def test_gradcheck_finds_nothing_wrong_in_random_graphs(seed, gradcheck):
    recipe = Recipe(seed)
    nodes, rng = recipe.nodes("float64"), np.random.default_rng(seed)
    for node in nodes:
        if not node.backward:
            node.getInput(rng.standard_normal((node.height, node.width)).reshape(-1))
    for end in recipe.ends:
        gradcheck(CG.Graph(nodes[end]), mode="projection")


def described(row):
    return row.node, row.number, row.parameter


@both_modes
def test_a_wrong_gradient_is_named(mode):
    _, _, dense, loss = network(Wrong)
    with pytest.raises(CG.GradientError, match=r"Wrong\(shape=\(2, 1\).*weight") as caught:
        CG.gradcheck(CG.Graph(loss), mode=mode)
    assert (caught.value.node, caught.value.parameter) == (dense, "weight")


def test_it_is_the_graph_that_is_checked(monkeypatch):
    """A fault of the Graph alone is found, although the passes of the nodes are right."""
    graph = CG.Graph(network()[-1])
    backward = CG.Graph.backward

    def wrong(self):
        backward(self)
        self.nodes[0].grad[2] += 1

    monkeypatch.setattr(CG.Graph, "backward", wrong)
    with pytest.raises(CG.GradientError, match=r"Leaf2.*data at \(2,\)"):
        CG.gradcheck(graph)


def test_a_sum_that_a_graph_overwrites_is_an_error(monkeypatch):
    *_, dense, loss = network()
    graph = CG.Graph(loss)
    backward = CG.Graph.backward

    def overwriting(self):
        dense.gradWeight[...] = 0
        backward(self)

    monkeypatch.setattr(CG.Graph, "backward", overwriting)
    with pytest.raises(CG.GradientError, match="weight"):
        CG.gradcheck(graph)


@pytest.mark.parametrize("leaf_grads", [None, True, False, "image"])
def test_leaves_without_a_gradient_are_left_out(leaf_grads):
    image, target, _, loss = network()
    graph = CG.Graph(loss, leaf_grads=[image] if leaf_grads == "image" else leaf_grads)
    computed = {None: {image, target}, True: {image, target}, False: set(), "image": {image}}
    report = CG.gradcheck(graph, mode="projection")
    assert {row.node for row in report if row.parameter == "data"} == computed[leaf_grads]
    assert len(report) == len(computed[leaf_grads]) + 3 * 2 + 1
    for leaf in (image, target):
        if leaf not in computed[leaf_grads]:
            with pytest.raises(ValueError, match="whose gradient the Graph computes, got Leaf"):
                CG.gradcheck(graph, wrt=[leaf])


def test_other_consumers_of_the_nodes_do_not_matter():
    image, _, _, loss = network()
    graph = CG.Graph(loss)
    CG.Norm2(image)
    CG.gradcheck(graph, mode="projection")


def test_graphs_without_one_loss_are_refused():
    _, _, dense, loss = network()
    for outputs, sizes in ((dense, r"1 of sizes \[2\]"), ([loss, dense], r"2 of sizes \[1, 2\]")):
        with pytest.raises(ValueError, match=f"one output of one element, got {sizes}"):
            CG.gradcheck(CG.Graph(outputs))
    older = CG.Graph(loss)
    CG.Graph(loss)
    with pytest.raises(RuntimeError, match="belong to a newer Graph"):
        CG.gradcheck(older)


def trained(graph, image, target):
    return graph.train(feed(image, target), 0.1)


def lent_while_trained(graph, image, target):
    """Trains while views of all parameters and gradient sums are referred to, as they are until the test ends."""
    views = [(p.value, p.grad) for p in graph.parameters]
    trained(graph, image, target)
    image.views = views


def unfrozen(graph, image, target):
    """Freezes a kernel of a fused group, and unfreezes it, of which the Graph learns in its next call."""
    kernel = graph.parameters[0]
    kernel.trainable = False
    graph.accumulate(feed(image, target))
    kernel.trainable = True


BEFORE = {
    "nothing": lambda graph, image, target: None,
    "forward": lambda graph, image, target: graph.forward(),
    "backward": lambda graph, image, target: (graph.forward(), graph.backward()),
    "accumulate": lambda graph, image, target: graph.accumulate(feed(image, target)),
    "train": trained,
    "unfreezing": lambda graph, image, target: unfrozen(graph, image, target),
    "arrays lent": lambda graph, image, target: lent_while_trained(graph, image, target),
    "a pass of the nodes": lambda graph, image, target: (
        image.forwardPropagation(),
        target.forwardPropagation(),
    ),
}  # fmt: skip


def visible(graph, leaf_grads=True):
    """Returns copies of all arrays of the nodes; to be called last, since it exposes them."""
    nodes = [node for node in graph.nodes if leaf_grads or node not in graph.leaves]
    shown = [np.array(a) for node in graph.nodes for a in (node.data, node.f_count, node.b_count)]
    sums = [a.copy() for p in graph.parameters for a in (p.value, p.grad)]
    return [*shown, *sums, *(node.grad.copy() for node in nodes)]


@pytest.mark.parametrize("check", ["graph", "loss", "fails"])
@pytest.mark.parametrize("before", BEFORE)
def test_a_graph_goes_on_as_if_nothing_had_been(before, check):
    """Arrays and later results equal those of a twin that is not checked.

    All samples go through the nodes' own arrays, so that there are gradients to compare.
    """
    image, target, dense, loss = network()
    twin = network()
    graphs = [CG.Graph(loss, layout="samples"), CG.Graph(twin[-1], layout="samples")]
    samples = [feed(image, target), feed(*twin[:2])]
    BEFORE[before](graphs[0], image, target)
    BEFORE[before](graphs[1], *twin[:2])
    residency = graphs[0]._executable.residency

    def state():
        return (
            residency.memory.grads_are_zero,
            len(residency.lent_arrays),
            residency.gradients,
            residency.backward_may_follow,
        )

    flags = state()
    if check == "fails":
        with pytest.raises(ValueError, match="eps is too small"):
            CG.gradcheck(graphs[0], eps=1e-30)
    else:
        CG.gradcheck(graphs[0] if check == "graph" else loss, mode="projection")
    assert flags == state()
    for graph in graphs:
        if before == "forward":
            graph.backward()
        else:
            with pytest.raises(RuntimeError, match="needs a forward"):
                graph.backward()
    without_leaf_grads = before in ("train", "arrays lent")
    for value, expected in zip(*(visible(g, not without_leaf_grads) for g in graphs), strict=True):
        np.testing.assert_array_equal(value, expected)
    losses = [g.train(s, 0.1) for g, s in zip(graphs, samples, strict=True)]
    np.testing.assert_array_equal(*losses)
    np.testing.assert_array_equal(dense.weight, twin[2].weight)


def test_a_check_of_nodes_of_an_older_graph_leaves_what_a_newer_one_holds():
    *_, dense, loss = network()
    CG.Graph(loss).forward()
    body = CG.Graph(dense.backward)
    held = [np.full(p.shape, 0.5) for p in CG.parameters(loss)]
    for p, value in zip(CG.parameters(loss), held, strict=True):
        p.value = value
    body.forward()
    CG.gradcheck(loss, mode="projection")
    body.forward()
    for p, value in zip(CG.parameters(loss), held, strict=True):
        np.testing.assert_array_equal(p.value, value)


def test_a_graph_can_learn_while_it_goes_backward_after_a_check_as_before():
    """Arrays that only the check has read are not lent afterwards."""
    *_, loss = network()
    graph = CG.Graph(loss)
    CG.gradcheck(graph, mode="projection")
    CG.gradcheck(loss, mode="projection")
    assert not graph._executable.residency.lent_arrays


def test_the_state_of_own_nodes_in_a_graph_is_put_back():
    class Counting(CG.ReLU):
        calls = 0

        def calcData(self):
            self.calls += 1
            super().calcData()

    x = CG.Leaf1(3)
    x.getInput([1.0, 2.0, 3.0])
    node = Counting(x)
    graph = CG.Graph(CG.Norm2(node))
    graph.forward()
    CG.gradcheck(graph)
    assert node.calls == 1
