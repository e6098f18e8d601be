"""The messages of gradcheck for nodes whose methods break the contract, and none for those that only seem to."""

import numpy as np
import pytest

import cgraph as CG
from cgraph.checks.contract import check_contract

both_modes = pytest.mark.parametrize("mode", ["full", "projection"])


class Faulty(CG.Node):
    """d = x², correct but for one fault of its methods."""

    _parameters = (("w", "dw"),)

    def __init__(self, node1, fault):
        super().__init__(node1.size, node1.height, node1.width, [node1])
        self.fault, self.passes = fault, 0
        self.w, self.dw = np.ones(1), np.zeros(1)
        self.random = np.random.default_rng(0)

    def calcData(self):
        x = self.backward[0]
        self.data = x.data**2
        self.first = getattr(self, "first", x.data.copy())
        if self.fault == "draws":
            self.data[0] *= self.random.random()
        elif self.fault == "counts":
            self.passes += 1
            self.data[0] += self.passes
        elif self.fault == "writes input":
            x.data[...] = 0

    def calcPartialDerivative(self):
        x = self.backward[0]
        share = 2 * x.data * self.grad
        self.passes += 1
        if self.fault == "overwrites":
            x.grad = share
            return
        x.grad += share
        if self.fault == "second backward" and self.passes > 1:
            x.grad += 1
        elif self.fault == "own data":
            self.data[0] = 1
        elif self.fault == "own gradient":
            self.grad[0] = 0
        elif self.fault == "input data":
            x.data[0] = 0
        elif self.fault == "parameter":
            self.w[0] = 3
        elif self.fault == "overwrites sum":
            self.dw[0] = 0


FAULTS = {
    "draws": "two forward passes at the same point differ",
    "counts": "two forward passes at the same point differ",
    "writes input": r"calcData writes into the data of backward\[0\]",
    "overwrites": r"must add to the gradient of backward\[0\]",
    "second backward": "two backward passes at the same point differ",
    "own data": "calcPartialDerivative writes into its own data",
    "own gradient": "calcPartialDerivative writes into its own gradient",
    "input data": r"calcPartialDerivative writes into the data of backward\[0\]",
    "parameter": "calcPartialDerivative writes into w",
    "overwrites sum": "must add to dw",
}


@both_modes
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_node_that_breaks_the_contract_is_named_and_no_kink_is(fault, compiled, mode):
    x = CG.Leaf1(2)
    x.getInput([0.5, -2.0])
    node = Faulty(CG.Tanh(x), fault)
    loss = CG.Norm2(node)
    with pytest.raises(CG.GradientError, match=FAULTS[fault]) as caught:
        CG.gradcheck(CG.Graph(loss) if compiled else loss, mode=mode)
    assert caught.value.node is node
    assert "kink" not in str(caught.value)


@both_modes
@pytest.mark.parametrize("compiled", [False, True])
def test_a_node_without_a_fault_passes_whatever_the_size_of_its_gradients(compiled, mode):
    for scale in (1e-6, 1.0, 1e6):
        x = CG.Leaf1(2)
        x.getInput([0.5, -2.0])
        loss = CG.Norm2(Faulty(CG.Affine(x, scale * np.eye(3, 2)), None))
        CG.gradcheck(CG.Graph(loss) if compiled else loss, wrt=[x], mode=mode)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("scale", [1.0, 1e4, 1e8])
def test_a_small_share_of_a_large_gradient_keeps_the_contract(scale, dtype):
    """The rounding error is relative to the gradient to which the share is added."""
    x = CG.Leaf1(3, dtype=dtype)
    x.getInput([0.5, -0.25, 0.125])
    hidden = CG.Tanh(x)
    large = CG.Affine(hidden, np.full((4, 1), scale))
    small = CG.Affine(hidden, np.full((4, 1), 1.0))
    check_contract(CG.ancestors(CG.Add(large, small)))


class Rebinding(CG.Node):
    """d = w x, whose gradient sum is a new array each time."""

    _parameters = (("w", "dw"),)

    def __init__(self, node1):
        super().__init__(node1.size, 1, 1, [node1])
        self.w, self.dw = np.full(1, 0.5), np.zeros(1)

    def calcData(self):
        self.data = self.backward[0].data * self.w

    def calcPartialDerivative(self):
        x = self.backward[0]
        x.grad += self.w * self.grad
        self.dw = self.dw + x.data * self.grad


@both_modes
@pytest.mark.parametrize("compiled", [False, True])
def test_a_node_may_put_another_array_in_the_place_of_its_sum(compiled, mode):
    x = CG.Leaf1(1)
    x.getInput([2.0])
    node = Rebinding(x)
    loss = CG.Tanh(node)
    CG.gradcheck(CG.Graph(loss) if compiled else loss, mode=mode)
    assert node.dw == 0


def test_sample_leaves_the_sum_of_such_a_node_as_it_was():
    x = CG.Leaf1(1)
    node = Rebinding(x)
    graph = CG.Graph(CG.Tanh(node))
    graph.accumulate({x: [[1.0], [2.0]]})
    before = node.dw.copy()
    graph.sample(1)
    np.testing.assert_array_equal(node.dw, before)
    assert before != 0


def test_a_forward_pass_may_differ_from_the_last_by_rounding():
    class Reordered(CG.Node):
        """d = Σ x_i, in another order each time."""

        def __init__(self, node1):
            super().__init__(node1.size, 1, 1, [node1])
            self.random = np.random.default_rng(0)

        def calcData(self):
            self.data = sum(self.random.permutation(self.backward[0].data))[None]

        def calcPartialDerivative(self):
            self.backward[0].grad += self.grad[0]

    x = CG.Leaf1(50)
    x.getInput(np.random.default_rng(1).normal(size=50))
    CG.gradcheck(CG.Tanh(Reordered(x)))
