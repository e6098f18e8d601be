"""The arguments that each constructor refuses, its errors, and that no node is left half-attached."""

import numpy as np
import pytest

import cgraph as CG


def vector(size=3, dtype=None):
    return CG.Leaf1(size, dtype=dtype)


def image(height=4, width=5, dtype=None):
    return CG.Leaf2(height, width, dtype=dtype)


def ones(*shape):
    return np.ones(shape)


# constructor and the words its message must have: (inputs, make(inputs), words)
BAD_VALUES = {
    "add_sizes": ([vector(3), vector(4)], lambda x, y: CG.Add(x, y), ["Add", "3", "4"]),
    "sub_shapes": ([image(2, 3), image(3, 2)], lambda x, y: CG.Sub(x, y), ["Sub", "2", "3"]),
    "dots_flat_and_2d": ([vector(6), image(2, 3)], lambda x, y: CG.Dots(x, y), ["Dots", "6"]),
    "mse_sizes": ([vector(3), vector(1)], lambda x, y: CG.MSE(x, y), ["MSE", "3", "1"]),
    "cee_shapes": ([image(1, 3), vector(3)], lambda x, y: CG.CEE(x, y), ["CEE", "1", "3"]),
    "mmtom_sizes": ([vector(3), vector(4)], lambda x, y: CG.MMtoM(x, y), ["MMtoM", "3", "4"]),
    "mmto1_sizes": ([vector(3), vector(4)], lambda x, y: CG.MMto1(x, y), ["MMto1", "3", "4"]),
    "affine_rows": ([vector(3)], lambda x: CG.Affine(x, ones(3, 2)), ["Affine", "Weight", "4"]),
    "affine_1d": ([vector(3)], lambda x: CG.Affine(x, ones(4)), ["Affine", "Weight", "4"]),
    "affine_3d": ([vector(3)], lambda x: CG.Affine(x, ones(4, 2, 1)), ["Affine", "Weight"]),
    "affine_no_column": ([vector(3)], lambda x: CG.Affine(x, ones(4, 0)), ["Affine", "Weight"]),
    "affine_bias": ([vector(3)], lambda x: CG.Affine(x, ones(4, 2), ones(2)), ["Affine", "bias"]),
    "concatenation_empty": ([], lambda: CG.Concatenation([]), ["Concatenation"]),
    "convolution_empty": (
        [],
        lambda: CG.Convolution2d([], ones(0, 2, 2), 0),
        ["Convolution2d"],
    ),
    "convolution_channels": (
        [image(), image()],
        lambda x, y: CG.Convolution2d([x, y], ones(3, 2, 2), 0),
        ["Convolution2d", "Kernel", "2", "3"],
    ),
    "convolution_2d_kernel": (
        [image()],
        lambda x: CG.Convolution2d([x], ones(2, 2), 0),
        ["Convolution2d", "Kernel"],
    ),
    "convolution_empty_kernel": (
        [image()],
        lambda x: CG.Convolution2d([x], ones(1, 0, 2), 0),
        ["Convolution2d", "Kernel"],
    ),
    "convolution_sizes_differ": (
        [image(4, 5), image(5, 4)],
        lambda x, y: CG.Convolution2d([x, y], ones(2, 2, 2), 0),
        ["Convolution2d", "4", "5"],
    ),
    "convolution_kernel_too_large": (
        [image(4, 5)],
        lambda x: CG.Convolution2d([x], ones(1, 6, 2), 0),
        ["Convolution2d", "4", "6"],
    ),
    "filter_sizes_differ": (
        [image(4, 5), image(4, 4)],
        lambda x, y: CG.Filter2d([x, y], 2, 2, 1, 0, 0, 3, 4),
        ["Filter2d", "4", "5"],
    ),
    "pooling_kernel_too_large": (
        [image(4, 5)],
        lambda x: CG.MaxPooling2d(x, 2, 7, 1),
        ["MaxPooling2d", "5", "7"],
    ),
    "pooling_bottom_negative": (
        [image(4, 5)],
        lambda x: CG.AveragePooling2d(x, 2, 2, 1, 2, 0, 2, 4),
        ["AveragePooling2d", "4", "2"],
    ),
}


