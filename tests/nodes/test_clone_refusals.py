"""What clone refuses, and what it leaves as it was."""

import numpy as np
import pytest
from own_nodes import Recorder
from test_clone import ByHand, Dense, Head, Joined, Plain, Scaled, feed, network, state

import cgraph as CG
from cgraph._subclassing.rebuilding import built, plan_of


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_own_classes_are_cloned(dtype):
    x = CG.Leaf1(3, dtype=dtype)
    x.getInput([1, 2, 3])
    scaled = Scaled(x, "first", power=2)
    scaled.w[...] = [1, 2, 4]
    plain = Plain(3, 3, 1, [Joined([ByHand(scaled, x), scaled])])
    dense = Dense(plain, 2)
    dense.weight[...] = np.arange(8.0).reshape(4, 2)
    head = Head(dense, np.arange(6.0).reshape(3, 2), bias=2)
    twin = CG.clone(head)
    assert (twin[scaled].name, twin[scaled].power) == ("first", 2)
    assert twin[scaled].w.tolist() == [1, 2, 4]
    assert twin[head].bias == 2
    assert [repr(node) for node in twin.values()] == [repr(node) for node in twin]
    assert CG.evaluate(twin[head]).tobytes() == CG.evaluate(head).tobytes()
    assert CG.parameters(twin[head])[-1].trainable
    CG.Graph(twin[head]).predict({twin[x]: [[1, 2, 3]]})


def test_parameters_that_a_derived_class_does_not_declare_are_copied_too():
    x = CG.Leaf1(1)
    head = Head(x, [[1.0], [2.0]])
    twin = CG.clone(head)[head]
    assert twin.weight.tolist() == [[1], [2]]
    assert CG.parameters(twin) == []


class Optional(CG.ReLU):
    def __init__(self, node, limit=6):
        super().__init__(node)
        self.limit = limit


class Wider(CG.Affine):
    def __init__(self, node, more=1):
        super().__init__(node, np.zeros((node.size + 1, 1 + more)))

    def _config(self):
        return {}


class Taps(CG.Node):
    """Has a parameter whose shape the data do not tell."""

    _parameters = (("w", "dw"),)

    def __init__(self, node, count=1):
        super().__init__(1, 1, 1, [node])
        self.w, self.dw = np.zeros(count), np.zeros(count)

    def _config(self):
        return {}


def foreign(other):
    """Returns a class whose nodes, but for the first, attach themselves to a node that is not among the arguments."""
    inputs = []

    class Foreign(CG.Node):
        def __init__(self, node):
            super().__init__(1, 1, 1, [other if inputs else node])
            inputs.append(node)

    return Foreign


def half():
    """Returns a class whose nodes, but for the first, raise after they have attached themselves."""
    inputs = []

    class Half(CG.Node):
        def __init__(self, node):
            super().__init__(1, 1, 1, [node])
            if inputs:
                raise KeyError("second")
            inputs.append(node)

    return Half


class Configured(CG.Sum):
    """Returns any configuration."""

    config: object = None

    def _config(self):
        return self.config


def configured(config):
    def make(x):
        node = Configured(x)
        node.config = config(x) if callable(config) else config
        return node

    return make


class Constant(CG.Node):
    """Has a parameter in an array that is built anew with another dtype, or is read-only."""

    _parameters = (("w", "gradW"),)

    def __init__(self, node, w=None, writable=True):
        super().__init__(1, 1, 1, [node])
        self.w = np.ones(1, np.int64) if w is None else np.array(w)
        self.w.flags.writeable = self.writable = writable
        self.gradW = np.zeros(1)

    def _config(self):
        return {"w": None if self.writable else [1.5], "writable": self.writable}


