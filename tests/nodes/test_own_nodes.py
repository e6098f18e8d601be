"""User-defined nodes: the forms in which they can be written, and the state after one raises."""

from dataclasses import dataclass

import numpy as np
import pytest
from own_nodes import Failing, Recorder, Scale, Square
from small_graphs import counters, vector

import cgraph as CG

METHODS = ("calcData", "calcPartialDerivative", "updateParameters")


def test_the_constructor_makes_zeroed_buffers_and_attaches_every_occurrence():
    x, y = vector(1.0, 2.0), vector(3.0)
    own = CG.Node(5, 2, 3, [x, y, x])
    assert (own.domsize, own.height, own.width, own.size) == (5, 2, 3, 6)
    assert own.data.tolist() == own.grad.tolist() == [0] * 6
    assert own.backward == [x, y, x]
    assert x.forward == [own, own]
    assert y.forward == [own]
    assert own.forward == []
    assert (own.b_count, own.f_count) == (0, 0)


def test_a_node_without_inputs_is_a_leaf():
    own = CG.Node(0, 2, 1)
    end = CG.Norm2(own)
    own.data[...] = [3, 4]
    own.forwardPropagation()
    assert end.data.tolist() == [5]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dtype_follows_the_inputs_or_the_argument(dtype):
    assert CG.Node(1, 1, 1, [vector(1.0, dtype=dtype)]).dtype == np.dtype(dtype)
    assert CG.Node(0, 1, 1, dtype=dtype).data.dtype == np.dtype(dtype)
    assert CG.Node(0, 1, 1).dtype == np.float64


def test_inputs_of_two_dtypes_are_a_TypeError():
    x, y = vector(1.0, dtype="float32"), vector(1.0, dtype="float64")
    with pytest.raises(TypeError):
        CG.Node(1, 1, 1, [x, y])
    assert x.forward == y.forward == []


def test_own_nodes_work_between_library_nodes_and_below_them():
    x = vector(1.0, -2.0)
    own = Scale(Square(CG.Tanh(x)), [2.0, 3.0])
    loss = CG.MSE(own, Square(x))
    x.forwardPropagation()
    loss.backwardPropagation()
    t, w, v = np.tanh([1.0, -2.0]), np.array([2.0, 3.0]), np.array([1.0, -2.0])
    outer = w * t**2 - v**2
    np.testing.assert_allclose(loss.data, [np.mean(outer**2)], rtol=1e-12)
    slope = outer * (w * 2 * t * (1 - t**2) - 2 * v)
    np.testing.assert_allclose(x.grad, slope, rtol=1e-12)
    np.testing.assert_allclose(own.gradWeight, outer * t**2, rtol=1e-12)


def test_a_declaration_alone_makes_an_own_node_learn():
    x = vector(1.0, 2.0)
    own = Scale(x, [3.0, 4.0])
    loss = CG.Dots(own, x)
    (parameter,) = CG.parameters(loss)
    assert parameter.node is own
    assert parameter.name == "weight"
    x.forwardPropagation()
    loss.backwardPropagation()
    assert own.gradWeight.tolist() == parameter.grad.tolist() == [1, 4]
    loss.update(0.5)
    assert own.weight.tolist() == parameter.value.tolist() == [2.5, 2]
    assert own.gradWeight.tolist() == [0, 0]
    own.gradWeight[...] = 1
    own.zero_grad()
    assert own.gradWeight.tolist() == [0, 0]
    assert own.weight.tolist() == [2.5, 2]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_arrays_that_learn_may_be_strided_and_may_be_exchanged(dtype):
    own = Scale(vector(1.0, 2.0, dtype=dtype), [8.0, 8.0])

    def check(weight, gradient):
        own.weight, own.gradWeight = weight, gradient
        before, total = weight.copy(), gradient.copy()
        own.updateParameters(0.5)
        assert own.weight is weight
        assert weight.tolist() == (before - 0.5 * total).tolist()
        assert gradient.tolist() == [0, 0]

    check(own.weight, np.array([1, 2], dtype))
    check(np.array([5, 6], dtype), own.gradWeight + 3)
    own.gradWeight += 1
    check(np.array([7, 8], dtype), own.gradWeight)
    check(own.weight, np.array([3, 4], dtype))
    check(np.arange(4, dtype=dtype)[::2], np.arange(8, dtype=dtype)[::4])
    check(np.array([5, 6], dtype), np.array([1, 2], "float16"))


