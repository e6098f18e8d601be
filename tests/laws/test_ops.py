"""The laws of an op, each over all rows of the op table."""

import numpy as np
import pytest
from amounts import over, over_kinds, over_slopes
from arrays import assert_equal
from op_row import assert_close, build, gradient_sums, leaf_of, parameter_arrays
from op_table import DTYPES, ROWS, cases

import cgraph as CG
from cgraph import _kernels

every_case = over(cases())
every_kind = over_kinds(cases())
half_of_float32 = over_kinds(cases(), float32_in=2)
idle_case = over(cases(computing=False))
both_dtypes = pytest.mark.parametrize("dtype", DTYPES)


def seed_gradients(built, rng):
    """Fills all gradients around the node with arbitrary values; returns copies of those to which the node adds."""
    grads = [leaf.grad for leaf in built.leaves] + gradient_sums(built.node)
    for array in [built.node.grad, *grads]:
        array[...] = rng.standard_normal(array.shape)
    return [array.copy() for array in grads]


def shares(built):
    """Returns the gradients that one calcPartialDerivative adds: of the inputs first, then of the parameters."""
    grads = [leaf.grad for leaf in built.leaves] + gradient_sums(built.node)
    for array in grads:
        array[...] = 0
    built.node.calcPartialDerivative()
    return [array.copy() for array in grads]


def expected_shares(built, case):
    g = built.node.grad.reshape(built.node.height, built.node.width).astype(np.float64)
    dxs, dparams = case.reference.backward(built.xs, built.params, g)
    return dxs + dparams


def check_reference_values(row, case, dtype):
    built = build(row, case, dtype)
    expected = case.reference.forward(built.xs, built.params)
    built.node.calcData()
    assert (built.node.height, built.node.width) == expected.shape
    assert_close(built.node.data, expected, row.tolerance[dtype])
    seed_gradients(built, np.random.default_rng(1))
    expected = expected_shares(built, case)
    actual = shares(built)
    assert len(actual) == len(expected)
    for share, reference in zip(actual, expected, strict=True):
        assert_close(share, reference, row.tolerance[dtype])


