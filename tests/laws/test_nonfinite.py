"""NaN and inf in one element reach exactly the results that depend on it, in every row of the table."""

import numpy as np
from amounts import over_kinds
from op_row import assert_close, build, gradient_sums, parameter_arrays, some_indices
from op_table import cases

every_kind = over_kinds(cases(), float32_in=4)
every_learning_kind = over_kinds([each for each in cases() if each[2].params])
POISONS = (np.nan, np.inf)


def gradients(built):
    """Runs the node's backward step on cleared gradients; returns those of the inputs and of the parameters."""
    grads = [leaf.grad for leaf in built.leaves], gradient_sums(built.node)
    for array in grads[0] + grads[1]:
        array[...] = 0
    built.node.calcPartialDerivative()
    return [[array.copy() for array in arrays] for arrays in grads]


def reference(built, case):
    """Returns data and gradients by the formulas, at the current values of the graph."""
    node = built.node
    xs = [leaf.data.reshape(leaf.height, leaf.width) for leaf in built.leaves]
    params = parameter_arrays(node)
    with np.errstate(all="ignore"):
        g = node.grad.reshape(node.height, node.width).astype(np.float64)
        return case.reference.forward(xs, params), *case.reference.backward(xs, params, g)


def poison(built, array, i, value):
    """Puts the value in and runs forward; returns a function that restores the element."""
    kept = array.flat[i]
    array.flat[i] = value
    built.node.calcData()

    def heal():
        array.flat[i] = kept
        built.node.calcData()

    return heal


def compare(actual, expected, tolerance):
    for ours, theirs in zip(actual, expected, strict=True):
        assert_close(ours, theirs, tolerance)


@every_kind
def test_a_poisoned_input_reaches_what_reads_it_and_nothing_else(
    row, case, dtype, build_name, thorough
):
    built = build(row, case, dtype)
    rng = np.random.default_rng(11)
    built.node.grad[...] = rng.uniform(0.5, 1.0, built.node.size)
    for leaf in built.leaves[:3]:
        for i in some_indices(leaf.size, 2 if thorough else 1, rng):
            for value in POISONS:
                heal = poison(built, leaf.data, i, value)
                data, dxs, dparams = reference(built, case)
                assert_close(built.node.data, data, row.tolerance[dtype])
                actual_dxs, actual_dparams = gradients(built)
                compare(actual_dxs, dxs, row.tolerance[dtype])
                compare(actual_dparams, dparams, row.tolerance[dtype])
                heal()


@every_kind
def test_a_poisoned_gradient_reaches_the_inputs_that_feed_its_element(
    row, case, dtype, build_name, thorough
):
    built = build(row, case, dtype)
    rng = np.random.default_rng(12)
    built.node.calcData()
    built.node.grad[...] = rng.uniform(0.5, 1.0, built.node.size)
    for i in some_indices(built.node.size, 2 if thorough else 1, rng):
        for value in POISONS:
            heal = poison(built, built.node.grad, i, value)
            _, dxs, dparams = reference(built, case)
            actual_dxs, actual_dparams = gradients(built)
            compare(actual_dxs, dxs, row.tolerance[dtype])
            for ours, theirs in zip(actual_dparams, dparams, strict=True):
                # A tap that reads only padding there may count it as 0 * inf or not at all.
                assert not np.any(np.isfinite(ours[~np.isfinite(theirs)]))
            heal()


@every_learning_kind
def test_a_poisoned_parameter_reaches_the_data_it_multiplies_and_spares_other_gradients(
    row, case, dtype, build_name, thorough
):
    """A parameter that is not finite reaches the gradients of the channel that it multiplies, and no others.

    Terms with an index outside the output are 0, whatever the parameter is.
    """
    for built, ours, theirs, clean in with_a_poisoned_parameter(
        row, case, dtype, 3 if thorough else 2
    ):
        data, dxs, dparams = theirs
        assert np.all(np.isnan(built.node.data[np.isnan(data.ravel())]))
        actual_dxs, actual_dparams = ours
        compare(actual_dparams, clean if row.is_linear else dparams, row.tolerance[dtype])
        compare(actual_dxs, dxs, row.tolerance[dtype])
        assert not row.is_linear or sum(not np.all(np.isfinite(dx)) for dx in actual_dxs) <= 1


def with_a_poisoned_parameter(row, case, dtype, count):
    """Yields (node, gradients, reference, clean parameter gradients) with NaN or inf in one of `count` elements."""
    built = build(row, case, dtype)
    rng = np.random.default_rng(13)
    built.node.calcData()
    built.node.grad[...] = rng.uniform(0.5, 1.0, built.node.size)
    _, clean = gradients(built)
    for array in parameter_arrays(built.node):
        for i in some_indices(array.size, count, rng):
            for value in POISONS:
                heal = poison(built, array, i, value)
                yield built, gradients(built), reference(built, case), clean
                heal()
