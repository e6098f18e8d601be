"""Attributes of nodes: those that can be read or assigned, values that are copied, and values that are refused."""

import re

import numpy as np
import pytest
from op_row import build
from op_table import DTYPES, ROWS

import cgraph as CG


def nodes():
    """Returns one node of every class, by name."""
    return {row.op.__name__: build(row, next(iter(row.cases.values())), "float64") for row in ROWS}


def affine(dtype=None):
    x = CG.Leaf1(2, dtype=dtype)
    return CG.Affine(x, [[1, 2, 3], [4, 5, 6], [7, 8, 9]])


def convolution(dtype=None):
    x = CG.Leaf2(3, 3, dtype=dtype)
    return CG.Convolution2d([x], [[[1, 2], [3, 4]]], 5)


ARRAYS = {
    "data": (affine, "data", (3,)),
    "grad": (affine, "grad", (3,)),
    "weight": (affine, "weight", (3, 3)),
    "gradWeight": (affine, "gradWeight", (3, 3)),
    "kernel": (convolution, "kernel", (1, 2, 2)),
    "gradKernel": (convolution, "gradKernel", (1, 2, 2)),
}
every_array = pytest.mark.parametrize(("make", "name", "shape"), ARRAYS.values(), ids=ARRAYS)


@pytest.mark.parametrize("name", [row.op.__name__ for row in ROWS])
def test_sizes_refuse_assignment(name):
    node = nodes()[name].node
    for attribute in ("domsize", "height", "width"):
        before = getattr(node, attribute)
        assert type(before) is int
        with pytest.raises(AttributeError):
            setattr(node, attribute, before)
        assert getattr(node, attribute) == before


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (affine, ["bias"]),
        (convolution, ["kheight", "kwidth", "pl", "pt", "sw"]),
        (lambda: CG.MaxPooling2d(CG.Leaf2(4, 4), 2, 2, 2), ["kheight", "kwidth", "pl", "pt", "sw"]),
        (lambda: CG.AveragePooling2d(CG.Leaf2(4, 4), 2, 2, 2), ["kheight", "pl", "sw"]),
    ],
    ids=["Affine", "Convolution2d", "MaxPooling2d", "AveragePooling2d"],
)
def test_constants_of_an_op_refuse_assignment(make, names):
    node = make()
    for name in names:
        with pytest.raises(AttributeError):
            setattr(node, name, 1)


@every_array
def test_writing_into_an_array_counts(make, name, shape):
    node = make()
    held = getattr(node, name)
    assert held.shape == shape
    held[...] = 7
    assert np.all(getattr(node, name) == 7)


@every_array
def test_assignment_copies_into_the_array(make, name, shape):
    node = make()
    held, source = getattr(node, name), np.arange(float(np.prod(shape))).reshape(shape)
    setattr(node, name, source)
    np.testing.assert_array_equal(held, source)
    source[...] = -1
    np.testing.assert_array_equal(getattr(node, name), held)
    assert not np.any(held == -1)


@every_array
def test_assignment_in_place_works(make, name, shape):
    node = make()
    before = getattr(node, name).copy()
    array = getattr(node, name)
    array += 2
    setattr(node, name, array)
    np.testing.assert_array_equal(getattr(node, name), before + 2)


@every_array
def test_assignment_of_another_shape_is_a_ValueError(make, name, shape):
    node = make()
    before = getattr(node, name).copy()
    wrong = [0.0, np.zeros(shape[0] + 1), np.zeros((*shape, 1)), np.zeros((*shape[:-1], 1))]
    for value in wrong:
        with pytest.raises(ValueError, match=name):
            setattr(node, name, value)
        np.testing.assert_array_equal(getattr(node, name), before)


@every_array
@pytest.mark.parametrize("value", [None, "x", 1j], ids=repr)
def test_assignment_of_what_is_not_real_is_a_TypeError(make, name, shape, value):
    node = make()
    with pytest.raises(TypeError):
        setattr(node, name, np.full(shape, value))


def test_written_data_and_weights_are_what_the_next_pass_uses():
    node = affine()
    x = node.backward[0]
    x.data[...] = [1, 2]
    node.weight[0, 0] = 10
    node.weight[2] = 0
    x.forwardPropagation()
    assert node.data.tolist() == [18, 12, 15]


