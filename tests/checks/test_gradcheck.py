"""gradcheck finds wrong gradients, names their elements and causes, and leaves all state unchanged."""

import numpy as np
import pytest
from op_row import some_indices

import cgraph as CG


class Wrong(CG.Affine):
    """An affine node whose weight gradient is wrong in one element."""

    def calcPartialDerivative(self):
        super().calcPartialDerivative()
        self.gradWeight[1, 0] += 0.25


class Slipping(CG.Affine):
    """An affine node whose weight gradient has an error in one element that is small, or negative."""

    error = 0.0

    def calcPartialDerivative(self):
        super().calcPartialDerivative()
        self.gradWeight[1, 0] += self.error


class Broken(CG.ReLU):
    """A node that raises after it has changed something."""

    def calcPartialDerivative(self):
        self.backward[0].grad[0] += 1
        raise KeyError("broken")


def regression(kind=CG.Affine, dtype="float64"):
    """x → affine → MSE against t; the leaves, the affine node, the loss."""
    x, t = CG.Leaf1(2, dtype=dtype), CG.Leaf1(3, dtype=dtype)
    x.getInput([0.5, -1.0])
    t.getInput([1.0, 2.0, 3.0])
    y = kind(x, np.arange(9.0).reshape(3, 3) / 9)
    return x, t, y, CG.MSE(y, t)


def everything(loss):
    """Returns copies of all state that gradcheck must not change."""
    return [
        [a.copy() for a in vars(node).values() if isinstance(a, np.ndarray)]
        + [list(node.forward), list(node.backward), node.f_count, node.b_count, node._has_run]
        for node in CG.ancestors(loss)
    ]


def assert_untouched(loss, before):
    for state, kept in zip(everything(loss), before, strict=True):
        for value, old in zip(state, kept, strict=True):
            np.testing.assert_array_equal(value, old)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("mode", ["full", "projection"])
def test_right_gradients_pass_with_a_row_for_each_leaf_and_parameter(dtype, mode):
    x, t, y, loss = regression(dtype=dtype)
    report = CG.gradcheck(loss, mode=mode)
    assert {(row.node, row.parameter) for row in report} == {
        (x, "data"), (t, "data"), (y, "weight")
    }  # fmt: skip
    assert all(row.error < (1e-8 if dtype == "float64" else 1e-2) for row in report)
    assert [row.index is None for row in report] == [mode == "projection"] * 3
    assert "Affine.weight" in str(report)


@pytest.mark.parametrize("mode", ["full", "projection"])
def test_a_wrong_gradient_is_named(mode):
    _, _, y, loss = regression(Wrong)
    with pytest.raises(CG.GradientError, match=r"Wrong\(shape=\(3, 1\).*weight") as caught:
        CG.gradcheck(loss, mode=mode)
    error = caught.value
    assert (error.node, error.parameter) == (y, "weight")
    assert error.index == ((1, 0) if mode == "full" else None)
    size = abs(error.analytic - error.numeric)
    assert size == pytest.approx(0.25) or (mode == "projection" and 0 < size < 0.25)
    for number in (f"{error.analytic:.6g}", f"{error.numeric:.6g}", f"{size:.3g}"):
        assert number in str(error)
    assert "kink" not in str(error)


@pytest.mark.parametrize("error", [5e-8, -5e-8])
def test_the_report_shows_the_worst_element_of_each(error):
    _, _, y, loss = regression(Slipping)
    y.error = error
    (row,) = CG.gradcheck(loss, wrt=[y])
    assert row.index == (1, 0)
    assert row.error == pytest.approx(5e-8, rel=0.1)


def test_a_gradient_that_is_too_small_is_an_error_too():
    _, _, y, loss = regression(Slipping)
    y.error = -0.25
    with pytest.raises(CG.GradientError, match=r"at \(1, 0\)"):
        CG.gradcheck(loss)


def test_a_smaller_step_is_no_excuse_for_a_wrong_gradient():
    """A smaller step has a larger tolerance; but the numeric derivative must then come nearer, and here it stays 0."""
    x, _, y, loss = regression(Slipping)
    x.getInput([0.5, 0.0])
    y.error = 1e-7
    with pytest.raises(CG.GradientError, match=r"at \(1, 0\)"):
        CG.gradcheck(loss)


def test_the_step_follows_the_size_of_the_value():
    x, t = CG.Leaf1(1), CG.Leaf1(1)
    x.getInput([1e12])
    t.getInput([1e12 - 1])
    CG.gradcheck(CG.MSE(x, t))


