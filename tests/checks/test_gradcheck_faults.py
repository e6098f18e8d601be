"""Faults that gradcheck must report, and correct nodes that it must accept."""

import copy
import pickle

import numpy as np
import pytest

import cgraph as CG
from cgraph.checks.gradcheck import LIMITS

both_modes = pytest.mark.parametrize("mode", ["full", "projection"])


class Distorted(CG.Node):
    """d = x, whose gradient `distort` changes."""

    def __init__(self, node1, distort):
        super().__init__(node1.size, node1.height, node1.width, [node1])
        self.distort = distort

    def calcData(self):
        self.data = self.backward[0].data

    def calcPartialDerivative(self):
        self.backward[0].grad += self.distort(self.grad.copy())


def against(target, make, values, dtype="float64"):
    """Returns the mean squared distance of make(x) from a target, for a leaf x with these values."""
    x, t = CG.Leaf1(len(values), dtype=dtype), CG.Leaf1(len(values), dtype=dtype)
    x.getInput(values)
    t.getInput(target)
    return CG.MSE(make(x), t)


@both_modes
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_a_gradient_that_is_not_finite_is_an_error(value, mode):
    loss = against([1.0, 2.0], lambda x: Distorted(x, lambda g: g + value), [3.0, 4.0])
    with pytest.raises(CG.GradientError):
        CG.gradcheck(loss, mode=mode)


@pytest.mark.parametrize("seed", range(50))
def test_swapped_elements_are_found_along_random_directions(seed):
    loss = against([1.0, 5.0], lambda x: Distorted(x, lambda g: g[::-1]), [3.0, 4.0])
    with pytest.raises(CG.GradientError):
        CG.gradcheck(loss, mode="projection", rng=seed)


@both_modes
def test_a_sum_that_is_overwritten_is_an_error(mode):
    class Overwriting(CG.Affine):
        def calcPartialDerivative(self):
            kept = self.gradWeight.copy()
            super().calcPartialDerivative()
            self.gradWeight -= kept

    loss = against([1.0], lambda x: Overwriting(x, [[1.0], [2.0]]), [3.0])
    with pytest.raises(CG.GradientError, match="must add to gradWeight"):
        CG.gradcheck(loss, mode=mode)


@both_modes
def test_a_small_gradient_of_the_wrong_sign_is_an_error(mode):
    loss = against([1e-6], lambda x: Distorted(x, np.negative), [0.0])
    with pytest.raises(CG.GradientError):
        CG.gradcheck(loss, mode=mode)


def test_a_node_that_was_pushed_twice_is_named():
    x = CG.Leaf1(1)
    node = Distorted(x, np.copy)
    node.pushThis(x)
    with pytest.raises(CG.GradientError, match="more often than it reads it") as caught:
        CG.gradcheck(node)
    assert caught.value.node is node


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_wrong_gradient_at_a_minimum_is_not_called_a_kink(dtype):
    loss = against([3.0], lambda x: Distorted(x, lambda g: g + 0.5), [3.0], dtype)
    with pytest.raises(CG.GradientError) as caught:
        CG.gradcheck(loss)
    assert "kink" not in str(caught.value)


@pytest.mark.parametrize(("dtype", "x"), [("float64", 1e-4), ("float64", 2e-5), ("float32", 1e-2)])
def test_right_gradients_pass_where_the_loss_is_strongly_curved(dtype, x):
    prediction, target = CG.Leaf1(2, dtype=dtype), CG.Leaf1(2, dtype=dtype)
    prediction.getInput([x, 0.9])
    target.getInput([0.5, 0.5])
    CG.gradcheck(CG.CEE(prediction, target))


@both_modes
def test_a_kink_within_the_step_is_no_error(mode):
    loss = against([1.0, 2.0], CG.ReLU, [1e-6, 1.0])
    CG.gradcheck(loss, mode=mode)