def test_arrays_taken_before_a_pass_show_its_result():
    node = affine()
    x, data, grad = node.backward[0], node.data, node.grad
    grad[...] = 3
    x.getInput([1, 1])
    x.forwardPropagation()
    assert data.tolist() == [12, 15, 18]
    assert grad.tolist() == [0, 0, 0]


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_convolutions_bias_reads_as_a_float_and_can_be_assigned(dtype):
    node = convolution(dtype)
    assert type(node.bias) is float
    assert type(node.gradBias) is float
    assert (node.bias, node.gradBias) == (5.0, 0.0)
    node.bias, node.gradBias = np.float32(0.1), 3
    assert node.gradBias == 3.0
    np.testing.assert_allclose(node.bias, 0.1, rtol=1e-7)
    node.calcData()
    np.testing.assert_allclose(node.data, 0.1, rtol=1e-7)
    node.updateParameters(1.0)
    assert node.gradBias == 0.0
    np.testing.assert_allclose(node.bias, -2.9, rtol=1e-6)


@pytest.mark.parametrize("value", [None, "1", 1j, [1.0, 2.0]], ids=repr)
@pytest.mark.parametrize("name", ["bias", "gradBias"])
def test_a_convolutions_bias_must_be_a_real_number(name, value):
    node = convolution()
    before = getattr(node, name)
    with pytest.raises((TypeError, ValueError)):
        setattr(node, name, value)
    assert getattr(node, name) == before


def test_initial_parameters_are_copied():
    weight, kernel = np.ones((2, 1)), np.ones((1, 1, 1))
    x = CG.Leaf1(1)
    dense = CG.Affine(x, weight)
    filtered = CG.Convolution2d([x], kernel, 0.0)
    weight[...] = kernel[...] = 9
    assert np.all(dense.weight == 1)
    assert np.all(filtered.kernel == 1)
    dense.weight[...] = filtered.kernel[...] = 4
    assert np.all(weight == 9)
    assert np.all(kernel == 9)


def test_the_list_of_inputs_is_copied():
    x = CG.Leaf1(1)
    inputs = [x]
    node = CG.Concatenation(inputs)
    inputs.append(x)
    assert node.backward == [x]
    assert x.forward == [node]


def test_ancestors_lists_each_node_once_inputs_first():
    x, y = CG.Leaf1(2), CG.Leaf1(2)
    h = CG.Add(x, y)
    end = CG.Dots(CG.Sub(h, x), h)
    order = CG.ancestors(end)
    assert len(order) == len({id(node) for node in order}) == 5
    assert order[-1] is end
    position = {id(node): k for k, node in enumerate(order)}
    for node in order:
        assert all(position[id(source)] < position[id(node)] for source in node.backward)
    assert CG.ancestors(x) == [x]


def test_ancestors_come_in_the_order_in_which_they_are_read():
    """The order of ancestors is that of the arrays in a file of parameters."""
    a, b, c = CG.Leaf1(1), CG.Leaf1(1), CG.Leaf1(1)
    h = CG.ReLU(b)
    joined = CG.Concatenation([a, h, c, a])
    assert CG.ancestors(joined) == [a, b, h, c, joined]


def test_parameters_lists_the_live_arrays_of_all_ancestors_once():
    x = CG.Leaf2(3, 3)
    conv = CG.Convolution2d([x], [[[1, 2], [3, 4]]], 5)
    dense = CG.Affine(conv, np.ones((5, 1)))
    found = CG.parameters(CG.Dots(dense, dense))
    assert [(p.node, p.name) for p in found] == [
        (conv, "kernel"),
        (conv, "bias"),
        (dense, "weight"),
    ]
    assert [p.value.shape for p in found] == [p.grad.shape for p in found]
    found[1].value[0], found[1].grad[0] = 8, 9
    assert (conv.bias, conv.gradBias) == (8.0, 9.0)
    assert found[1].value.shape == (1,)
    found[0].value[...] = found[0].grad[...] = 6
    assert np.all(conv.kernel == 6)
    assert np.all(conv.gradKernel == 6)
    found[2].value[...] = found[2].grad[...] = 6
    assert np.all(dense.weight == 6)
    assert np.all(dense.gradWeight == 6)


@pytest.mark.parametrize("op", [CG.Add, CG.Sub, CG.ReLU, CG.Softmax, CG.Sigmoid, CG.Tanh])
def test_element_wise_nodes_keep_a_2d_shape(op):
    x = CG.Leaf2(3, 5)
    node = op(x, x) if op in (CG.Add, CG.Sub) else op(x)
    assert (node.height, node.width) == (3, 5)


def test_repr_says_class_shape_dtype_and_number_of_parameters():
    text = repr(CG.Affine(CG.Leaf1(5, dtype="float32"), np.ones((6, 7))))
    assert "Affine" in text
    assert "float32" in text
    assert {"7", "1", "42"} <= set(re.findall(r"\d+", text))
    assert {"3", "4"} <= set(re.findall(r"\d+", repr(CG.Leaf2(3, 4))))
    assert "float64" in repr(CG.Leaf2(3, 4))
    assert "Leaf2" in repr(CG.Leaf2(3, 4))
