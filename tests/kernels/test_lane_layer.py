"""The step of Affine and Convolution2d over samples side by side, against plain NumPy loops."""

import numpy as np
import pytest
from amounts import full
from lane_arena import lanes_of
from lane_layers import Bench, affine, group, lone
from numpy.testing import assert_array_equal

from cgraph._kernels.lanes import offsets

LENET = [(c, o) for o in range(16) for c in range(6) if not (o == 15 or (c - o) % 6 < 3 + o // 6)]
LAYERS = {
    "affine-1-1": affine(1, 1),
    "affine-7-3": affine(7, 3, bias=2.0),
    "affine-5-13": affine(5, 13, bias=-1.0),
    "affine-13-16": affine(13, 16),
    "affine-70-33": affine(70, 33, bias=3.0),
    "affine-300-9": affine(300, 9),
    "affine-9-300": affine(9, 300, columns=4),
    "affine-20-17-wide": affine(20, 17, columns=4),
    "1x1": group((3, 4), (1, 1), 3, 5),
    "1x1-stride": group((5, 5), (1, 1), 2, 4, stride=2),
    "one-output": group((5, 5), (5, 5), 4, 12),
    "padded": group((6, 5), (3, 3), 3, 7, height=6, width=5),
    "padded-even": group((4, 4), (2, 2), 2, 6, height=4, width=4),
    "larger-than-input": group((2, 2), (3, 3), 2, 3, height=2, width=2),
    "outside": group((2, 2), (2, 2), 2, 3, top=3, left=3, height=6, width=6),
    "stride": group((7, 7), (3, 3), 2, 8, stride=2),
    "stride-padded": group((7, 8), (3, 2), 2, 5, stride=2, height=4, width=5),
    "stride-beyond-kernel": group((7, 7), (2, 2), 2, 2, stride=3, height=3, width=3),
    "cropped": group((8, 7), (2, 2), 3, 5, stride=3, crop=True),
    "cropped-padded": group(
        (9, 7), (3, 3), 2, 6, stride=2, top=1, left=0, height=4, width=4, crop=True
    ),
    "cropped-1x1": group((6, 4), (1, 1), 3, 9, stride=2, crop=True),
    "cropped-one-window": group((3, 3), (3, 3), 2, 20, top=1, left=1, height=1, width=1, crop=True),
    "cropped-sparse": group((6, 6), (3, 3), 3, 4, missing=[(0, 1), (2, 1)], stride=2, crop=True),
    "deep": group((3, 3), (3, 3), 130, 2, height=3, width=3),
    "wide": group((4, 9), (2, 3), 3, 17, columns=2),
    "scattered": group((4, 4), (3, 3), 3, 6, channels=(5, 0, 3)),
    "repeated": group((4, 4), (3, 3), 4, 6, channels=(1, 0, 1, 2)),
    "repeated-sparse": group(
        (4, 4), (2, 2), 4, 3, channels=(0, 1, 1, 0), missing=[(0, 0), (3, 1), (3, 2)]
    ),
    "sparse": group((5, 5), (3, 3), 3, 4, missing=[(0, 1), (2, 1), (1, 3)], height=5, width=5),
    "sparse-lenet": group((7, 7), (5, 5), 6, 16, missing=LENET),
    "sparse-deep": group(
        (3, 3), (3, 3), 100, 3, missing=[(c, c % 3) for c in range(100)], height=3, width=3
    ),
    "unconnected": group((3, 3), (2, 2), 2, 3, missing=[(0, 1), (1, 1), (0, 0), (0, 2)]),
    "lone": lone((6, 6), (3, 3), 3, height=6, width=6),
    "lone-large": lone((12, 12), (5, 5), 1),
    **{f"outputs-{n}": group((4, 4), (3, 3), 2, n) for n in range(1, 18)},
}


def valid_counts(dtype):
    lanes = lanes_of(dtype)
    return [1, lanes - 1, lanes]


CASES = [
    pytest.param(layer, dtype, valid, id=f"{name}-{dtype}-{valid}")
    for name, layer in LAYERS.items()
    for dtype in ("float32", "float64")
    for valid in valid_counts(dtype)
]
# Each layer has six; by default every other one, beginning with the first or with the second.
SOME_CASES = [case if (k + k // 6) % 2 == 0 else full(case) for k, case in enumerate(CASES)]


@pytest.mark.parametrize(("layer", "dtype", "valid"), SOME_CASES)
def test_a_layer_has_the_values_and_gradients_of_plain_loops(layer, dtype, valid):
    bench = Bench(layer, dtype)
    bench.fill(bench.lanes - (lanes_of(dtype) - valid))
    d, dx, dw, db = bench.reference()
    assert_array_equal(bench.forward(), d)
    found = bench.backward(True)
    read = sorted(set(layer.channels))
    assert_array_equal(found[read], dx[read])
    assert_array_equal(bench.sums[bench.weight_positions], dw)
    assert_array_equal(bench.sums[bench.bias_positions], db)
    before = bench.sums[bench.weight_positions], bench.sums[bench.bias_positions], np.array(found)
    bench.backward(True)
    after = bench.sums[bench.weight_positions], bench.sums[bench.bias_positions], found
    for once, again in zip(before, after, strict=True):
        assert once.tobytes() == np.array(again).tobytes()


SPARSE = [case for case in CASES if case.values[0].connected is not None]


@pytest.mark.parametrize(("layer", "dtype", "valid"), SPARSE)
def test_terms_that_are_made_when_they_are_summed_are_those_that_are_kept(
    layer, dtype, valid, monkeypatch
):
    """A layer of many groups makes its terms while they are summed."""
    monkeypatch.setattr(offsets, "MAX_STORED_TERMS", 0)
    test_a_layer_has_the_values_and_gradients_of_plain_loops(layer, dtype, valid)


# Each layer, with the dtypes and counts in turn.
@pytest.mark.parametrize(("layer", "dtype", "valid"), CASES[::5])
def test_a_layer_adds_to_gradients(layer, dtype, valid):
    bench = Bench(layer, dtype, add=True)
    bench.fill(valid)
    _, dx, dw, db = bench.reference()
    bench.inputs(bench.grad)[:] = 5
    bench.sums[:] = 3
    bench.forward()
    found = bench.backward(False)
    read = sorted(set(layer.channels))
    assert_array_equal(found[read], 5 + dx[read])
    assert_array_equal(bench.sums[bench.weight_positions], 3 + dw)
    assert_array_equal(bench.sums[bench.bias_positions], 3 + db)


@pytest.mark.parametrize("name", ["affine-70-33", "padded", "scattered", "sparse", "lone"])
def test_a_gradient_that_is_not_wanted_is_left_alone(name):
    layer = LAYERS[name]
    unwanted = layer.channels[::2]
    bench = Bench(layer, "float32", unwanted=unwanted)
    bench.fill(bench.lanes)
    _, dx, dw, _ = bench.reference()
    bench.inputs(bench.grad)[:] = 5
    dx[list(unwanted)] = 5
    bench.forward()
    read = list(layer.channels)
    assert_array_equal(bench.backward(True)[read], dx[read])
    assert_array_equal(bench.sums[bench.weight_positions], dw)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["sparse", "padded", "sparse-lenet", "affine-13-16"])
def test_what_is_not_finite_stays_with_its_sample_and_with_what_reads_it(name, value):
    layer = LAYERS[name]
    bench = Bench(layer, "float64")
    bench.fill(bench.lanes)
    linked = np.ones(bench.w.shape[1:]) if layer.connected is None else layer.connected
    bench.values[bench.weight_positions[:, linked > 0]] = (
        1  # no weight is 0 but where a connection is missing
    )
    bench.inputs(bench.data)[0, :, 2] = value
    bench.outputs(bench.grad)[1, :, 3] = value
    reached = ~np.isfinite(bench.forward())
    assert reached.any((0, 1)).tolist() == [lane == 2 for lane in range(bench.lanes)]
    assert reached[:, :, 2].any(1).tolist() == (linked[0] > 0).tolist()
    reached = ~np.isfinite(bench.backward(True))
    assert reached.any((0, 1)).tolist() == [lane == 3 for lane in range(bench.lanes)]
    assert reached[:, :, 3].any(1).tolist() == (linked[:, 1] > 0).tolist()
    slopes = bench.sums[bench.weight_positions]
    spoilt = np.zeros(linked.shape, bool)
    spoilt[0], spoilt[:, 1] = True, True
    assert np.array_equal(~np.isfinite(slopes).all(0), spoilt & (linked > 0))
    assert not slopes[:, linked == 0].any()


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize(
    "name", ["padded", "sparse", "repeated", "lone", "outside", "cropped-padded"]
)
def test_padding_is_multiplied_by_what_is_not_finite(name, value):
    bench = Bench(LAYERS[name], "float64")
    bench.fill(bench.lanes)
    bench.values[bench.weight_positions[1, 0, 0]] = value
    bench.outputs(bench.grad)[0, 0, 3] = value
    d, dw = bench.framed()
    assert_array_equal(bench.forward(), d)
    bench.backward(True)
    assert_array_equal(bench.sums[bench.weight_positions], dw)
