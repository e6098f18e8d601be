"""NaN and inf in one element reach exactly what reads that element, in every row of the table."""

import numpy as np
from amounts import over_kinds
from op_row import assert_close, build, some_indices, sums, values
from op_table import cases

every_kind = over_kinds(cases())
every_learning_kind = over_kinds([each for each in cases() if each[2].params])
POISONS = (np.nan, np.inf)


def gradients(built):
    """Run the node's backward step on cleared gradients: (of the inputs, of the parameters)."""
    targets = [leaf.grad for leaf in built.leaves], sums(built.node)
    for array in targets[0] + targets[1]:
        array[...] = 0
    built.node.calcPartialDerivative()
    return [[array.copy() for array in group] for group in targets]


def reference(built, case):
    """Data and gradients by the formulas, at the values that the graph holds now."""
    node = built.node
    xs = [leaf.data.reshape(leaf.height, leaf.width) for leaf in built.leaves]
    params = values(node)
    with np.errstate(all="ignore"):
        g = node.grad.reshape(node.height, node.width).astype(np.float64)
        return case.reference.forward(xs, params), *case.reference.backward(xs, params, g)


def poison(built, array, i, value):
    """Put the value in, run forward, and give what to call to take it out again."""
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
def test_a_poisoned_input_reaches_what_reads_it_and_nothing_else(row, case, dtype, build_name):
    built = build(row, case, dtype)
    rng = np.random.default_rng(11)
    built.node.grad[...] = rng.uniform(0.5, 1.0, built.node.size)
    for leaf in built.leaves[:3]:
        for i in some_indices(leaf.size, 2, rng):
            for value in POISONS:
                heal = poison(built, leaf.data, i, value)
                data, dxs, dparams = reference(built, case)
                assert_close(built.node.data, data, row.tolerance[dtype])
                actual_dxs, actual_dparams = gradients(built)
                compare(actual_dxs, dxs, row.tolerance[dtype])
                compare(actual_dparams, dparams, row.tolerance[dtype])
                heal()


@every_kind
def test_a_poisoned_gradient_reaches_the_inputs_that_feed_its_element(row, case, dtype, build_name):
    built = build(row, case, dtype)
    rng = np.random.default_rng(12)
    built.node.calcData()
    built.node.grad[...] = rng.uniform(0.5, 1.0, built.node.size)
    for i in some_indices(built.node.size, 2, rng):
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
    row, case, dtype, build_name
):
    """Of the inputs' gradients it reaches those of the channel it weighs.

    Terms with an index outside the output are 0, whatever the parameter is.
    """
    for built, ours, theirs, clean in with_a_poisoned_parameter(row, case, dtype):
        data, dxs, _ = theirs
        assert np.all(np.isnan(built.node.data[np.isnan(data.ravel())]))
        actual_dxs, actual_dparams = ours
        compare(actual_dparams, clean, row.tolerance[dtype])
        compare(actual_dxs, dxs, row.tolerance[dtype])
        assert sum(not np.all(np.isfinite(dx)) for dx in actual_dxs) <= 1


def with_a_poisoned_parameter(row, case, dtype):
    """(node, its gradients, the reference, clean parameter gradients), a NaN or inf in one place each."""
    built = build(row, case, dtype)
    rng = np.random.default_rng(13)
    built.node.calcData()
    built.node.grad[...] = rng.uniform(0.5, 1.0, built.node.size)
    _, clean = gradients(built)
    for array in values(built.node):
        for i in some_indices(array.size, 3, rng):
            for value in POISONS:
                heal = poison(built, array, i, value)
                yield built, gradients(built), reference(built, case), clean
                heal()