@every_kind
def test_data_and_gradients_have_the_reference_values(row, case, dtype, build_name):
    check_reference_values(row, case, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_affine_of_every_width_has_the_reference_values(dtype, build_name):
    """Also of the widths that the other laws leave to `pytest -m full`."""
    row = next(row for row in ROWS if row.op is CG.Affine)
    widths = [case for name, case in row.cases.items() if name.startswith("n")]
    assert len(widths) == 40
    for case in widths:
        check_reference_values(row, case, dtype)


@over_slopes(large=5000)
def test_gradients_are_the_slopes_of_the_data(row, case, mode, gradcheck):
    built = build(row, case, "float64")
    weights = leaf_of((built.node.height, built.node.width), "float64")
    weights.getInput(np.random.default_rng(2).standard_normal(built.node.size))
    gradcheck(CG.Dots(built.node, weights), mode=mode)


def leave_nan_in_scratch(dtype):
    """Runs a convolution of NaN, which is larger than those of the table."""
    x = CG.Leaf2(70, 70, dtype=dtype)
    node = CG.Convolution2d([x], np.full((1, 2, 2), np.nan), np.nan)
    x.data[...] = node.grad[...] = np.nan
    node.calcData()
    node.calcPartialDerivative()


@half_of_float32
def test_nothing_left_in_memory_shows_in_data_or_gradients(row, case, dtype, build_name):
    """NaN in the data or in scratch, and an earlier sample, are overwritten entirely."""
    unused, used = build(row, case, dtype), build(row, case, dtype, seed=9)
    unused.node.grad[...] = used.node.grad[...] = 0.5
    unused.node.calcData()
    expected = shares(unused)
    used.node.calcData()
    for leaf, x in zip(used.leaves, unused.xs, strict=True):
        leaf.getInput(x.ravel())
    for array, value in zip(parameter_arrays(used.node), unused.params, strict=True):
        array[...] = value
    used.node.data[...] = np.nan
    leave_nan_in_scratch(dtype)
    used.node.calcData()
    assert_equal(used.node.data, unused.node.data)
    leave_nan_in_scratch(dtype)
    for ours, theirs in zip(shares(used), expected, strict=True):
        assert_equal(ours, theirs)


def spread(array):
    """Returns a copy as a view of every third element of an array of NaN."""
    view = np.full(3 * array.size, np.nan, array.dtype)[1::3]
    view[...] = array
    return view


@half_of_float32
def test_data_and_gradients_may_be_strided_views(row, case, dtype, build_name):
    """Nodes are built with contiguous arrays, but kernels accept strided views, too."""
    packed, strided = build(row, case, dtype), build(row, case, dtype)
    for node in {strided.node, *strided.leaves}:
        node._data, node._grad = spread(node.data), spread(node.grad)
    results = []
    for built in (packed, strided):
        built.node.calcData()
        built.node.grad[...] = np.linspace(-1, 1, built.node.size)
        results.append([built.node.data, *shares(built)])
    for ours, theirs in zip(*results, strict=True):
        assert_equal(ours, theirs)
    for node in {strided.node, *strided.leaves}:
        for view in (node.data, node.grad):
            assert np.isnan(view.base.reshape(-1, 3)[:, [0, 2]]).all()


@every_case
def test_calcData_only_reads_everything_but_its_data(row, case):
    for dtype in DTYPES:
        built = build(row, case, dtype)
        seeded = seed_gradients(built, np.random.default_rng(3))
        own = built.node.grad.copy()
        built.node.calcData()
        for leaf, x in zip(built.leaves, built.xs, strict=True):
            assert_equal(leaf.data, x.ravel())
        for value, param in zip(parameter_arrays(built.node), built.params, strict=True):
            assert_equal(value, param)
        targets = [leaf.grad for leaf in built.leaves] + gradient_sums(built.node)
        for array, before in zip(targets, seeded, strict=True):
            assert_equal(array, before)
        assert_equal(built.node.grad, own)


@half_of_float32
def test_calcPartialDerivative_adds_its_share_each_time(row, case, dtype, build_name):
    built = build(row, case, dtype)
    built.node.calcData()
    built.node.grad[...] = np.random.default_rng(4).standard_normal(built.node.size)
    own, once = built.node.grad.copy(), shares(built)
    before = seed_gradients(built, np.random.default_rng(5))
    built.node.grad[...] = own
    built.node.calcPartialDerivative()
    built.node.calcPartialDerivative()
    grads = [leaf.grad for leaf in built.leaves] + gradient_sums(built.node)
    for array, start, share in zip(grads, before, once, strict=True):
        assert_close(array, start.astype(np.float64) + 2.0 * share, 2 * row.tolerance[dtype])


@every_case
def test_calcPartialDerivative_only_reads_data_parameters_and_its_own_gradient(row, case):
    for dtype in DTYPES:
        built = build(row, case, dtype)
        built.node.calcData()
        seed_gradients(built, np.random.default_rng(6))
        data, own = built.node.data.copy(), built.node.grad.copy()
        built.node.calcPartialDerivative()
        assert_equal(built.node.data, data)
        assert_equal(built.node.grad, own)
        for leaf, x in zip(built.leaves, built.xs, strict=True):
            assert_equal(leaf.data, x.ravel())
        for value, param in zip(parameter_arrays(built.node), built.params, strict=True):
            assert_equal(value, param)


@over(cases() + cases(computing=False))
def test_every_buffer_has_the_dtype_of_the_inputs(row, case):
    for dtype in DTYPES:
        built = build(row, case, dtype)
        built.node.calcData()
        assert built.node.dtype == np.dtype(dtype)
        for array in [
            built.node.data,
            built.node.grad,
            *parameter_arrays(built.node),
            *gradient_sums(built.node),
        ]:
            assert array.dtype == np.dtype(dtype)
        assert built.node.data.shape == built.node.grad.shape == (built.node.size,)
        assert built.node.size == built.node.height * built.node.width


@every_case
def test_domsize_counts_the_inputs_elements(row, case):
    """`domsize` counts one channel of a filter, one vector of two, and all inputs of Concatenation and of cells."""
    sizes = [h * w for h, w in case.shapes]
    counts_all = row.op in (CG.Concatenation, CG.GRUCell, CG.LSTMCell)
    expected = sum(sizes) if counts_all else sizes[0]
    for dtype in DTYPES:
        assert build(row, case, dtype).node.domsize == expected


@pytest.mark.thread_unsafe(reason="selects kernels for all threads")
@pytest.mark.parametrize("build_name", _kernels.available()[1:], indirect=True)
@both_dtypes
@every_case
def test_every_build_equals_the_baseline(row, case, dtype, build_name):
    def results(name):
        _kernels.select(name)
        built = build(row, case, dtype)
        built.node.calcData()
        seed_gradients(built, np.random.default_rng(7))
        return [built.node.data.copy(), *shares(built)]

    for ours, baseline in zip(results(build_name), results("baseline"), strict=True):
        assert_close(ours, baseline, row.tolerance[dtype])


@both_dtypes
@idle_case
def test_leaves_and_abstract_classes_calculate_nothing(row, case, dtype):
    built = build(row, case, dtype)
    expected = case.reference.forward(built.xs, built.params)
    assert_equal(built.node.data, expected.ravel())
    assert (built.node.height, built.node.width) == expected.shape
    built.node.grad[...] = 1
    built.node.data[...] = np.nan
    built.node.calcData()
    assert np.all(np.isnan(built.node.data))
    before = seed_gradients(built, np.random.default_rng(8))
    built.node.calcPartialDerivative()
    for leaf, start in zip(built.leaves, before, strict=True):
        assert_equal(leaf.grad, start)


def test_every_node_class_has_exactly_one_row():
    exported = {value for value in vars(CG).values() if isinstance(value, type)}
    classes = {value for value in exported if issubclass(value, CG.Node)}
    tabled = [row.op for row in ROWS]
    assert len(tabled) == len(set(tabled))
    assert {cls.__name__ for cls in classes} == {op.__name__ for op in tabled}
    assert all(row.cases for row in ROWS)