def test_a_gradient_sum_of_another_shape_is_refused():
    own = Scale(vector(1.0, 2.0), [8.0, 8.0])
    own.weight, own.gradWeight = np.ones((2, 2)), np.ones(4)
    with pytest.raises(ValueError, match="shape"):
        own.updateParameters(0.5)
    assert own.weight.tolist() == [[1, 1], [1, 1]]


def test_a_subclass_of_an_op_runs_through_its_own_methods():
    class Doubled(CG.Affine):
        def calcData(self):
            super().calcData()
            self.data[...] *= 2

        def calcPartialDerivative(self):
            self.grad[...] *= 2
            super().calcPartialDerivative()

        def updateParameters(self, eta):
            super().updateParameters(eta / 2)

    x = vector(3.0)
    own = Doubled(x, [[2.0], [1.0]])
    end = CG.ReLU(own)
    x.forwardPropagation()
    end.backwardPropagation()
    assert end.data.tolist() == [14]
    assert x.grad.tolist() == [4]
    assert own.gradWeight.tolist() == [[6], [2]]
    end.update(1.0)
    assert own.weight.tolist() == [[-1], [0]]


@pytest.mark.parametrize("name", ["forwardPropagation", "backwardPropagation", "update"])
def test_the_propagations_may_not_be_overridden(name):
    with pytest.raises(TypeError, match=name):
        type("Rebel", (CG.Node,), {name: lambda self, *args: None})


def around_failure(method):
    """(leaves, failing node, waiting nodes, end): `join` and `h` wait when the failure comes."""
    x, y = vector(1.0), vector(2.0)
    h = CG.ReLU(x)
    failing = Failing(CG.Add(h, y), method)
    join = CG.Add(h, failing)
    return (x, y), failing, CG.MSE(join, h)


def run(leaves, end):
    for node in leaves:
        node.forwardPropagation()
    end.backwardPropagation()
    end.update(0.1)


@pytest.mark.parametrize("method", METHODS)
def test_an_exception_resets_every_counter_and_the_graph_works_again(method):
    leaves, failing, end = around_failure(method)
    with pytest.raises(ZeroDivisionError, match=method):
        run(leaves, end)
    assert set(counters(*CG.ancestors(end))) == {(0, 0)}
    failing.fails_in = None
    run(leaves, end)
    assert end.data.tolist() == [9]
    assert set(counters(*CG.ancestors(end))) == {(0, 0)}
    assert [node.grad.tolist() for node in leaves] == [[6], [6]]


def test_an_exception_resets_nodes_that_wait_from_an_earlier_leafs_pass():
    x, y = vector(1.0), vector(2.0)
    failing = Failing(y, "calcData")
    waiting = CG.Sub(x, failing)
    x.forwardPropagation()
    assert waiting.b_count == 1
    with pytest.raises(ZeroDivisionError):
        y.forwardPropagation()
    assert waiting.b_count == 0
    failing.fails_in = None
    y.forwardPropagation()
    assert waiting.b_count == 1
    x.forwardPropagation()
    assert waiting.data.tolist() == [-1]
    assert waiting.b_count == 0


@pytest.mark.parametrize("method", METHODS[1:])
def test_an_exception_resets_nodes_that_wait_from_an_earlier_ends_pass(method):
    x = vector(2.0)
    h = CG.ReLU(x)
    failing = Failing(h, method)
    ends = [CG.Norm2(h), CG.Norm2(failing)]
    x.forwardPropagation()

    def passes(end):
        return end.backwardPropagation() if method == METHODS[1] else end.update(0.1)

    passes(ends[0])
    assert h.f_count == 1
    with pytest.raises(ZeroDivisionError):
        passes(ends[1])
    assert h.f_count == 0


def test_a_failed_forward_pass_does_not_count_as_a_forward_pass():
    x = vector(2.0)
    end, failing = CG.Norm2(x), Failing(x, "calcData")
    with pytest.raises(ZeroDivisionError):
        x.forwardPropagation()
    with pytest.raises(RuntimeError):
        end.backwardPropagation()
    failing.fails_in = None
    x.forwardPropagation()
    end.backwardPropagation()
    assert end.grad.tolist() == [1]


