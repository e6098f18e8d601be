"""The validation of arrays from users: the arrays that are accepted, and the errors for others."""

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

import cgraph as CG

REAL_DTYPES = [
    *("?", "i1", "u1", "<i2", ">i2", "<u2", "<i4", ">i4", "<u4", "<i8", ">i8", "<u8", ">u8"),
    *("<f2", ">f2", "<f4", ">f4", "<f8", ">f8", "g"),
]


def leaf2(dtype="float64"):
    node = CG.Leaf2(2, 3, dtype=dtype)
    node.data[...] = -1
    return node


def readonly(array):
    array.flags.writeable = False
    return array


PATTERN = np.array([[0, 1, 0], [1, 1, 0]])
BIG = np.zeros((4, 6))
BIG[::2, ::2] = PATTERN

LAYOUTS = {
    "contiguous": PATTERN.astype(float),
    "flat": PATTERN.ravel(),
    "fortran": np.asfortranarray(PATTERN.astype(float)),
    "transposed": np.ascontiguousarray(PATTERN.T.astype(float)).T,
    "strided": BIG[::2, ::2],
    "reversed": np.ascontiguousarray(PATTERN[::-1, ::-1].astype(float))[::-1, ::-1],
    "readonly": readonly(PATTERN.astype(float)),
    "broadcast": np.broadcast_to(PATTERN.astype(float), (1, 2, 3))[0],
    "unaligned": np.frombuffer(b"\0" + PATTERN.astype("f8").tobytes(), "f8", 6, 1).reshape(2, 3),
    "lists": PATTERN.tolist(),
    "flat_list": PATTERN.ravel().tolist(),
    "tuples": tuple(map(tuple, PATTERN.tolist())),
    "list_of_arrays": list(PATTERN.astype(float)),
    "list_of_scalars": [np.float32(v) for v in PATTERN.ravel()],
    "list_of_bools": [bool(v) for v in PATTERN.ravel()],
    "memoryview": memoryview(PATTERN.astype(float)),
    "range": range(6),
}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("real", REAL_DTYPES)
def test_every_real_dtype_and_byte_order_is_cast(real, dtype):
    node = leaf2(dtype)
    node.getInput(PATTERN.astype(real))
    assert node.data.tolist() == PATTERN.ravel().tolist()
    assert node.data.dtype == np.dtype(dtype)


@pytest.mark.parametrize("value", LAYOUTS.values(), ids=LAYOUTS)
def test_every_layout_is_read_row_by_row(value):
    node = leaf2()
    node.getInput(value)
    assert node.data.tolist() == np.asarray(value).ravel().tolist()


MATRICES = {name: value for name, value in LAYOUTS.items() if np.ndim(value) == 2}
MATRICES |= {f"dtype_{real}": PATTERN.astype(real) for real in REAL_DTYPES}


@pytest.mark.parametrize("value", MATRICES.values(), ids=MATRICES)
def test_parameters_and_assignments_take_every_layout_and_dtype(value):
    cube = np.asarray(value)[np.newaxis]
    affine = CG.Affine(CG.Leaf1(1), value)
    convolution = CG.Convolution2d([CG.Leaf2(3, 3)], cube, 0)
    assert affine.weight.tolist() == convolution.kernel[0].tolist() == PATTERN.tolist()
    affine.weight[...] = convolution.kernel[...] = -1
    affine.weight, convolution.kernel = value, cube
    affine.gradWeight, convolution.gradKernel = value, cube
    affine.grad, affine.data = cube[0]
    assert affine.weight.tolist() == convolution.kernel[0].tolist() == PATTERN.tolist()
    assert affine.gradWeight.tolist() == convolution.gradKernel[0].tolist() == PATTERN.tolist()
    assert [affine.grad.tolist(), affine.data.tolist()] == PATTERN.tolist()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_nan_and_inf_are_legal_data(dtype):
    node = CG.Leaf1(3, dtype=dtype)
    node.getInput([np.nan, np.inf, -np.inf])
    np.testing.assert_array_equal(node.data, [np.nan, np.inf, -np.inf])


