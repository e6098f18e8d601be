"""Filters: the padding rule, the constructors by position and by keyword, and the arguments that they refuse."""

import inspect
import math

import numpy as np
import pytest
from reference_filters import axis

import cgraph as CG

KERNEL = np.arange(6.0).reshape(1, 2, 3)
NAMES = ("kheight", "kwidth", "sw", "pt", "pl", "height", "width")


def geometry(node):
    return tuple(getattr(node, name) for name in NAMES)


def image(height=6, width=8):
    return CG.Leaf2(height, width)


def legal_axes(most, stride=None):
    """(m, k, s, n, before) of every legal axis with centred padding, up to these sizes."""
    for m in range(1, most):
        for k in range(1, most):
            for s in range(1, 5):
                for n in range(1, most):
                    _, before, after = axis(m, k, s, n)
                    if before >= 0 and after >= 0:
                        yield m, k, s, n, before


def test_a_given_size_is_centred_with_the_odd_row_at_the_bottom():
    for m, k, s, n, before in legal_axes(6):
        tall = CG.MaxPooling2d(image(m, 1), k, 1, s, n, 1)
        broad = CG.AveragePooling2d(image(1, m), 1, k, s, 1, n)
        assert geometry(tall) == (k, 1, s, before, 0, n, 1)
        assert geometry(broad) == (1, k, s, 0, before, 1, n)


def test_a_stride_alone_gives_the_smallest_size_that_covers_the_domain():
    for m in range(1, 10):
        for k in range(1, 7):
            for s in range(1, 5):
                n, before, _ = axis(m, k, s)
                if n >= 1:
                    node = CG.MaxPooling2d(image(m, 2), k, 2, s)
                    width, left, _ = axis(2, 2, s)
                    assert geometry(node) == (k, 2, s, before, left, n, width)
                    assert s * (n - 1) + k >= m
                else:
                    with pytest.raises(ValueError, match=rf"MaxPooling2d.*\b{k}\b"):
                        CG.MaxPooling2d(image(m, 2), k, 2, s)


def test_a_size_that_needs_negative_padding_is_a_ValueError_with_the_numbers():
    for m in range(2, 7):
        for k in range(1, 4):
            for s in range(1, 4):
                for n in range(1, 6):
                    if s * (n - 1) + k < m:
                        with pytest.raises(ValueError, match=rf"MaxPooling2d.*\b{m}\b"):
                            CG.MaxPooling2d(image(m, m), k, k, s, n, n)


@pytest.mark.parametrize("top", [0, 1, 2, 3, 7])
@pytest.mark.parametrize("height", [1, 2, 3, 6])
def test_given_paddings_leave_the_rest_to_the_bottom(top, height):
    bottom = (height - 1) + 2 - 4 - top
    source = image(4, 3)
    if bottom < 0:
        with pytest.raises(ValueError, match=rf"\b{top}\b"):
            CG.Convolution2d([source], KERNEL, 0, 1, top, 0, height, 1)
        assert source.forward == []
    else:
        node = CG.Convolution2d([source], KERNEL, 0, 1, top, 0, height, 1)
        assert geometry(node) == (2, 3, 1, top, 0, height, 1)


FORMS = {
    (): (2, 3, 1, 0, 0, 5, 6),
    ("stride",): (2, 3, 2, 0, 0, 3, 4),
    ("height", "width"): (2, 3, 1, 1, 1, 7, 8),
    ("stride", "height", "width"): (2, 3, 3, 1, 0, 3, 3),
    ("stride", "topPadding", "leftPadding", "height", "width"): (2, 3, 2, 2, 1, 4, 5),
}
VALUES = {
    (): (),
    ("stride",): (2,),
    ("height", "width"): (7, 8),
    ("stride", "height", "width"): (3, 3, 3),
    ("stride", "topPadding", "leftPadding", "height", "width"): (2, 2, 1, 4, 5),
}
every_form = pytest.mark.parametrize("names", FORMS, ids=lambda names: "_".join(names) or "none")


@every_form
def test_convolution_is_told_apart_by_the_number_of_arguments(names):
    node = CG.Convolution2d([image()], KERNEL, 0.5, *VALUES[names])
    assert geometry(node) == FORMS[names]


@every_form
def test_convolution_is_told_apart_by_the_names(names):
    options = dict(zip(names, VALUES[names], strict=True))
    assert geometry(CG.Convolution2d([image()], KERNEL, 0.5, **options)) == FORMS[names]
    node = CG.Convolution2d(nodes=[image()], Kernel=KERNEL, bias=0.5, **options)
    assert geometry(node) == FORMS[names]
    np.testing.assert_array_equal(node.kernel, KERNEL)
    assert node.bias == 0.5


