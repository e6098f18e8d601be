"""The convolutional classifier."""

import numpy as np
import pytest

import cgraph as CG
from cgraph.models import convolutional_classifier
from cgraph.traversal import ancestors


def classifier(height=8, width=8, classes=10, *, seed=0, **options):
    rng = np.random.default_rng(seed)
    return convolutional_classifier(height, width, classes, rng=rng, **options)


@pytest.mark.parametrize("size", [(1, 1), (2, 5), (8, 8), (9, 7), (28, 28)])
def test_images_of_any_size_go_forward_and_backward(size):
    model = classifier(*size, classes=4, channels=(2, 3))
    loss, predicted = model.forward(np.full(size, 0.5), label=2)
    model.loss.backwardPropagation()
    assert 0 <= predicted < 4
    powers = np.exp(model.logits.data)
    assert loss == pytest.approx(-np.log(powers[2] / powers.sum()))
    gradients = [item.grad for item in CG.parameters(model.loss)]
    assert all(np.isfinite(gradient).all() for gradient in gradients)
    assert gradients[-1].any()


def test_the_layers_are_one_node_for_each_channel():
    nodes = ancestors(classifier(channels=(3, 5)).loss)
    count = {
        kind: sum(type(node).__name__ == kind for node in nodes)
        for kind in (
            "Convolution2d",
            "ReLU",
            "MaxPooling2d",
            "Concatenation",
            "Affine",
            "SoftmaxCEE",
        )
    }
    assert list(count.values()) == [8, 8, 8, 1, 1, 1]
    widths = [n.kernel.shape for n in nodes if isinstance(n, CG.Convolution2d)]
    assert sorted(widths) == [(1, 3, 3)] * 3 + [(3, 3, 3)] * 5


def test_the_gradient_of_the_whole_model_agrees_with_differences():
    model = classifier(5, 6, 3, channels=(2, 2))
    image = np.random.default_rng(1).random((5, 6))
    model.forward(image, 1)
    model.loss.backwardPropagation()
    step = 1e-6
    for item in CG.parameters(model.loss):
        gradient = item.grad.copy()
        place = tuple(size // 2 for size in item.value.shape)
        value = item.value[place]
        sides = []
        for side in (value + step, value - step):
            item.value[place] = side
            sides.append(model.forward(image, 1)[0])
        item.value[place] = value
        assert gradient[place] == pytest.approx((sides[0] - sides[1]) / (2 * step), abs=1e-7)


def test_a_prediction_between_two_samples_leaves_no_trace():
    images = np.random.default_rng(1).random((2, 8, 8))
    model, fresh = classifier(), classifier()
    model.forward(images[0], 3)
    model.predict(images[0])
    assert {(n.b_count, n.f_count) for n in ancestors(model.loss)} == {(0, 0)}
    assert model.forward(images[1], 4) == fresh.forward(images[1], 4)


def test_predict_gives_the_most_probable_class():
    model = classifier()
    predicted = model.predict(np.random.default_rng(1).random((8, 8)))
    logits = model.logits.data
    assert logits.shape == (10,)
    assert logits[predicted] == logits.max()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_dtype_is_that_of_every_node_and_parameter(dtype):
    model = classifier(dtype=dtype)
    assert {str(node.data.dtype) for node in ancestors(model.loss)} == {dtype}
    assert {str(item.value.dtype) for item in CG.parameters(model.loss)} == {dtype}


def test_the_same_rng_gives_the_same_model():
    first, again, other = (
        np.concatenate([p.value.ravel() for p in CG.parameters(classifier(seed=s).loss)])
        for s in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_initial_weights_follow_he_and_constants_are_zero():
    model = classifier(28, 28, channels=(8, 64))
    kernels = [
        p.value for p in CG.parameters(model.loss) if p.name == "kernel" and len(p.value) > 1
    ]
    assert np.concatenate(kernels).std() == pytest.approx(np.sqrt(2 / 72), rel=0.05)
    weight = CG.parameters(model.loss)[-1].value
    assert weight[:-1].std() == pytest.approx(np.sqrt(2 / (len(weight) - 1)), rel=0.05)
    assert not weight[-1].any()
    assert not any(p.value.any() for p in CG.parameters(model.loss) if p.name == "bias")