def test_input_is_copied():
    node, source = CG.Leaf1(3), np.ones(3)
    node.getInput(source)
    source[...] = 5
    assert node.data.tolist() == [1, 1, 1]
    node.data[...] = 7
    assert source.tolist() == [5, 5, 5]


NOT_REAL = {
    "none": None,
    "string": "123456",
    "bytes": b"123456",
    "strings": ["1", "2", "3", "4", "5", "6"],
    "complex": np.ones(6, dtype=complex),
    "complex_list": [1j] * 6,
    "object": np.ones(6, dtype=object),
    "list_with_none": [1, 2, 3, 4, 5, None],
    "fractions": [Fraction(1, 2)] * 6,
    "decimals": [Decimal(1)] * 6,
    "datetimes": np.zeros(6, dtype="M8[s]"),
    "timedeltas": np.zeros(6, dtype="m8[s]"),
    "structured": np.zeros(6, dtype=[("a", float)]),
    "dict": dict.fromkeys(range(6), 1.0),
    "set": {1.0, 2.0, 3.0, 4.0, 5.0, 6.0},
    "generator": (float(k) for k in range(6)),
    "node": CG.Leaf1(6),
}


@pytest.mark.parametrize("value", NOT_REAL.values(), ids=NOT_REAL)
def test_what_is_not_real_is_a_TypeError(value):
    node = leaf2()
    with pytest.raises(TypeError):
        node.getInput(value)
    assert node.data.tolist() == [-1] * 6


def test_ragged_lists_are_refused():
    node = leaf2()
    with pytest.raises((TypeError, ValueError)):
        node.getInput([[1, 2, 3], [4, 5]])
    assert node.data.tolist() == [-1] * 6


def shapes(*wrong):
    return pytest.mark.parametrize("shape", wrong, ids=str)


@shapes((), (0,), (5,), (7,), (3, 2), (2, 2), (1, 6), (6, 1), (1, 2, 3), (2, 3, 1))
def test_leaf2_takes_its_own_shape_or_a_flat_vector_only(shape):
    node = leaf2()
    with pytest.raises(ValueError, match="Leaf2"):
        node.getInput(np.zeros(shape))
    assert node.data.tolist() == [-1] * 6


@shapes((), (0,), (2,), (4,), (3, 1), (1, 3), (3, 1, 1))
def test_leaf1_takes_a_vector_of_its_size_only(shape):
    with pytest.raises(ValueError, match="Leaf1"):
        CG.Leaf1(3).getInput(np.zeros(shape))
    if shape == ():
        with pytest.raises(ValueError, match="Leaf1"):
            CG.Leaf1(1).getInput(5.0)


def test_a_refused_shape_is_told_with_both_sizes():
    with pytest.raises(ValueError, match=r"Leaf1.*\b3\b.*\b4\b"):
        CG.Leaf1(3).getInput(np.zeros(4))


KINDS = [True, np.True_, 2.0, np.float64(2), float("nan"), float("inf"), "2", None, [2], 2j]
VALUES = [0, -1, -(10**30), 10**30, 2**62, 2**63, np.int64(-3)]

SIZED = {
    "Leaf1_size": lambda n: CG.Leaf1(n),
    "Leaf2_height": lambda n: CG.Leaf2(n, 2),
    "Leaf2_width": lambda n: CG.Leaf2(2, n),
    "Node_height": lambda n: CG.Node(1, n, 1),
    "Node_width": lambda n: CG.Node(1, 1, n),
    "pool_kernelHeight": lambda n: CG.MaxPooling2d(CG.Leaf2(4, 4), n, 2, 2),
    "pool_kernelWidth": lambda n: CG.AveragePooling2d(CG.Leaf2(4, 4), 2, n, 2),
    "pool_stride": lambda n: CG.MaxPooling2d(CG.Leaf2(4, 4), 2, 2, n, 2, 2),
    "pool_height": lambda n: CG.MaxPooling2d(CG.Leaf2(4, 4), 2, 2, 2, n, 2),
    "conv_stride": lambda n: CG.Convolution2d([CG.Leaf2(4, 4)], np.ones((1, 2, 2)), 0, n, 2, 2),
    "conv_width": lambda n: CG.Convolution2d([CG.Leaf2(4, 4)], np.ones((1, 2, 2)), 0, 3, n),
    "filter_kernelWidth": lambda n: CG.Filter2d([CG.Leaf2(4, 4)], 2, n, 1, 0, 0, 3, 3),
}