@pytest.mark.parametrize(("inputs", "make", "words"), BAD_VALUES.values(), ids=BAD_VALUES)
def test_wrong_shapes_are_a_ValueError_that_names_op_and_numbers(inputs, make, words):
    with pytest.raises(ValueError, match=f"^{words[0]}: ") as refused:
        make(*inputs)
    message = str(refused.value)
    assert all(word in message for word in words), message
    assert all(node.forward == [] for node in inputs)


UNARY = [CG.MtoM, CG.ReLU, CG.Softmax, CG.Sigmoid, CG.Tanh, CG.Mto1, CG.Norm2]
UNARY += [CG.LogSoftmax, CG.Sum, CG.Mean]
BINARY = [CG.MMtoM, CG.Add, CG.Sub, CG.MMto1, CG.Dots, CG.MSE, CG.CEE]
LOSSES = [CG.SoftmaxCEE, CG.BCE, CG.Huber]
NOT_NODES = [None, 3, "x", np.ones(3), CG.Leaf1]
by_name = {"ids": lambda value: getattr(value, "__name__", repr(value))}


@pytest.mark.parametrize("wrong", NOT_NODES, ids=repr)
@pytest.mark.parametrize("op", UNARY, **by_name)
def test_the_input_must_be_a_node(op, wrong):
    with pytest.raises(TypeError, match=op.__name__):
        op(wrong)


@pytest.mark.parametrize("wrong", NOT_NODES, ids=repr)
@pytest.mark.parametrize("op", BINARY + LOSSES, **by_name)
def test_both_inputs_must_be_nodes(op, wrong):
    x = vector()
    for inputs in ((x, wrong), (wrong, x)):
        with pytest.raises(TypeError, match=op.__name__):
            op(*inputs)
    assert x.forward == []


LISTS = {
    "Concatenation": lambda nodes: CG.Concatenation(nodes),
    "Convolution2d": lambda nodes: CG.Convolution2d(nodes, ones(2, 2, 2), 0),
    "Filter2d": lambda nodes: CG.Filter2d(nodes, 2, 2, 1, 0, 0, 3, 4),
    "Node": lambda nodes: CG.Node(1, 1, 1, nodes),
}


@pytest.mark.parametrize("make", LISTS.values(), ids=LISTS)
def test_lists_of_nodes_hold_nodes_alone(make):
    x = image()
    for wrong in (None, 3, "xx", x, [x, None], [x, "x"], [x, [x]]):
        with pytest.raises(TypeError):
            make(wrong)
    assert x.forward == []


@pytest.mark.parametrize("make", LISTS.values(), ids=LISTS)
def test_lists_of_nodes_may_be_any_iterable(make):
    x, y = image(), image()
    assert make((x, y)).backward == make(iter([x, y])).backward == [x, y]


@pytest.mark.parametrize("make", LISTS.values(), ids=LISTS)
def test_lists_of_nodes_have_one_dtype(make):
    x, y = image(dtype="float32"), image(dtype="float64")
    with pytest.raises(TypeError, match="float"):
        make([x, y])
    assert x.forward == y.forward == []


@pytest.mark.parametrize("op", BINARY + LOSSES, **by_name)
def test_two_inputs_have_one_dtype(op):
    x, y = vector(dtype="float32"), vector(dtype="float64")
    for inputs in ((x, y), (y, x)):
        with pytest.raises(TypeError, match=op.__name__):
            op(*inputs)
    assert x.forward == y.forward == []


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_parameters_are_cast_to_the_dtype_of_the_node(dtype):
    x = image(2, 2, dtype=dtype)
    for real in ("f4", "f8", ">f8", "i2", "?"):
        affine = CG.Affine(x, ones(5, 2).astype(real), np.float64(0.1))
        convolution = CG.Convolution2d([x], ones(1, 2, 2).astype(real), np.float64(0.1))
        for p in CG.parameters(affine) + CG.parameters(convolution):
            assert p.value.dtype == p.grad.dtype == np.dtype(dtype)
        assert affine.weight.tolist() == [[1, 1]] * 5
        assert np.all(convolution.kernel == 1)


