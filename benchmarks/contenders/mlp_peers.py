"""A training step of an MLP on a batch, by hand in NumPy and in PyTorch without autograd, and in scikit-learn."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from benchmarks.measure import one_core
from benchmarks.measure.timing import Work
from benchmarks.networks.mlp import Layers, weights
from benchmarks.networks.network import ETA


class Arrays:
    """Preallocated arrays for layers and a batch; parameters and gradients are views of one vector each."""

    def __init__(self, layers: Layers, dtype: str, batch: int) -> None:
        net = layers.network
        inputs, targets = net.samples(batch, dtype)
        arrays = [array for layer in weights(layers.sizes, dtype) for array in layer]
        self.targets = net.rows(targets, dtype)
        self.parameters = flat(arrays)
        self.gradients = np.empty_like(self.parameters)
        self.layers, self.dlayers = (
            views(vector, arrays) for vector in (self.parameters, self.gradients)
        )
        self.values = [inputs[:, 0], *(np.empty((batch, n), dtype) for n in layers.sizes[1:])]
        self.slopes = [np.empty_like(value) for value in self.values]
        self.ones = np.ones(batch, dtype)


def flat(arrays: Iterable[Any]) -> np.ndarray:
    """Returns all elements of arrays, one after the other."""
    return np.concatenate([np.ravel(array) for array in arrays])


def views(vector: np.ndarray, arrays: Sequence[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Returns consecutive parts of a vector, with the shapes of these arrays, in pairs."""
    parts = np.split(vector, np.cumsum([array.size for array in arrays])[:-1])
    shaped = [part.reshape(array.shape) for part, array in zip(parts, arrays, strict=True)]
    return list(zip(shaped[::2], shaped[1::2], strict=True))


def numpy_passes(
    layers: Layers, arrays: Arrays, factor: float
) -> tuple[Callable[[], None], Callable[[], None]]:
    """Returns the forward pass, and the backward pass, which puts this factor into the gradients."""
    function, loss, values, slopes = layers.function, layers.loss, arrays.values, arrays.slopes

    def forward() -> None:
        for (weight, bias), h, y in zip(arrays.layers, values, values[1:], strict=False):
            np.dot(h, weight, out=y)
            np.add(y, bias, out=y)
            if y is not values[-1]:
                function.forward(y, y)

    def backward() -> None:
        loss.gradient(values[-1], arrays.targets, factor, slopes[-1])
        for at in reversed(range(len(arrays.layers))):
            weight, dy = arrays.layers[at][0], slopes[at + 1]
            dweight, dbias = arrays.dlayers[at]
            np.dot(values[at].T, dy, out=dweight)
            np.dot(arrays.ones, dy, out=dbias)
            if at:
                np.dot(dy, weight.T, out=slopes[at])
                function.backward(values[at], slopes[at], slopes[at])

    return forward, backward


def numpy_step(layers: Layers, dtype: str, batch: int) -> Work:
    """NumPy computes into preallocated arrays; one subtraction is the update, since the rate is in the gradients."""
    arrays = Arrays(layers, dtype, batch)
    forward, backward = numpy_passes(layers, arrays, ETA / batch)

    def step() -> None:
        forward()
        backward()
        np.subtract(arrays.parameters, arrays.gradients, out=arrays.parameters)

    return Work(step, batch, arrays.parameters.copy)


def numpy_gradient(layers: Layers, dtype: str, batch: int) -> Work:
    """NumPy computes the gradient of the mean loss, and leaves the parameters as they are."""
    arrays = Arrays(layers, dtype, batch)
    forward, backward = numpy_passes(layers, arrays, 1 / batch)

    def passes() -> None:
        forward()
        backward()

    return Work(passes, batch, arrays.gradients.copy)


def numpy_predict(layers: Layers, dtype: str, batch: int) -> Work:
    """NumPy computes into preallocated arrays what the last layer returns."""
    arrays = Arrays(layers, dtype, batch)
    forward, _ = numpy_passes(layers, arrays, 1.0)
    return Work(forward, batch, arrays.values[-1].ravel)


def torch_by_hand(layers: Layers, dtype: str, batch: int) -> Work:
    """PyTorch does what NumPy does, in the same arrays, without autograd."""
    torch = one_core.torch_module()
    arrays = Arrays(layers, dtype, batch)
    function = getattr(torch, layers.function.name)
    function_backward = layers.function.torch_backward(torch.ops.aten)
    parameters, gradients, targets = map(
        torch.from_numpy, (arrays.parameters, arrays.gradients, arrays.targets)
    )
    affines, daffines = (
        [tuple(map(torch.from_numpy, pair)) for pair in pairs]
        for pairs in (arrays.layers, arrays.dlayers)
    )
    values, slopes = (list(map(torch.from_numpy, a)) for a in (arrays.values, arrays.slopes))

    @torch.inference_mode()
    def step() -> None:
        for (weight, bias), h, y in zip(affines, values, values[1:], strict=False):
            torch.addmm(bias, h, weight, out=y)
            if y is not values[-1]:
                function(y, out=y)
        layers.loss.torch_gradient(values[-1], targets, ETA / batch, slopes[-1])
        for at in reversed(range(len(affines))):
            weight, dy = affines[at][0], slopes[at + 1]
            dweight, dbias = daffines[at]
            torch.mm(values[at].T, dy, out=dweight)
            torch.sum(dy, 0, out=dbias)
            if at:
                torch.mm(dy, weight.T, out=slopes[at])
                function_backward(values[at], slopes[at], slopes[at])
        parameters.sub_(gradients)

    return Work(step, batch, arrays.parameters.copy)


def sklearn_step(layers: Layers, dtype: str, batch: int) -> Work:
    """MLPClassifier.partial_fit makes a step, without shuffling, momentum and penalty."""
    from sklearn.neural_network import MLPClassifier

    *_, classes = layers.sizes
    inputs, labels = layers.network.samples(batch, dtype)
    model = MLPClassifier(
        layers.sizes[1:-1],
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