REFUSED = {
    "a missing argument": (
        lambda x: Recorder([x], []),
        TypeError,
        "Recorder: cannot be built anew, since the constructor refuses its inputs and what _config returns: "
        "missing a required argument: 'log'",
    ),
    "an optional argument": (
        Optional,
        TypeError,
        "Optional: cannot be built anew, since _config does not return the argument 'limit'",
    ),
    "another shape": (
        lambda x: Wider(x, 3),
        ValueError,
        "Wider: built anew, it must have shape (4, 1), got (2, 1); _config must return all arguments of the "
        "constructor but inputs and values of parameters",
    ),
    "another shape of a parameter": (
        lambda x: Taps(x, 2),
        ValueError,
        "Taps: built anew, it must have w of shape (2,), got (1,); _config must return all arguments of the "
        "constructor but inputs and values of parameters",
    ),
    "another dtype of a parameter": (
        lambda x: Constant(x, [1.5]),
        ValueError,
        "Constant: built anew, it must have w of dtype float64, got int64; _config must return all arguments of the "
        "constructor but inputs and values of parameters",
    ),
    "a read-only parameter": (
        lambda x: Constant(x, [1.5], writable=False),
        ValueError,
        "Constant: built anew, it must have a writable w, got a read-only array; _config must return all arguments of "
        "the constructor but inputs and values of parameters",
    ),
    "a constructor that raises": (
        lambda x: half()(x),
        TypeError,
        "Half: cannot be built anew, since the constructor refuses its inputs and what _config returns: 'second'",
    ),
    "no dict": (
        configured(None),
        TypeError,
        "Configured: _config must return a dict of arguments by name, without nodes, got None",
    ),
    "no name": (
        configured({1: 2}),
        TypeError,
        "Configured: _config must return a dict of arguments by name, without nodes, got 1: 2",
    ),
    "a node": (
        configured(lambda x: {"node1": x}),
        TypeError,
        "Configured: _config must return a dict of arguments by name, without nodes, "
        "got 'node1': an object of type Exp",
    ),
}


@pytest.mark.parametrize(("make", "kind", "message"), REFUSED.values(), ids=REFUSED)
def test_a_class_that_does_not_say_how_it_is_built_is_refused(make, kind, message):
    x = CG.Leaf1(1)
    x.getInput([2])
    end = CG.Norm2(make(CG.Exp(x)))
    before = state(end)
    with pytest.raises(kind) as refused:
        CG.clone(end)
    assert str(refused.value) == message
    assert state(end) == before


def test_a_class_that_attaches_itself_to_another_node_is_refused():
    other = CG.Leaf1(1)
    node = foreign(other)(CG.Leaf1(1))
    with pytest.raises(ValueError, match="Foreign: built anew, it must have the given 1 inputs"):
        CG.clone(node)


def test_inputs_that_a_node_is_built_on_anew_have_no_new_consumer_after_an_error():
    first, second, single = CG.Leaf1(1), CG.Leaf1(1), CG.Leaf1(1, dtype="float32")
    consumer = CG.Exp(second)
    with pytest.raises(TypeError, match="Half: cannot be built anew"):
        built(plan_of(half()(first)), [second])
    with pytest.raises(ValueError, match="must have dtype float64, got float32"):
        built(plan_of(CG.Sum(first)), [single])
    assert (second.forward, single.forward) == ([consumer], [])
    assert built(plan_of(CG.Sum(first)), [CG.Leaf2(2, 2)]).domsize == 4


@pytest.mark.thread_unsafe(reason="replaces a constructor")
@pytest.mark.parametrize("kind", [KeyboardInterrupt, MemoryError])
def test_an_interrupt_in_a_constructor_leaves_everything_as_it_was(kind, monkeypatch):
    x, t, loss = network()
    graph = CG.Graph(loss)
    before = state(loss)

    def interrupted(self, *args, **named):
        raise kind

    monkeypatch.setattr(CG.MSE, "__init__", interrupted)
    with pytest.raises((kind, TypeError)):
        CG.clone(loss)
    assert state(loss) == before
    graph.predict(feed(x, t, 2))


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ((None,), TypeError, "clone: nodes must be a sequence of Nodes, got None"),
        (([None],), TypeError, "clone: nodes must hold Nodes alone, got None"),
        (([],), ValueError, "clone: nodes must hold at least 1 node, got none"),
        ((CG.Leaf1(1), 1), TypeError, "clone: share must be True or False, got 1"),
    ],
)
def test_other_arguments_are_refused(arguments, kind, message):
    with pytest.raises(kind) as refused:
        CG.clone(*arguments)
    assert str(refused.value) == message
