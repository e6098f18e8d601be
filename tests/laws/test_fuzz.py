"""Arguments of every kind: a call is refused in documented words and changes nothing, or it works.

`pytest tests/laws/test_fuzz.py --hypothesis-profile=thorough` draws other examples in every run, and many.
"""

import re

import numpy as np
import pytest
from fuzz_calls import CALLS
from fuzz_values import junk, reals, refs, resolved, some_nodes
from graph_machine import GraphMachine
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from small_graphs import counters

import cgraph as CG

pytestmark = [
    pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore:.*does not have a dtype of its own.*"),
    pytest.mark.thread_unsafe(reason="Hypothesis draws too many examples for it to end soon"),
]
REFUSALS = (TypeError, ValueError)


def state(nodes):
    """Returns all state that a refused call must not change."""
    return [
        (list(node.forward), list(node.backward), node.data.tobytes(), node.grad.tobytes())
        for node in nodes
    ]


def assert_says_who(refusal, *owners):
    """Asserts that the message begins with the class, or is Python's own about the number of arguments."""
    names = "|".join(re.escape(cls.__name__) for owner in owners for cls in owner.__mro__)
    assert re.match(rf"(?:{names})(?:: |\.__init__\(\) )", str(refusal)), refusal


def assert_begins(refusal, words):
    assert str(refusal).startswith(words)


def assert_works(node):
    """Asserts that a node is attached, and that a forward and a backward pass run through it."""
    for x in node.backward:
        assert x.forward == [node] * node.backward.count(x)
    end = CG.Norm2(node)
    leaves = [x for x in CG.ancestors(end) if not x.backward]
    for leaf in leaves:
        leaf.forwardPropagation()
    end.backwardPropagation()
    end.update(0.5)
    assert set(counters(*CG.ancestors(end))) == {(0, 0)}
    assert node.data.shape == node.grad.shape == (node.height * node.width,)


@pytest.mark.parametrize("op", CALLS, ids=lambda op: op.__name__)
@settings(max_examples=settings.default.max_examples // 3)
@given(data=st.data())
def test_a_constructor_refuses_or_makes_a_node_that_works(op, data):
    args, options = data.draw(CALLS[op])
    nodes = some_nodes()
    before = state(nodes)
    try:
        node = op(*resolved(args, nodes), **resolved(options, nodes))
    except REFUSALS as refusal:
        assert_says_who(refusal, op)
        assert state(nodes) == before
    else:
        assert_works(node)


def learning(dtype):
    """Returns an affine node and a convolution whose arrays all hold numbers other than 0."""
    nodes = [
        CG.Affine(CG.Leaf1(1, dtype=dtype), np.full((2, 3), 4)),
        CG.Convolution2d([CG.Leaf2(4, 3, dtype=dtype)], np.full((1, 2, 2), 4), 4),
    ]
    for node in nodes:
        node.data[...] = node.grad[...] = 5
        for p in CG.parameters(node):
            p.grad[...] = 6
    return nodes


def assigned(name):
    return lambda node, value: setattr(node, name, value)


# The node of `learning` or one of its inputs; how it is assigned; where it can be read afterwards.
TARGETS = {
    "Leaf1.getInput": (lambda nodes: nodes[0].backward[0], CG.Leaf1.getInput, "data"),
    "Leaf2.getInput": (lambda nodes: nodes[1].backward[0], CG.Leaf2.getInput, "data"),
}
TARGETS |= {
    f"Affine.{name}": (lambda nodes: nodes[0], assigned(name), name)
    for name in ("data", "grad", "weight", "gradWeight")
}
TARGETS |= {
    f"Convolution2d.{name}": (lambda nodes: nodes[1], assigned(name), name)
    for name in ("kernel", "gradKernel", "bias", "gradBias")
}


def everything(nodes):
    return [
        array.tobytes()
        for end in nodes
        for node in CG.ancestors(end)
        for array in vars(node).values()
        if isinstance(array, np.ndarray)
    ]


def fitting(shape):
    """Arrays of a shape, in every real dtype, as arrays and as lists."""
    real = hnp.floating_dtypes() | hnp.integer_dtypes() | hnp.unsigned_integer_dtypes()
    whole = hnp.arrays(real | hnp.boolean_dtypes(), shape)
    return whole | whole.map(np.asfortranarray) | whole.map(np.ndarray.tolist)


@pytest.mark.parametrize("target", TARGETS)
@given(data=st.data(), dtype=st.sampled_from(["float64", "float32"]))
@settings(max_examples=settings.default.max_examples // 2)
def test_an_assignment_is_refused_or_arrives_exactly(target, data, dtype):
    choose_layout, assign, name = TARGETS[target]
    nodes = learning(dtype)
    node = choose_layout(nodes)
    shape = np.shape(getattr(node, name))
    value = data.draw(junk | fitting(shape) | fitting((node.height, node.width)))
    value, before = resolved(value, some_nodes()), everything(nodes)
    try:
        assign(node, value)
    except REFUSALS as refusal:
        assert_says_who(refusal, type(node))
        assert everything(nodes) == before
    else:
        expected = np.asarray(value).reshape(shape).astype(dtype)
        np.testing.assert_array_equal(getattr(node, name), expected)


@given(eta=junk | reals, dtype=st.sampled_from(["float64", "float32"]), whole=st.booleans())
def test_an_update_refuses_eta_or_takes_the_step(eta, dtype, whole):
    nodes = learning(dtype)
    before, eta = everything(nodes), resolved(eta, some_nodes())
    for node in nodes:
        try:
            (node.update if whole else node.updateParameters)(eta)
        except REFUSALS as refusal:
            assert_says_who(refusal, type(node))
            assert everything(nodes) == before
        else:
            for p in CG.parameters(node):
                expected = np.dtype(dtype).type(4 - float(np.asarray(eta)) * 6)
                np.testing.assert_allclose(p.value, expected, rtol=1e-6)
                assert not p.grad.any()


OPTIONS = {
    "wrt": junk,
    "eps": junk | reals,
    "rtol": junk | reals,
    "atol": junk | reals,
    "mode": junk,
}


@given(options=st.fixed_dictionaries({}, optional=OPTIONS), loss=refs | junk)
def test_gradcheck_refuses_its_arguments_or_checks(options, loss):
    nodes = some_nodes()
    before = state(nodes)
    try:
        CG.gradcheck(resolved(loss, nodes), **resolved(options, nodes))
    except (*REFUSALS, CG.GradientError) as refusal:
        assert_begins(refusal, "gradcheck: ")
    assert state(nodes) == before


@given(value=junk)
def test_what_takes_a_node_takes_nothing_else(value):
    nodes = some_nodes()
    value, before = resolved(value, nodes), state(nodes)
    if not isinstance(value, CG.Node):
        for take, owner in (
            (CG.ancestors, "ancestors"),
            (CG.parameters, "parameters"),
            (nodes[0].pushThis, "Leaf2"),
        ):
            with pytest.raises(TypeError, match=f"^{owner}: node must be a Node, got "):
                take(value)
    assert state(nodes) == before


TestGraphs = GraphMachine.TestCase
