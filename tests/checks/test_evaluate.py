"""CG.evaluate: the data of a node without a pass, beside passes and beside Graphs."""

import numpy as np
import pytest
from own_nodes import Failing
from random_graphs import Recipe

import cgraph as CG


def recipe_and_leaves(seed, dtype="float64"):
    recipe = Recipe(seed)
    nodes = recipe.nodes(dtype)
    return recipe, nodes, [nodes[k] for k in recipe.leaves]


def feed(leaves, rng):
    for leaf in leaves:
        leaf.getInput(rng.uniform(-1, 1, leaf.size))


def rest(nodes):
    """Returns all state that evaluate must not change."""
    sums = [p.grad.tolist() for node in nodes for p in CG.parameters(node) if p.node is node]
    return [(node.b_count, node.f_count, node.grad.tolist()) for node in nodes], sums


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("seed", range(30))
def test_it_computes_what_a_pass_would_and_leaves_the_rest_alone(seed, dtype):
    recipe, nodes, leaves = recipe_and_leaves(seed, dtype)
    rng = np.random.default_rng(seed)
    feed(leaves, rng)
    for leaf in leaves:
        leaf.forwardPropagation()
    for k in recipe.ends:
        nodes[k].backwardPropagation()
    feed(leaves, rng)
    leaves[0].forwardPropagation()  # half a pass
    before = rest(nodes)
    order = rng.permutation(len(nodes))
    found = {int(k): CG.evaluate(nodes[k]) for k in order}
    assert rest(nodes) == before
    for leaf in leaves[1:]:
        leaf.forwardPropagation()
    for k, data in found.items():
        assert data.shape == (nodes[k].size,)
        assert data.dtype == nodes[k].dtype
        assert not np.shares_memory(data, nodes[k].data)
        assert data.tolist() == nodes[k].data.tolist()


def test_the_ends_that_depend_on_it_need_a_complete_forward_pass_and_no_others():
    x, s = CG.Leaf1(1), CG.Leaf1(1)
    y = CG.Affine(x, [[2.0], [0.0]])
    loss, both, other = CG.Norm2(y), CG.Dots(y, s), CG.Norm2(s)
    for leaf in (x, s):
        leaf.getInput([3.0])
        leaf.forwardPropagation()
    assert CG.evaluate(y).tolist() == [6.0]
    for end in (loss, both):
        with pytest.raises(RuntimeError, match="needs a completed forward pass first"):
            end.backwardPropagation()
    other.backwardPropagation()
    for leaf in (x, s):
        leaf.forwardPropagation()
    for end in (loss, both):
        end.backwardPropagation()
    assert y.gradWeight.ravel().tolist() == [12.0, 4.0]


def test_an_own_node_that_raises_leaves_all_but_data_as_it_was_and_the_ends_without_a_pass():
    x = CG.Leaf1(1)
    own = Failing(CG.Affine(x, [[2.0], [0.0]]))
    loss = CG.Norm2(own)
    x.forwardPropagation()
    before = rest(CG.ancestors(loss))
    own.fails_in = "calcData"
    with pytest.raises(ZeroDivisionError):
        CG.evaluate(loss)
    assert rest(CG.ancestors(loss)) == before
    with pytest.raises(RuntimeError, match="needs a completed forward pass first"):
        loss.backwardPropagation()
    own.fails_in = None
    x.getInput([1.0])
    assert CG.evaluate(loss).tolist() == [2.0]


def test_detect_anomaly_watches_evaluate():
    x = CG.Leaf1(1)
    x.getInput([np.nan])
    with CG.detect_anomaly(), pytest.raises(CG.AnomalyError, match=r"Leaf1.* data\[0\] is nan"):
        CG.evaluate(x)


def images(dtype="float64"):
    """Builds two groups of convolutions, whose kernels a Graph stores in another order, and a loss."""
    rng = np.random.default_rng(0)
    image, target = CG.Leaf2(6, 6, dtype=dtype), CG.Leaf1(2, dtype=dtype)
    maps = [image]
    for count in (3, 2):
        shape = (len(maps), 3, 3)
        maps = [CG.ReLU(CG.Convolution2d(maps, rng.normal(size=shape), 0.1)) for _ in range(count)]
    flat = CG.Concatenation(maps)
    y = CG.Affine(flat, rng.normal(size=(flat.size + 1, 2)))
    return image, target, y, CG.MSE(y, target)


def samples(image, target, count=20):
    rng = np.random.default_rng(1)
    return {image: rng.normal(size=(count, 36)), target: rng.normal(size=(count, 2))}


@pytest.mark.parametrize("layout", ["lanes", "samples"])
@pytest.mark.parametrize("looked_at", [False, True])
def test_beside_a_graph_it_computes_with_what_was_learnt_and_changes_neither_results_nor_speed(
    layout, looked_at
):
    (image, target, y, loss), (twin_image, twin_target, _, twin_loss) = images(), images()
    graph, twin = CG.Graph(loss, layout=layout), CG.Graph(twin_loss, layout=layout)
    residency = graph._executable.residency
    if looked_at:
        kernel = CG.parameters(loss)[0].value
    feeds, twin_feeds = samples(image, target), samples(twin_image, twin_target)
    for _ in range(3):
        losses = graph.train(feeds, 1e-3, 4)
        assert (len(residency.lent_arrays), residency.memory.grads_are_zero) == (looked_at, True)
        image.getInput(np.arange(36.0))
        assert CG.evaluate(y) == pytest.approx(graph.predict({image: [np.arange(36.0)]}, y)[0])
        CG.evaluate(y)
        assert (len(residency.lent_arrays), residency.memory.grads_are_zero) == (looked_at, True)
        assert losses.tolist() == twin.train(twin_feeds, 1e-3, 4).tolist()
    if looked_at:
        assert kernel.tolist() == CG.parameters(twin_loss)[0].value.tolist()


def test_a_graph_needs_a_forward_before_its_backward_and_so_do_its_nodes():
    image, target, y, loss = images()
    graph = CG.Graph(loss)
    graph.forward()
    CG.evaluate(y)
    with pytest.raises(RuntimeError, match=r"Graph.backward: needs a forward\(\)"):
        graph.backward()
    with pytest.raises(RuntimeError, match="needs a completed forward pass first"):
        loss.backwardPropagation()
    graph.forward()
    graph.backward()
    shown = image.grad.copy()
    CG.evaluate(loss)
    assert image.grad.tolist() == shown.tolist()
    for leaf in (image, target):
        leaf.forwardPropagation()
    loss.backwardPropagation()
    assert image.grad == pytest.approx(shown)
