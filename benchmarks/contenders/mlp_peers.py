"""A training step of an MLP on a batch, in NumPy by hand and in scikit-learn."""

from collections.abc import Sequence

import numpy as np

from benchmarks.measure.timing import Work
from benchmarks.networks.mlp import network, weights
from benchmarks.networks.network import ETA


def numpy_step(sizes: Sequence[int], dtype: str, batch: int) -> Work:
    """NumPy computes into preallocated arrays; one subtraction is the update, since the rate is in the gradients."""
    net = network(*sizes)
    inputs, labels = net.samples(batch, dtype)
    targets = net.one_hot(labels, dtype)
    arrays = [array for layer in weights(sizes, dtype) for array in layer]
    parameters = np.concatenate([array.ravel() for array in arrays])
    gradients = np.empty_like(parameters)
    layers, dlayers = (views(vector, arrays) for vector in (parameters, gradients))
    values = [inputs[:, 0], *(np.empty((batch, n), dtype) for n in sizes[1:])]
    slopes = [np.empty_like(value) for value in values]
    ones = np.ones(batch, dtype)

    def step() -> None:
        for (weight, bias), h, y in zip(layers, values, values[1:], strict=False):
            np.dot(h, weight, out=y)
            np.add(y, bias, out=y)
            if y is not values[-1]:
                np.maximum(y, 0, out=y)
        softmax_gradient(values[-1], targets, ETA / batch, slopes[-1])
        for at in reversed(range(len(layers))):
            (weight, _), (dweight, dbias), dy = layers[at], dlayers[at], slopes[at + 1]
            np.dot(values[at].T, dy, out=dweight)
            np.dot(ones, dy, out=dbias)
            if at:
                np.dot(dy, weight.T, out=slopes[at])
                np.multiply(slopes[at], values[at] > 0, out=slopes[at])
        np.subtract(parameters, gradients, out=parameters)

    return Work(step, batch)


def views(vector: np.ndarray, arrays: Sequence[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Returns consecutive parts of a vector, with the shapes of these arrays, in pairs."""
    parts = np.split(vector, np.cumsum([array.size for array in arrays])[:-1])
    shaped = [part.reshape(array.shape) for part, array in zip(parts, arrays, strict=True)]
    return list(zip(shaped[::2], shaped[1::2], strict=True))


def softmax_gradient(y: np.ndarray, t: np.ndarray, factor: float, out: np.ndarray) -> None:
    """The gradient of the cross-entropy: out = (softmax(y) - t) * factor."""
    np.subtract(y, y.max(1, keepdims=True), out=out)
    np.exp(out, out=out)
    np.divide(out, out.sum(1, keepdims=True), out=out)
    np.subtract(out, t, out=out)
    np.multiply(out, factor, out=out)


def sklearn_step(sizes: Sequence[int], dtype: str, batch: int) -> Work:
    """MLPClassifier.partial_fit makes a step, without shuffling, momentum and penalty."""
    from sklearn.neural_network import MLPClassifier

    *_, classes = sizes
    inputs, labels = network(*sizes).samples(batch, dtype)
    model = MLPClassifier(
        sizes[1:-1],
        solver="sgd",
        alpha=0.0,
        batch_size=batch,
        learning_rate_init=ETA,
        momentum=0.0,
        nesterovs_momentum=False,
        shuffle=False,
    )
    x = inputs[:, 0]
    model.partial_fit(x, labels, classes=np.arange(classes))
    return Work(lambda: model.partial_fit(x, labels), batch)
