"""What a Learner takes as samples: arrays of every kind, numbers, and what it refuses."""

import gc
import tracemalloc

import numpy as np
import pytest
from streams import Net, samples

import cgraph as CG

X, Y = [0.25, -0.5, 0.75], [0.5, -0.25]


class Derived(np.ndarray):
    """An array of a class of its own."""


def strided(values, dtype):
    rows = np.zeros((len(values), 5), dtype)
    rows[:, 2] = values
    return rows[:, 2]


def read_only(values, dtype):
    array = np.array(values, dtype)
    array.flags.writeable = False
    return array


def unaligned(values, dtype):
    raw = np.zeros(len(values) * 8 + 1, np.uint8)
    size = np.dtype(dtype).itemsize
    array = raw[1 : 1 + len(values) * size].view(dtype)
    array[...] = values
    return array


FORMS = {
    "array": np.array,
    "list": lambda values, dtype: list(values),
    "tuple": lambda values, dtype: tuple(values),
    "float32": lambda values, dtype: np.array(values, "float32"),
    "float64": lambda values, dtype: np.array(values, "float64"),
    "float16": lambda values, dtype: np.array(values, "float16"),
    "swapped": lambda values, dtype: np.array(values, np.dtype(dtype).newbyteorder()),
    "strided": strided,
    "reversed": lambda values, dtype: np.array(values[::-1], dtype)[::-1],
    "read-only": read_only,
    "unaligned": unaligned,
    "derived": lambda values, dtype: np.array(values, dtype).view(Derived),
    "matrix": lambda values, dtype: np.array(values, dtype)[:, None],
    "memoryview": lambda values, dtype: memoryview(np.array(values, dtype)),
}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("form", FORMS)
def test_arrays_of_every_kind(form, dtype):
    one, other = Net(dtype=dtype), Net(dtype=dtype)
    learner = one.learner(0.05)
    make = FORMS[form]
    for _ in range(3):
        x, y = make(X, dtype), make(Y, dtype)
        assert learner.learn_one(x, y) == other.graph.step(other.feed(X, Y), 0.05)[0]
        assert (
            learner.step_one(x, Y).tolist()
            == other.graph.predict({other.x: [X]}, other.y)[0].tolist()
        )
        other.graph.step(other.feed(X, Y), 0.05)
        assert one.state() == other.state()
        assert np.asarray(x).tolist() == np.array(X, dtype).reshape(np.shape(x)).tolist()


def test_integers_and_truth_values():
    net, twin = Net(), Net()
    learner = net.learner(0.05)
    for x in (np.array([1, 0, 1]), np.array([True, False, True]), np.array([1, 0, 1], "u1")):
        assert (
            learner.learn_one(x, [1, 0]) == twin.graph.step(twin.feed([1, 0, 1], [1, 0]), 0.05)[0]
        )


def scalar_net(dtype):
    x, t = CG.Leaf1(1, dtype=dtype), CG.Leaf1(1, dtype=dtype)
    y = CG.Affine(x, [[0.5], [0.25]])
    return CG.Learner(CG.Graph(CG.MSE(y, t)), x, t, y, 0.05)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_numbers_for_leaves_of_one_element(dtype):
    right = scalar_net(dtype)
    expected = [right.learn_one([0.5], [0.3]) for _ in range(3)]
    forms = (
        lambda v: v,
        np.float64,
        np.float32,
        lambda v: np.array(v, dtype),
        lambda v: np.array([v], dtype),
        lambda v: np.array([[v]], dtype),
        lambda v: [[v]],
    )
    for form in forms:
        learner = scalar_net(dtype)
        found = [learner.learn_one(form(0.5), form(0.3)) for _ in range(3)]
        if form is np.float32 and dtype == "float64":
            np.testing.assert_allclose(found, expected, rtol=1e-6)
        else:
            assert found == expected
        assert type(learner.predict_one(form(0.5))) is float
        assert type(learner.step_one(1, True)) is float
    assert scalar_net(dtype).predict_one(2) == 1.25


def test_a_number_too_large_for_float32_becomes_infinite_as_in_a_feed():
    learner = scalar_net("float32")
    learner.predict_one(1.0)
    with pytest.warns(RuntimeWarning, match="overflow"):
        assert learner.predict_one(1e300) == np.inf
    assert np.isnan(learner.predict_one(np.nan))
    assert learner.predict_one(np.inf) == np.inf


def test_images():
    x, t = CG.Leaf2(2, 3), CG.Leaf1(1)
    y = CG.Affine(x, np.linspace(-1, 1, 7)[:, None])
    learner = CG.Learner(CG.Graph(CG.MSE(y, t)), x, t, y, 0.01)
    image = np.arange(6.0).reshape(2, 3)
    expected = learner.predict_one(image.ravel())
    for form in (image, image.tolist(), np.asfortranarray(image), image.astype("f4")):
        assert learner.predict_one(form) == expected
    for wrong in (image.T, image[None], np.asfortranarray(image.T)):
        with pytest.raises(ValueError, match=r"x must have shape \(6,\) or \(2, 3\), got"):
            learner.predict_one(wrong)


def test_arrays_of_the_graph_are_samples_like_others():
    net, twin = Net(), Net()
    learner = net.learner(0.05)
    for x, y in samples(4):
        learner.predict_one(x)
        kept = net.y.data.copy()
        learner.learn_one(x, net.y.data)  # the target is the present prediction
        twin.graph.step(twin.feed(x, kept), 0.05)
        assert net.state() == twin.state()
        learner.learn_one(net.x.data, y)
        twin.graph.step(twin.feed(x, y), 0.05)
        assert net.state() == twin.state()


