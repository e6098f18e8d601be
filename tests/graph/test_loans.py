"""Arrays that nodes hand out count while they live: what is written into them counts, and what is learnt shows."""

import gc

import numpy as np
import pytest

import cgraph as CG

RNG = np.random.default_rng(0)
IMAGES, LABELS = RNG.normal(size=(100, 28, 28)), RNG.normal(size=(100, 10))
NAMES = ("value", "grad")


def network():
    """Builds 32 convolutions of a 28 × 28 image, whose kernels a Graph packs, and an Affine, whose weights it moves."""
    rng = np.random.default_rng(1)
    x, t = CG.Leaf2(28, 28), CG.Leaf1(10)
    maps = [CG.Convolution2d([x], rng.normal(size=(1, 3, 3)), 0.1) for _ in range(32)]
    flat = CG.Concatenation([CG.MaxPooling2d(CG.ReLU(c), 2, 2, 2) for c in maps])
    return x, t, CG.MSE(CG.Affine(flat, rng.normal(size=(flat.size + 1, 10)) * 0.01), t)


def twins(threads=1, held=()):
    """Returns two equal networks as (Graph, feed, parameters), and the arrays of the first that were held before."""
    built, views = [], []
    for number in range(2):
        x, t, loss = network()
        parameters = CG.parameters(loss)
        if number == 0:
            views = [[getattr(p, name) for p in parameters] for name in held]
        built.append((CG.Graph(loss, threads=threads), {x: IMAGES, t: LABELS}, parameters))
    return (*built, views)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("threads", [1, 2])
def test_views_that_are_kept_are_up_to_date_and_change_no_bit(when, threads):
    (graph, feed, ours), (twin, twin_feed, theirs), views = twins(
        threads, NAMES if when == "before" else ()
    )
    if when == "after":
        views = [[getattr(p, name) for p in ours] for name in NAMES]
    for batch in (1, 7, 50):
        losses = graph.train(feed, 1e-4, batch)
        np.testing.assert_array_equal(losses, twin.train(twin_feed, 1e-4, batch))
    np.testing.assert_array_equal(graph.accumulate(feed), twin.accumulate(twin_feed))
    for name, held in zip(NAMES, views, strict=True):
        for view, p in zip(held, theirs, strict=True):
            np.testing.assert_array_equal(view, getattr(p, name))


@pytest.mark.parametrize("held", [(), NAMES])
def test_writes_count_in_the_next_call_also_where_the_view_is_dead(held):
    (graph, feed, ours), (twin, twin_feed, theirs), _views = twins(held=held)
    graph.train(feed, 1e-4, 10)
    twin.train(twin_feed, 1e-4, 10)
    for p, q in zip(ours, theirs, strict=True):
        p.value[...] *= 0.5
        q.value = q.value * 0.5
        p.grad[...] = 0.25
        q.grad = np.full(q.shape, 0.25)
    gc.collect()
    np.testing.assert_array_equal(graph.accumulate(feed), twin.accumulate(twin_feed))
    graph.update(1e-4)
    twin.update(1e-4)
    for p, q in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(p.value, q.value)
        assert not p.grad.any()


@pytest.mark.parametrize("over", ["the building of the Graph", "a call"])
def test_a_write_into_a_view_that_was_kept_and_then_dropped_counts(over):
    is_call = over == "a call"
    (graph, feed, ours), (twin, twin_feed, theirs), views = twins(held=() if is_call else NAMES[:1])
    if is_call:
        views = [[ours[0].value]]
        graph.step(feed, 1e-4)
        twin.step(twin_feed, 1e-4)
    views[0][0][...] = 3
    del views
    theirs[0].value = np.full((1, 3, 3), 3.0)
    np.testing.assert_array_equal(graph.step(feed, 1e-4), twin.step(twin_feed, 1e-4))
    np.testing.assert_array_equal(ours[0].value, theirs[0].value)


def test_what_is_no_longer_referred_to_is_no_longer_lent():
    (graph, feed, ours), *_ = twins()
    views = [(p.value, p.grad) for p in ours]
    slices = [value[:1].T for value, _ in views]
    residency = graph._executable.residency
    assert len(residency.lent_arrays) == 64 + 65  # an Affine's weights are a view of the arena
    del views
    assert len(residency.lent_arrays) == 64
    del slices
    graph.step(feed, 1e-4)
    assert not residency.lent_arrays
    assert residency._lent == ([], [])
    assert residency.memory.grads_are_zero


def test_sums_that_are_kept_end_fused_sgd_only_where_they_are_not_0():
    (graph, feed, ours), *_ = twins()
    sums = [p.grad for p in ours]
    memory = graph._executable.memory
    for _ in range(2):
        graph.step(feed, 1e-4)
        assert memory.grads_are_zero
    graph.accumulate(feed)
    assert not memory.grads_are_zero
    assert all(total.any() for total in sums)
    graph.zero_grad()
    assert memory.grads_are_zero
    assert not any(total.any() for total in sums)


def test_data_and_gradients_that_were_read_before_a_graph_was_built_are_read_only():
    x, t, loss = network()
    old = [array for node in CG.ancestors(loss) for array in (node.data, node.grad)]
    CG.Graph(loss)
    for array in old:
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
    x.data[0] = t.data[0] = 1


def test_the_summary_names_the_arrays_that_are_referred_to(capsys):
    (graph, _, ours), *_ = twins()
    graph.summary()
    assert "referred to" not in capsys.readouterr().out
    views = [p.value for p in ours]
    graph.summary()
    line = capsys.readouterr().out.splitlines()[-1]
    start = "referred to, and copied by each call: kernel of Convolution2d(shape=(26, 26)"
    assert line.startswith(start)
    assert line.endswith(f" and {len(views) - 1 - 5} more")


def test_a_graph_that_is_dropped_leaves_its_nodes_all_that_they_hold():
    (graph, feed, ours), (twin, twin_feed, theirs), _ = twins()
    for each, fed in ((graph, feed), (twin, twin_feed)):
        each.train(fed, 1e-4, 10)
        each.accumulate(fed)
    del graph, each
    gc.collect()
    for p, q in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(p.value, q.value)
        np.testing.assert_array_equal(p.grad, q.grad)
