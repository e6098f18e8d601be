"""The paddings of layers against Keras' published rules, in NumPy: sizes, places, −∞, means without padding."""

import itertools

import numpy as np
import pytest

import cgraph as CG

L = CG.layers
SIZES = list(itertools.product(range(1, 11), range(1, 6), range(1, 5)))


def keras_rows(m, k, s, padding):
    """Returns the number of outputs, and the padding before and after, as TensorFlow's documentation states them."""
    if padding == "valid":
        return -(-(m - k + 1) // s), 0, 0
    total = max(k - s, 0) if m % s == 0 else max(k - m % s, 0)
    return -(-m // s), total // 2, total - total // 2


def windows(image, k, s, padding, value):
    """Returns the windows of an image in an array of shape (n_h, n_w, k, k)."""
    (rows, *before), (columns, *left) = (keras_rows(m, k, s, padding) for m in image.shape)
    padded = np.pad(image, (before, left), constant_values=value)
    found = [
        [padded[s * i : s * i + k, s * j : s * j + k] for j in range(columns)] for i in range(rows)
    ]
    return np.array(found).reshape(rows, columns, k, k)


@pytest.mark.parametrize("padding", ["valid", "same"])
def test_sizes_and_places_are_those_of_keras(padding):
    for m, k, s in SIZES:
        if padding == "valid" and k > m:
            continue
        n, before, _ = keras_rows(m, k, s, padding)
        x = CG.Leaf2(m, 10)
        made = [
            *L.conv2d(x, 1, (k, 1), s, padding, rng=0),
            *L.max_pool2d(x, (k, 1), s, padding),
            *L.average_pool2d(x, (k, 1), s, padding),
        ]
        assert {(node.height, node.pt, node.sw, node.kheight) for node in made} == {
            (n, before, s, k)
        }
        y = CG.Leaf2(10, m)
        (turned,) = L.conv2d(y, 1, (1, k), s, padding, rng=0)
        assert (turned.width, turned.pl) == (n, before)


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize(("k", "s"), [(1, 2), (2, 1), (2, 2), (3, 1), (3, 2), (4, 3), (2, 3)])
def test_values_are_those_of_padded_images(k, s, padding):
    rng = np.random.default_rng(k + s)
    for shape in ((4, 4), (5, 7), (6, 5), (9, 10)):
        image = rng.normal(size=shape) - 5  # a padding of 0 would win
        x = CG.Leaf2(*shape)
        x.getInput(image)
        (convolution,) = L.conv2d(x, 1, k, s, padding, rng=rng)
        expected = np.einsum(
            "abij,ij->ab", windows(image, k, s, padding, 0.0), convolution.kernel[0]
        )
        np.testing.assert_allclose(
            CG.evaluate(convolution), expected.ravel(), rtol=1e-12, atol=1e-12
        )
        seen = windows(image, k, s, padding, np.nan)
        for layer, reduced in ((L.max_pool2d, np.nanmax), (L.average_pool2d, np.nanmean)):
            (pooling,) = layer(x, k, s, padding)
            expected = reduced(seen, axis=(2, 3))
            np.testing.assert_allclose(CG.evaluate(pooling), expected.ravel(), rtol=1e-14)


def test_poolings_move_by_the_size_of_their_window_unless_told_otherwise():
    x = CG.Leaf2(9, 9)
    for layer in (L.max_pool2d, L.average_pool2d):
        assert [layer(x)[0].sw, layer(x, 3)[0].sw, layer(x, 3, 1)[0].sw] == [2, 3, 1]
        assert layer(x, (2, 3), 2)[0].width == 4


def test_the_third_rule_of_the_specification_is_another_one():
    """The sizes that the page about layers shows in its table."""
    table = [(28, 5, 1, 28, 24), (8, 3, 2, 4, 4), (7, 3, 2, 4, 3), (8, 2, 1, 8, 7), (9, 2, 3, 3, 4)]
    for m, k, s, same, third in table:
        x = CG.Leaf2(m, m)
        assert L.conv2d(x, 1, k, s, "same", rng=0)[0].height == same
        assert CG.Convolution2d([x], np.ones((1, k, k)), 0, s).height == third
