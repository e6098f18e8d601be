"""Uses that the specification does not foresee, each with a defined result."""

import copy
from operator import attrgetter

import numpy as np
import pytest

import cgraph as CG


def fan_out():
    """x → affine → two consumers that lead to the loss, and a probe that does not."""
    x = CG.Leaf1(1)
    x.getInput([2.0])
    h = CG.Affine(x, [[1.0], [0.0]])
    loss = CG.Add(CG.ReLU(h), CG.ReLU(h))
    return x, h, loss, CG.ReLU(h)


@pytest.mark.parametrize("stuck", ["backwardPropagation", "update"])
def test_detaching_a_probe_frees_the_pass_that_waited_for_it(stuck):
    x, h, loss, probe = fan_out()
    x.forwardPropagation()
    if stuck == "update":
        loss.update(0.0)
    else:
        loss.backwardPropagation()
    assert h.f_count == 2
    probe.detach()
    for _ in range(2):
        h.zero_grad()
        x.forwardPropagation()
        loss.backwardPropagation()
        assert (h.f_count, x.f_count) == (0, 0)
        assert x.grad.tolist() == [2.0]
        assert h.gradWeight.tolist() == [[4.0], [2.0]]


def test_detaching_a_probe_frees_nodes_further_up_that_wait():
    x = CG.Leaf1(1)
    a, b = CG.ReLU(x), CG.ReLU(x)
    loss, probe = CG.ReLU(a), CG.ReLU(b)
    x.forwardPropagation()
    loss.backwardPropagation()
    assert x.f_count == 1
    probe.detach()
    assert x.f_count == 0


class Scaled(CG.Affine):
    """An affine node with one more parameter, in float64 whatever the node's dtype is."""

    _parameters = (*CG.Affine._parameters, ("scale", "gradScale"))

    def __init__(self, *args):
        super().__init__(*args)
        self.scale, self.gradScale = np.ones(2), np.full(2, 3.0)


class Frozen(CG.Convolution2d):
    """A convolution whose bias alone learns."""

    _parameters = (("_bias", "_gradBias"),)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_subclass_learns_what_it_declares_and_nothing_else(dtype):
    scaled = Scaled(CG.Leaf1(1, dtype=dtype), [[1.0], [2.0]])
    scaled.gradWeight = [[1.0], [1.0]]
    scaled.updateParameters(0.5)
    assert scaled.weight.tolist() == [[0.5], [1.5]]
    assert scaled.scale.tolist() == [-0.5, -0.5]
    assert not scaled.gradWeight.any()
    assert not scaled.gradScale.any()
    frozen = Frozen([CG.Leaf2(2, 2, dtype=dtype)], np.ones((1, 1, 1)), 5.0)
    frozen.gradKernel = np.ones((1, 1, 1))
    frozen.gradBias = 1.0
    frozen.updateParameters(1.0)
    assert (frozen.kernel.item(), frozen.bias) == (1.0, 4.0)
    assert (frozen.gradKernel.item(), frozen.gradBias) == (1.0, 0.0)


@pytest.mark.parametrize("declared", [("w",), (("w",),), (("w", 3),), ("ab",)])
def test_parameters_must_be_declared_as_pairs_of_names(declared):
    with pytest.raises(TypeError, match="Bad: _parameters must be pairs of names"):
        type("Bad", (CG.Node,), {"_parameters": declared})


@pytest.mark.parametrize("name", ["forwardPropagation", "backwardPropagation", "update"])
def test_a_propagation_may_not_be_overridden_by_a_mixin_either(name):
    mixin = type("Mixin", (), {name: lambda self: None})
    with pytest.raises(TypeError, match=f"Mixed: {name} may not be overridden"):
        type("Mixed", (mixin, CG.Node), {})


def test_a_constructor_that_calls_no_super_is_told_so():
    class Unfinished(CG.Node):
        def __init__(self):
            pass

    node = Unfinished()
    assert "Unfinished" in repr(node)
    x = CG.Leaf1(1)
    uses = CG.ReLU, lambda n: CG.Add(x, n), CG.Node.forwardPropagation, lambda n: n.pushThis(x)
    looks = (attrgetter(name) for name in ("data", "grad", "size", "forward", "f_count", "dtype"))
    for use in (*uses, *looks, lambda n: setattr(n, "data", [1.0])):
        with pytest.raises(AttributeError, match=r"must call super\(\).__init__\(\)"):
            use(node)
    assert x.forward == []


def test_an_attribute_that_no_node_has_is_named():
    with pytest.raises(AttributeError, match=r"^'Leaf1' object has no attribute 'value'$"):
        _ = CG.Leaf1(1).value


def test_a_node_is_not_copied_without_its_inputs():
    with pytest.raises(TypeError, match="ReLU: a node cannot be copied without its inputs"):
        copy.copy(CG.ReLU(CG.Leaf1(1)))


def test_a_stranger_among_the_neighbours_does_not_hide_the_error_nor_keep_the_counters():
    x = CG.Leaf1(1)
    y, z = CG.ReLU(x), CG.Add(x, x)
    y.forward.append(None)
    with pytest.raises(AttributeError, match="b_count"):
        x.forwardPropagation()
    assert (x.b_count, y.b_count, z.b_count) == (0, 0, 0)


def test_numbers_are_cast_to_the_dtype_of_the_node():
    x = CG.Leaf2(2, 2, dtype="float32")
    assert CG.Affine(x, np.ones((5, 1)), 0.1).bias == np.float32(0.1)
    with pytest.raises(ValueError, match="with pad_value -inf every window must reach the input"):
        CG.MaxPooling2d(x, 1, 1, 1, 1, 1, 3, 3, pad_value=-1e300)


def test_eta_must_be_finite_in_the_dtype_of_the_node():
    node = CG.Affine(CG.Leaf1(1, dtype="float32"), [[1.0], [1.0]])
    for update in (node.update, node.updateParameters):
        with pytest.raises(ValueError, match="Affine: eta must be finite in float32, got 1e\\+300"):
            update(1e300)
    assert node.weight.tolist() == [[1.0], [1.0]]


def test_the_mean_of_a_large_window_is_exact_to_rounding():
    x = CG.Leaf2(1000, 1000, dtype="float32")
    x.data[...] = 0.1
    node = CG.AveragePooling2d(x, 1000, 1000, 1)
    node.calcData()
    assert node.data[0] == pytest.approx(0.1, rel=2e-5)