NOT_REAL = [None, "weights", 1j, [[1, None]], [["1"]]]


@pytest.mark.parametrize("wrong", NOT_REAL, ids=repr)
def test_parameters_must_be_real(wrong):
    x, y = vector(1), image(1, 1)
    with pytest.raises(TypeError, match="Affine: Weight"):
        CG.Affine(x, wrong)
    with pytest.raises(TypeError, match="Convolution2d: Kernel"):
        CG.Convolution2d([y], wrong, 0)
    assert x.forward == y.forward == []


def test_nan_and_inf_are_legal_parameters():
    x = vector(1)
    affine = CG.Affine(x, [[np.nan, 1.0], [np.inf, 2.0]])
    np.testing.assert_array_equal(affine.weight, [[np.nan, 1], [np.inf, 2]])


def test_the_bias_of_affine_is_one_by_default_and_fixed():
    x = vector(1)
    node = CG.Affine(x, [[2.0], [3.0]])
    assert node.bias == 1.0
    assert type(node.bias) is float
    half = CG.Affine(x, [[2.0], [3.0]], 0.5)
    x.getInput([10])
    x.forwardPropagation()
    assert half.bias == 0.5
    assert half.data.tolist() == [21.5]
    assert node.data.tolist() == [23]


def test_the_sizes_of_a_node_are_checked_before_anything_is_attached():
    x = vector(1)
    for sizes in [(1, 0, 1), (1, 1, 0), (-1, 1, 1), (1, 1.0, 1), (True, 1, 1)]:
        with pytest.raises((TypeError, ValueError)):
            CG.Node(*sizes, [x])
    assert x.forward == []


NAMED = {
    "Leaf1": lambda x: CG.Leaf1(size=3),
    "Leaf2": lambda x: CG.Leaf2(height=2, width=3),
    "Node": lambda x: CG.Node(domsize=20, height=2, width=3, inputs=[x]),
    "Concatenation": lambda x: CG.Concatenation(nodes=[x]),
    "Affine": lambda x: CG.Affine(node1=x, Weight=ones(21, 2), bias=2),
    "Filter2d": lambda x: CG.Filter2d(
        nodes=[x],
        kernelHeight=2,
        kernelWidth=2,
        stride=1,
        topPadding=0,
        leftPadding=0,
        height=3,
        width=4,
    ),
}
NAMED |= {
    "SoftmaxCEE": lambda x: CG.SoftmaxCEE(logits=x, target=x),
    "BCE": lambda x: CG.BCE(logits=x, target=x),
    "Huber": lambda x: CG.Huber(x=x, y=x, delta=2),
    "GaussianNLL": lambda x: CG.GaussianNLL(mean=x, log_variance=x, target=x),
    "LayerNorm": lambda x: CG.LayerNorm(node=x, gain=ones(20), bias=ones(20), eps=1),
    "GRUCell": lambda x: CG.GRUCell(
        x=x, h=x, W_ih=ones(60, 20), W_hh=ones(60, 20), b_ih=ones(60), b_hh=ones(60)
    ),
    "LSTMCell": lambda x: CG.LSTMCell(
        x=x, state=x, W_ih=ones(40, 20), W_hh=ones(40, 10), b_ih=ones(40), b_hh=ones(40)
    ),
    "Slice": lambda x: CG.Slice(node=x, start=2, stop=5),
}
NAMED |= {op.__name__: lambda x, op=op: op(node1=x) for op in UNARY}
NAMED |= {op.__name__: lambda x, op=op: op(node1=x, node2=x) for op in BINARY}


@pytest.mark.parametrize("name", NAMED)
def test_constructor_arguments_have_the_names_of_the_document(name):
    x = image()
    node = NAMED[name](x)
    assert type(node).__name__ == name
    assert set(node.backward) <= {x}