@pytest.mark.parametrize("names", [names for names in FORMS if "stride" in names])
@pytest.mark.parametrize("op", [CG.MaxPooling2d, CG.AveragePooling2d])
def test_pooling_takes_its_three_forms_by_position_and_by_keyword(op, names):
    options = dict(zip(names, VALUES[names], strict=True))
    by_position = op(image(), 2, 3, *VALUES[names])
    by_keyword = op(node1=image(), kernelHeight=2, kernelWidth=3, **options)
    assert geometry(by_position) == geometry(by_keyword) == FORMS[names]


def test_the_last_arguments_of_a_form_may_be_given_by_name():
    size = {"height": 3, "width": 3}
    expected = FORMS["stride", "height", "width"]
    assert geometry(CG.Convolution2d([image()], KERNEL, 0.5, 3, **size)) == expected
    assert geometry(CG.MaxPooling2d(image(), 2, 3, 3, **size)) == expected


WRONG_SETS = [
    {"height": 5},
    {"width": 6},
    {"stride": 1, "height": 5},
    {"stride": 1, "width": 6},
    {"topPadding": 0},
    {"topPadding": 0, "leftPadding": 0},
    {"stride": 1, "topPadding": 0, "leftPadding": 0},
    {"topPadding": 0, "leftPadding": 0, "height": 5, "width": 6},
    {"stride": 1, "topPadding": 0, "height": 5, "width": 6},
    {"stride": 1, "leftPadding": 0, "height": 5, "width": 6},
]


@pytest.mark.parametrize("options", WRONG_SETS, ids="_".join)
def test_any_other_set_of_names_is_a_TypeError_that_lists_the_forms(options):
    source = image()
    for make in (
        lambda: CG.Convolution2d([source], KERNEL, 0, **options),
        lambda: CG.MaxPooling2d(source, 2, 3, **options),
    ):
        with pytest.raises(TypeError) as refused:
            make()
        for name in ("stride", "topPadding", "leftPadding", "height", "width"):
            assert name in str(refused.value)
    assert source.forward == []


@pytest.mark.parametrize("count", [4, 6])
def test_any_other_number_of_arguments_is_a_TypeError(count):
    with pytest.raises(TypeError):
        CG.Convolution2d([image()], KERNEL, 0, *([1] * count))
    with pytest.raises(TypeError):
        CG.MaxPooling2d(image(), 2, 3, *([1] * count))


def test_an_unknown_or_a_repeated_name_is_a_TypeError():
    with pytest.raises(TypeError):
        CG.Convolution2d([image()], KERNEL, 0, padding=1)
    with pytest.raises(TypeError):
        CG.Convolution2d([image()], KERNEL, 0, 1, stride=1)
    with pytest.raises(TypeError):
        CG.MaxPooling2d(image(), 2, 3, 1, pad=1)
    with pytest.raises(TypeError):
        CG.AveragePooling2d(image(), 2, 3, 1, pad_value=1)


def test_max_pooling_has_both_names_of_the_document():
    assert CG.MaxPooling is CG.MaxPooling2d
    assert inspect.isclass(CG.MaxPooling)


def test_a_window_of_padding_alone_is_refused_where_padding_never_wins():
    source = image(1, 5)
    CG.MaxPooling2d(source, 1, 1, 3, pad_value=-1.0).detach()
    for args in [(3,), (1, 0, 1, 1, 6), (1, 0, 0, 1, 6), (1, 1, 0, 2, 5), (1, 0, 0, 2, 5)]:
        with pytest.raises(ValueError, match=r"MaxPooling2d.*padding"):
            CG.MaxPooling2d(source, 1, 1, *args, pad_value=-math.inf)
    assert source.forward == []
    CG.MaxPooling2d(source, 2, 2, 1, 1, 1, 2, 6, pad_value=-math.inf)


def test_filter2d_has_the_sizes_of_one_channel():
    inputs = [image(4, 5), image(4, 5), image(4, 5)]
    node = CG.Filter2d(inputs, 2, 3, 2, 1, 0, 3, 2)
    assert geometry(node) == (2, 3, 2, 1, 0, 3, 2)
    assert node.domsize == 20
    assert node.backward == inputs


def test_a_convolution_may_read_one_node_as_several_channels():
    x = image(3, 3)
    x.getInput(np.arange(9.0))
    node = CG.Convolution2d([x, x], np.stack([np.eye(2), 2 * np.eye(2)]), 1.0)
    x.forwardPropagation()
    node.grad[...] = 1
    node.calcPartialDerivative()
    assert node.data.tolist() == [13, 19, 31, 37]
    assert x.grad.tolist() == [3, 3, 0, 3, 6, 3, 0, 3, 3]
    assert node.gradKernel[0].tolist() == node.gradKernel[1].tolist() == [[8, 12], [20, 24]]
    assert node.gradBias == 4.0