def test_step_and_tolerances_have_an_effect():
    loss = against([1.0], lambda x: Distorted(x, lambda g: 1.1 * g), [3.0])
    CG.gradcheck(loss, rtol=0.2)
    CG.gradcheck(loss, atol=0.2)
    for options in ({}, {"rtol": 0.05}, {"atol": 0.05}):
        with pytest.raises(CG.GradientError):
            CG.gradcheck(loss, **options)
    x = CG.Leaf1(1)
    x.getInput([2.0])
    cube = CG.Dots(x, Distorted(x, np.copy))
    coarse, fine = (CG.gradcheck(cube, eps=eps)[0].numeric for eps in (1e-2, 1e-6))
    assert coarse != fine


def test_an_attribute_that_a_node_binds_anew_is_put_back():
    class Caching(CG.Node):
        """d = x², with x kept from the forward pass."""

        def __init__(self, node1):
            super().__init__(node1.size, node1.height, node1.width, [node1])

        def calcData(self):
            self.x = self.backward[0].data.copy()
            self.data = self.x**2

        def calcPartialDerivative(self):
            self.backward[0].grad += 2 * self.x * self.grad

    x = CG.Leaf1(1)
    x.getInput([3.0])
    node = Caching(x)
    x.forwardPropagation()
    CG.gradcheck(node)
    node.backwardPropagation()
    assert x.grad.tolist() == [6.0]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_step_that_moves_nothing_is_refused(dtype):
    loss = against([1.0], CG.ReLU, [3.0], dtype)
    with pytest.raises(
        ValueError, match=r"gradcheck: eps is too small, a step of .* does not move"
    ):
        CG.gradcheck(loss, eps=1e-20)


class Declared(CG.Node):
    """A node without inputs that declares these two arrays."""

    _parameters = (("w", "dw"),)

    def __init__(self, w, dw):
        super().__init__(0, 1, 1)
        self.w, self.dw = w, dw


@pytest.mark.parametrize(
    ("w", "dw", "kind", "message"),
    [
        (np.array([3]), np.zeros(1), TypeError, "must be arrays of floating-point numbers"),
        (np.zeros(0), np.zeros(0), TypeError, "must be arrays of floating-point numbers"),
        (np.zeros(2), np.zeros((2, 1)), ValueError, r"same shape, got \(2,\) and \(2, 1\)"),
    ],
)
def test_parameters_that_cannot_be_checked_are_refused(w, dw, kind, message):
    with pytest.raises(kind, match=f"gradcheck: w and its gradient sum .*{message}"):
        CG.gradcheck(Declared(w, dw))


@pytest.mark.parametrize("rng", ["a", -1, 1.5])
def test_what_is_no_source_of_random_numbers_is_refused(rng):
    with pytest.raises(TypeError, match=r"gradcheck: rng must be a numpy\.random\.Generator or a"):
        CG.gradcheck(against([1.0], CG.ReLU, [3.0]), rng=rng)


def test_nothing_to_check_is_refused():
    with pytest.raises(ValueError, match="gradcheck: wrt must hold at least one"):
        CG.gradcheck(against([1.0], CG.ReLU, [3.0]), wrt=[])


@pytest.mark.parametrize("work", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))])
def test_errors_travel_without_their_node(work):
    loss = against([1.0], lambda x: Distorted(x, lambda g: g + 1), [3.0])
    with pytest.raises(CG.GradientError) as caught:
        CG.gradcheck(loss)
    error = work(caught.value)
    assert (str(error), error.analytic) == (str(caught.value), caught.value.analytic)
    assert error.node is None
    anomaly = work(CG.AnomalyError("text", CG.Leaf1(1), "data", 3))
    assert (str(anomaly), anomaly.node, anomaly.kind, anomaly.sample) == ("text", None, "data", 3)


def test_contexts_of_detect_anomaly_nest_and_graphs_are_counted_apart():
    x, y = CG.Leaf1(2), CG.Leaf1(2)
    with CG.detect_anomaly():
        x.forwardPropagation()
        x.forwardPropagation()
        y.getInput([np.nan, np.inf])
        with CG.detect_anomaly(), pytest.raises(CG.AnomalyError) as caught:
            y.forwardPropagation()
        assert str(caught.value) == f"{y!r}: data[0] is nan in sample 0"
        x.getInput([0.0, np.inf])
        with CG.detect_anomaly(), pytest.raises(CG.AnomalyError, match="sample 0"):
            x.forwardPropagation()
        with pytest.raises(CG.AnomalyError, match="sample 2"):
            x.forwardPropagation()