def test_the_tolerance_follows_the_size_of_the_loss():
    x, large = CG.Leaf1(1), CG.Leaf1(1)
    x.getInput([1.0])
    large.getInput([1e8])
    CG.gradcheck(CG.Add(CG.Dots(x, x), large))


def test_a_projection_reports_the_worst_of_its_directions(monkeypatch):
    worst = []
    for count in range(1, 6):
        monkeypatch.setattr("cgraph.checks.gradcheck.DIRECTIONS", count)
        rows = CG.gradcheck(regression()[-1], mode="projection", rng=3)
        worst.append(rows[0].error / rows[0].allowed)
    assert worst == sorted(worst)
    assert worst[0] < worst[-1]


def test_a_node_without_inputs_that_computes_its_data_is_no_leaf():
    class Three(CG.Node):
        def calcData(self):
            self.data = [3.0]

    x = CG.Leaf1(1)
    x.getInput([2.0])
    assert [row.node for row in CG.gradcheck(CG.Dots(Three(0, 1, 1), x))] == [x]


def test_sums_that_a_node_keeps_elsewhere_are_left_as_they_were():
    class Held(CG.Node):
        _parameters = (("weight", "gradWeight"),)
        weight = property(lambda self: self.held["weight"])
        gradWeight = property(lambda self: self.held["gradWeight"])

        def calcData(self):
            self.data = self.weight * self.backward[0].data

        def calcPartialDerivative(self):
            self.backward[0].grad += self.weight * self.grad
            self.gradWeight[...] += self.backward[0].data * self.grad

    x = CG.Leaf1(1)
    x.getInput([2.0])
    node = Held(1, 1, 1, [x])
    node.held = {"weight": np.array([3.0]), "gradWeight": np.array([4.0])}
    assert len(CG.gradcheck(node)) == 2
    assert (node.weight.tolist(), node.gradWeight.tolist()) == ([3.0], [4.0])


def test_wrt_chooses_what_is_checked():
    x, _, y, loss = regression(Wrong)
    assert [row.node for row in CG.gradcheck(loss, wrt=[x])] == [x]
    with pytest.raises(CG.GradientError):
        CG.gradcheck(loss, wrt=[y])
    with pytest.raises(CG.GradientError):
        CG.gradcheck(loss, wrt=CG.parameters(loss))


def relu_at_zero():
    x = CG.Leaf1(2)
    x.getInput([0.0, 1.0])
    weights = CG.Leaf1(2)
    weights.getInput([1.0, 1.0])
    return CG.Dots(CG.ReLU(x), weights)


def pooling_against_its_padding():
    """Builds a pooling whose maximum is an input and the padding's zero at once; the input gets the whole gradient."""
    x = CG.Leaf2(1, 1)
    return CG.MaxPooling2d(x, 2, 2, 1, 0, 0, 1, 1)


def prediction_below_tiny():
    x, y = CG.Leaf1(1), CG.Leaf1(1)
    y.getInput([1.0])
    return CG.CEE(x, y)


@pytest.mark.parametrize(
    "build", [relu_at_zero, pooling_against_its_padding, prediction_below_tiny]
)
def test_a_kink_is_called_a_kink(build):
    with pytest.raises(CG.GradientError, match=r"sits on a kink: .* from the left, .* from the r"):
        CG.gradcheck(build())


def test_a_tie_that_shares_its_gradient_is_no_error():
    x = CG.Leaf2(1, 2)
    x.getInput([2.0, 2.0])
    CG.gradcheck(CG.MaxPooling2d(x, 1, 2, 1))


def test_a_dangling_consumer_is_named():
    x, _, _, loss = regression()
    probe = CG.Norm2(x)
    with pytest.raises(CG.GradientError, match=r"Norm2\(.*detach") as caught:
        CG.gradcheck(loss)
    assert caught.value.node is probe
    probe.detach()
    CG.gradcheck(loss)


def test_a_node_that_was_not_pushed_is_named():
    x = CG.Leaf1(1)
    node = CG.Node(1, 1, 1)
    node.backward.append(x)
    with pytest.raises(CG.GradientError, match="pushThis") as caught:
        CG.gradcheck(node)
    assert caught.value.node is node