@pytest.mark.parametrize("make", SIZED.values(), ids=SIZED)
@pytest.mark.parametrize("size", KINDS, ids=repr)
def test_a_size_that_is_no_integer_is_a_TypeError(make, size):
    with pytest.raises(TypeError, match=r"^\w+: "):
        make(size)


@pytest.mark.parametrize("make", SIZED.values(), ids=SIZED)
@pytest.mark.parametrize("size", VALUES, ids=repr)
def test_a_size_out_of_range_is_a_ValueError(make, size):
    with pytest.raises(ValueError, match=r"^\w+: "):
        make(size)


@pytest.mark.parametrize("size", [np.int8(3), np.uint64(3), np.array(3)], ids=repr)
def test_a_size_may_be_any_integer(size):
    node = CG.Leaf2(size, 2)
    assert node.height == 3
    assert type(node.height) is int


PADDED = {
    "top": lambda n: CG.MaxPooling2d(CG.Leaf2(4, 4), 2, 2, 1, n, 0, 3, 3),
    "left": lambda n: CG.Convolution2d([CG.Leaf2(4, 4)], np.ones((1, 2, 2)), 0, 1, 0, n, 3, 3),
}


@pytest.mark.parametrize("make", PADDED.values(), ids=PADDED)
def test_a_padding_must_be_an_integer_of_at_least_zero(make):
    assert make(0).size == 9
    for padding in (-1, 10**30):
        with pytest.raises(ValueError, match="Padding"):
            make(padding)
    for padding in (0.0, True, None, "0"):
        with pytest.raises(TypeError):
            make(padding)


@pytest.mark.parametrize("eta", [None, "0.1", 1j, [0.1, 0.2]], ids=repr)
def test_a_learning_rate_must_be_a_real_number(eta):
    node = CG.Affine(CG.Leaf1(1), np.ones((2, 1)))
    node.gradWeight[...] = 1
    for step in (node.update, node.updateParameters):
        with pytest.raises((TypeError, ValueError)):
            step(eta)
    assert node.weight.tolist() == node.gradWeight.tolist() == [[1], [1]]
    assert node.f_count == 0


def image():
    return CG.Leaf2(1, 1)


SCALARS = {
    "affine_bias": lambda x, value: CG.Affine(x, np.ones((2, 1)), value),
    "convolution_bias": lambda x, value: CG.Convolution2d([x], np.ones((1, 1, 1)), value),
    "pad_value": lambda x, value: CG.MaxPooling2d(x, 1, 1, 1, pad_value=value),
}
every_scalar = pytest.mark.parametrize("make", SCALARS.values(), ids=SCALARS)


@every_scalar
@pytest.mark.parametrize("value", [None, "1", 1j, [1.0, 2.0], np.ones(2)], ids=repr)
def test_a_scalar_argument_must_be_a_real_number(make, value):
    x = image()
    with pytest.raises((TypeError, ValueError)):
        make(x, value)
    assert x.forward == []


@every_scalar
@pytest.mark.parametrize("value", [1, 1.5, np.float32(2), np.int8(1), np.array(1.0)], ids=repr)
def test_a_scalar_argument_may_be_any_real_number(make, value):
    x = image()
    node = make(x, value)
    assert x.forward == [node]
    if hasattr(node, "bias"):
        assert node.bias == float(value)
        assert type(node.bias) is float


@pytest.mark.parametrize("dtype", ["int32", "float16", "complex128", "nonsense", 3, object])
def test_only_float32_and_float64_are_dtypes(dtype):
    with pytest.raises((TypeError, ValueError)):
        CG.Leaf1(2, dtype=dtype)


@pytest.mark.parametrize("dtype", ["float32", np.float32, np.dtype("float32"), "f4"], ids=repr)
def test_dtype_is_whatever_numpy_understands(dtype):
    assert CG.Leaf1(2, dtype=dtype).dtype == np.float32
    assert CG.Leaf2(2, 2, dtype=dtype).data.dtype == np.float32