WRONG = (
    ([1, 2], Y, ValueError, r"x must have shape \(3,\) or \(3, 1\), got \(2,\)"),
    ([[1, 2, 3]], Y, ValueError, r"x must have shape .*, got \(1, 3\)"),
    (np.ones((1, 3)), Y, ValueError, r"x must have shape .*, got \(1, 3\)"),
    (1.0, Y, ValueError, r"x must have shape .*, got \(\)"),
    (X, [1, 2, 3], ValueError, r"y must have shape .*, got \(3,\)"),
    (X, 1, ValueError, r"y must have shape .*, got \(\)"),
    ("abc", Y, TypeError, "x must hold real numbers"),
    (None, Y, TypeError, "x must hold real numbers"),
    (np.array(["a", "b", "c"]), Y, TypeError, "x must hold real numbers"),
    (np.ones(3, complex), Y, TypeError, "x must hold real numbers"),
    (np.array([1, 2, 3], "M8[s]"), Y, TypeError, "x must hold real numbers"),
    ([[1], [2, 3]], Y, ValueError, "x must be a rectangular array"),
    ({"a": 1.0}, Y, TypeError, "x must hold real numbers"),
    (X, None, TypeError, "y must hold real numbers"),
)


@pytest.mark.parametrize(("x", "y", "kind", "message"), WRONG)
def test_what_is_no_sample_is_refused_before_anything_changes(x, y, kind, message):
    net, twin = Net(), Net()
    learner, other = net.learner(CG.Adam()), twin.learner(CG.Adam())
    for _ in range(2):
        for each in (learner, other):
            each.learn_one(X, Y)
        before = net.state(), net.x.data.tolist(), net.t.data.tolist(), dict(learner.metrics)
        for call in ("learn_one", "step_one"):
            with pytest.raises(kind, match=rf"^Learner\.{call}: {message}"):
                getattr(learner, call)(x, y)
        if not message.startswith("y"):
            with pytest.raises(kind, match=rf"^Learner\.predict_one: {message}"):
                learner.predict_one(x)
        assert (
            net.state(),
            net.x.data.tolist(),
            net.t.data.tolist(),
            dict(learner.metrics),
        ) == before
        net.graph.sample(0)
        assert net.x.data.tolist() == X
    assert net.state() == twin.state()


def test_values_that_are_not_finite_are_taken_as_they_are():
    net, twin = Net(), Net()
    learner = net.learner(0.05)
    learner.learn_one(X, Y)
    twin.graph.step(twin.feed(X, Y), 0.05)
    assert np.isnan(learner.learn_one([np.nan, 0, 0], Y))
    twin.graph.step(twin.feed([np.nan, 0, 0], Y), 0.05)
    np.testing.assert_array_equal(
        np.concatenate([p.value.ravel() for p in CG.parameters(net.loss)]),
        np.concatenate([p.value.ravel() for p in CG.parameters(twin.loss)]),
    )


def test_calls_keep_no_memory():
    learner = Net().learner(CG.Adam(), metrics=["mae", "accuracy"])
    x, y = np.array(X), np.array(Y)

    def work(count):
        for _ in range(count):
            learner.step_one(x, y)
            learner.learn_one(X, Y)
            learner.predict_one(x)

    work(20)
    gc.collect()
    tracemalloc.start()
    try:
        work(100)
        before = tracemalloc.get_traced_memory()[0]
        work(400)
        assert tracemalloc.get_traced_memory()[0] - before < 4000
    finally:
        tracemalloc.stop()


@pytest.mark.thread_unsafe(reason="other threads start collections, too")
@pytest.mark.parametrize("rule", [0.01, CG.Adam()])
def test_calls_start_no_garbage_collection(rule):
    learner = Net().learner(rule)
    x, y = np.array(X), np.array(Y)
    learner.learn_one(x, y)
    gc.collect()
    before = [generation["collections"] for generation in gc.get_stats()]
    for _ in range(2000):
        learner.learn_one(x, y)
    assert [generation["collections"] for generation in gc.get_stats()] == before


@pytest.mark.parametrize("layout", ["samples", "lanes"])
def test_where_the_input_is_the_target_calls_take_it_alone(layout):
    def parts():
        network = CG.models.autoencoder(6, [], 2, rng=0)
        return network, CG.Graph(CG.MSE(network.output, network.x), layout=layout), CG.Adam(0.01)

    (one, graph, adam), (other, twin, theirs) = parts(), parts()
    learner = CG.Learner(graph, one.x, one.x, one.output, adam, metrics=["mae"])
    errors = []
    for k in range(6):
        x = np.random.default_rng(k).normal(size=6)
        loss, output = twin.step({other.x: [x]}, theirs, outputs=other.output)
        given = (x, x) if k == 3 else (x,)
        if k % 2:
            assert learner.learn_one(*given) == loss[0]
        else:
            assert learner.step_one(*given).tobytes() == output[0].tobytes()
        errors.append(np.abs(output[0] - x).mean())
    assert learner.metrics["mae"] == pytest.approx(np.mean(errors))
    for work in (learner.learn_one, learner.step_one):
        with pytest.raises(ValueError, match="y must be left out, since the input is the target"):
            work(x, x.copy())