def test_a_pass_that_fails_ends_all_waiting():
    class Failing(CG.ReLU):
        def calcData(self):
            raise KeyError("failing")

    x = CG.Leaf1(1)
    h = CG.ReLU(x)
    CG.ReLU(h)  # a probe, for which the backward pass waits
    loss = CG.ReLU(h)
    x.forwardPropagation()
    loss.backwardPropagation()
    assert h.f_count == 1
    Failing(x)
    with pytest.raises(KeyError):
        x.forwardPropagation()
    assert (h.f_count, h.b_count) == (0, 0)


class Remembering(CG.Node):
    """d = x w, whose gradient is that of the first sample that it has ever seen."""

    _parameters = (("w", "dw"),)

    def __init__(self, node1):
        super().__init__(node1.size, 1, 1, [node1])
        self.w, self.dw = np.full(1, 0.5), np.zeros(1)
        self.seen = None

    def calcData(self):
        x = self.backward[0].data
        self.seen = x.copy() if self.seen is None else self.seen
        self.data = x * self.w

    def calcPartialDerivative(self):
        self.backward[0].grad += self.w * self.grad
        self.dw += self.seen * self.grad


@both_modes
def test_a_gradient_that_is_wrong_in_a_later_sample_of_a_batch_is_an_error(mode):
    x = CG.Leaf1(1)
    x.getInput([2.0])
    loss = CG.Tanh(Remembering(x))
    CG.gradcheck(loss, mode=mode)
    with pytest.raises(CG.GradientError, match=r"in a batch of 5 samples, Remembering.*: w "):
        CG.gradcheck(CG.Graph(loss), mode=mode)


@both_modes
@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([3e-9, 4e-9], "float64"),
        ([0.0, 1e-8], "float64"),
        ([2e-7, -1e-6], "float64"),
        ([1e-3, 2e-3], "float32"),
    ],
)
def test_tiny_inputs_are_no_kinks(values, dtype, mode):
    x = CG.Leaf1(2, dtype=dtype)
    x.getInput(values)
    CG.gradcheck(CG.Norm2(x), mode=mode)
    with pytest.raises(CG.GradientError) as caught:
        CG.gradcheck(CG.Norm2(Distorted(x, lambda g: 1.5 * g)), mode=mode)
    assert "kink" not in str(caught.value)


def test_where_no_step_can_tell_the_message_says_so_and_names_no_kink():
    x, far = CG.Leaf1(1), CG.Leaf1(1)
    x.getInput([1e-14])
    far.getInput([1.0])
    with pytest.raises(CG.GradientError, match="no step is small beside the values") as caught:
        CG.gradcheck(CG.Add(CG.Norm2(x), far), wrt=[x])
    assert "kink" not in str(caught.value)


def test_the_docstring_states_the_tolerances():
    text = " ".join(CG.gradcheck.__doc__.split())
    double, single = (LIMITS[name] for name in ("float64", "float32"))
    assert f"by default {number(double.eps)} in float64 and {number(single.eps)} in float32" in text
    assert (
        f"by default {number(double.rtol)} and {number(double.atol)} in float64, "
        f"{number(single.rtol)} and {number(single.atol)} in float32" in text
    )


def number(value):
    return f"{value:.0e}".replace("e-0", "e-")


@both_modes
@pytest.mark.parametrize("tiny", [1e-9, 1e-12, 1e-15, 1e-300])
def test_a_tiny_element_beside_a_fault_hides_nothing(tiny, mode):
    x, t = CG.Leaf1(3), CG.Leaf1(3)
    x.getInput([0.5, tiny, -2])
    t.getInput([5, 6, 7])
    loss = CG.Norm2(CG.Add(Distorted(x, lambda g: 0.5 * g), t))
    with pytest.raises(CG.GradientError, match="difference") as caught:
        CG.gradcheck(loss, wrt=[x], mode=mode)
    assert "kink" not in str(caught.value)
    assert "no step" not in str(caught.value)