def test_the_same_node_keeps_its_counters_across_many_passes():
    log = []
    x = vector(1.0)
    h = Recorder([x, x, x], log)
    end = CG.Concatenation([h, h])
    loss = CG.Dots(end, end)
    for _ in range(5):
        log.clear()
        x.forwardPropagation()
        loss.backwardPropagation()
        loss.update(1.0)
        assert [entry[0] for entry in log] == list(METHODS)
        assert x.grad.tolist() == [36]
        assert set(counters(*CG.ancestors(loss))) == {(0, 0)}


# Attributes and identity


class Misspelt(CG.Node):
    """A property that fails for an attribute of another name."""

    def __init__(self, x):
        super().__init__(x.size, x.height, x.width, [x])
        self.asked = 0

    @property
    def scale(self):
        self.asked += 1
        return self.factr

    @property
    def shift(self):
        return self.scale

    def calcData(self):
        self.data = self.shift * self.backward[0].data


def test_a_property_that_fails_says_which_attribute_is_missing():
    x = vector(1.0)
    own = Misspelt(x)
    with pytest.raises(AttributeError, match=r"has no attribute 'factr'") as raised:
        x.forwardPropagation()
    assert (raised.value.name, raised.value.obj) == ("factr", own)
    assert own.asked == 1
    own.factr = 3.0
    x.forwardPropagation()
    assert own.data.tolist() == [3]


def pass_through(self, x):
    CG.Node.__init__(self, x.size, x.height, x.width, [x])


class Compared(CG.Node):
    __init__ = pass_through

    def __eq__(self, other):
        return True


class Hashed(CG.Node):
    __init__ = pass_through

    def __hash__(self):
        return 0


class Both(Compared, Hashed):
    __hash__ = Hashed.__hash__


@dataclass
class Plain(CG.Node):
    x: CG.Node

    def __post_init__(self):
        pass_through(self, self.x)


@dataclass(unsafe_hash=True)
class WithHash(CG.Node):
    x: CG.Node

    def __post_init__(self):
        pass_through(self, self.x)


class Derived(Plain):
    pass


class ComparedOp(CG.ReLU):
    def __eq__(self, other):
        return False


@pytest.mark.parametrize("kind", [Compared, Hashed, Both, Plain, WithHash, Derived, ComparedOp])
def test_a_node_is_compared_by_identity_or_refused_before_it_is_attached(kind):
    x = vector(1.0)
    with pytest.raises(TypeError, match=rf"^{kind.__name__}: .*@dataclass\(eq=False\)$"):
        kind(x)
    assert x.forward == []


def test_a_dataclass_without_a_comparison_is_a_node_like_others():
    @dataclass(eq=False)
    class Factor(CG.Node):
        x: CG.Node
        factor: float = 3.0

        def __post_init__(self):
            pass_through(self, self.x)

        def calcData(self):
            self.data = self.factor * self.backward[0].data

        def calcPartialDerivative(self):
            self.backward[0].grad += self.factor * self.grad

    x = vector(3.0, 4.0)
    loss = CG.Norm2(Factor(x))
    CG.gradcheck(loss)
    assert CG.Graph(loss).predict({x: [[3, 4]]}).tolist() == [[15]]


# User-defined optimisation steps


def test_a_step_may_be_written_in_place():
    x = vector(1.0, 2.0)
    own = Scale(x, [3.0, 4.0])
    (p,) = CG.parameters(own)
    live = p.value
    p.grad = [2.0, 4.0]
    p.value -= 0.5 * p.grad
    p.grad *= 0
    assert p.value is live is own.weight
    assert own.weight.tolist() == [2, 2]
    assert own.gradWeight.tolist() == [0, 0]
    p.value = [7, 8]
    assert live.tolist() == [7, 8]


def test_there_is_one_parameter_for_each_array_which_can_be_unpacked():
    own = Scale(vector(1.0), [3.0])
    (p,), (other,) = CG.parameters(own), CG.parameters(own)
    node, name, value, gradient = p
    assert (node, name) == (own, "weight")
    assert (value is own.weight, gradient is own.gradWeight) == (True, True)
    assert p is other
    assert {p: 1}[other] == 1
    assert p != CG.parameters(Scale(vector(1.0), [3.0]))[0]
    assert repr(p) == f"Parameter({own!r}, 'weight', shape=(1,))"


def test_a_step_in_place_counts_in_a_Graph():
    x = vector(1.0, 2.0)
    y = CG.Affine(x, [[1.0], [1.0], [0.0]])
    graph = CG.Graph(y)
    for p in graph.parameters:
        p.value -= 1
    assert graph.predict({x: [[1, 2]]}).tolist() == [[-1]]