@pytest.mark.parametrize("kind", [CG.Affine, Wrong])
def test_everything_is_left_as_it_was(kind):
    x, t, y, loss = regression(kind)
    for leaf in (x, t):
        leaf.forwardPropagation()
    loss.backwardPropagation()
    y.data[0] = 7.0
    x.forwardPropagation()  # the loss waits
    before = everything(loss)
    try:
        CG.gradcheck(loss)
    except CG.GradientError:
        assert kind is Wrong
    assert_untouched(loss, before)


def test_everything_is_left_as_it_was_when_a_node_raises():
    x = CG.Leaf1(3)
    x.getInput([1.0, 2.0, 3.0])
    loss = CG.Norm2(Broken(x))
    before = everything(loss)
    with pytest.raises(KeyError, match="broken"):
        CG.gradcheck(loss)
    assert_untouched(loss, before)


def test_pooling_counts_are_left_as_they_were():
    x = CG.Leaf2(2, 2)
    pool = CG.MaxPooling2d(x, 2, 2, 2)
    x.getInput([1.0, 1.0, 0.0, 0.0])
    x.forwardPropagation()
    x.getInput([4.0, 3.0, 2.0, 1.0])
    CG.gradcheck(pool)
    assert pool.maxCount.tolist() == [[2]]


def test_only_ancestors_are_evaluated():
    class Counting(CG.ReLU):
        calls = 0

        def calcData(self):
            Counting.calls += 1
            super().calcData()

    _, _, _, loss = regression()
    Counting(loss)
    CG.gradcheck(loss)
    assert Counting.calls == 0


def test_projection_takes_four_passes_for_each_leaf_and_parameter():
    class Counting(CG.MSE):
        calls = 0

        def calcData(self):
            Counting.calls += 1
            super().calcData()

    x, t = CG.Leaf1(500), CG.Leaf1(100)
    x.getInput(np.linspace(-1, 1, 500))
    loss = Counting(CG.Affine(x, np.ones((501, 100))), t)
    CG.gradcheck(loss, mode="projection", rng=np.random.default_rng(3))
    assert Counting.calls == 3 + 1 + 4 * 3  # three of the contract


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        (
            {"mode": "half"},
            ValueError,
            "gradcheck: mode must be 'full' or 'projection', got 'half'",
        ),
        ({"eps": 0}, ValueError, "gradcheck: eps must be positive and finite, got 0.0"),
        ({"rtol": -1.0}, ValueError, "gradcheck: rtol must be positive and finite, got -1.0"),
        ({"atol": "1"}, TypeError, "gradcheck: atol must be a real number, got '1'"),
        ({"wrt": 3}, TypeError, "gradcheck: wrt must be a sequence of Nodes and Parameters, got 3"),
        ({"wrt": [3]}, TypeError, "gradcheck: wrt must hold Nodes and Parameters alone, got 3"),
    ],
)
def test_wrong_options_are_refused(options, kind, message):
    with pytest.raises(kind) as caught:
        CG.gradcheck(regression()[-1], **options)
    assert str(caught.value) == message


def test_what_cannot_be_checked_is_refused():
    x, _, y, loss = regression()
    with pytest.raises(TypeError, match="gradcheck: loss must be a Node or a Graph, got 3"):
        CG.gradcheck(3)
    with pytest.raises(ValueError, match="loss must be a node of one element"):
        CG.gradcheck(y)
    with pytest.raises(ValueError, match="wrt must lie above the loss"):
        CG.gradcheck(loss, wrt=[CG.Leaf1(1)])
    with pytest.raises(ValueError, match="wrt must be leaves or have parameters"):
        CG.gradcheck(loss, wrt=[loss])
    x.getInput([np.inf, 0.0])
    with pytest.raises(ValueError, match="the loss must be finite, got"):
        CG.gradcheck(loss)


def test_a_large_network_is_checked_by_projection(gradcheck):
    rng = np.random.default_rng(0)
    x, t = CG.Leaf2(12, 12), CG.Leaf1(10)
    x.getInput(rng.normal(size=144))
    t.getInput(np.eye(10)[3])
    maps = [CG.Tanh(CG.Convolution2d([x], rng.normal(size=(1, 3, 3)), 0.1)) for _ in range(8)]
    pooled = CG.Concatenation([CG.AveragePooling2d(node, 2, 2, 2) for node in maps])
    y = CG.Softmax(CG.Affine(pooled, rng.normal(size=(201, 10)) / 14))
    assert len(gradcheck(CG.CEE(y, t), mode="projection")) == 2 + 8 * 2 + 1


def test_sampled_indices_keep_both_ends():
    assert {0, 99} <= set(some_indices(100, 5, np.random.default_rng(0)).tolist())
