"""The losses with which networks are trained, in the words of each framework; the peers take the mean of a batch."""

from typing import Any

import numpy as np

import cgraph as CG
from benchmarks.measure import one_core
from benchmarks.networks.functions import SOFTMAX


class CrossEntropy:
    """Cross-entropy of Softmax and a class; cgraph and NumPy take a class as a row of the unit matrix."""

    def nodes(self, h: CG.Node, t: CG.Node) -> tuple[CG.Node, CG.Node]:
        """Returns the prediction and the loss of what the last layer computes."""
        y = CG.Softmax(h)
        return y, CG.CEE(y, t)

    def targets(self, rng: np.random.Generator, count: int, outputs: int, dtype: str) -> np.ndarray:
        """Returns random targets, as PyTorch and JAX take them."""
        return rng.integers(outputs, size=count)

    def rows(self, targets: np.ndarray, outputs: int, dtype: str) -> np.ndarray:
        """Returns the same targets as cgraph and NumPy take them."""
        return np.eye(outputs, dtype=dtype)[targets]

    def gradient(self, y: np.ndarray, t: np.ndarray, factor: float, dy: np.ndarray) -> None:
        """dy = (softmax(y) − t) factor."""
        SOFTMAX.forward(y, dy)
        np.subtract(dy, t, out=dy)
        np.multiply(dy, factor, out=dy)

    def torch_gradient(self, y: Any, t: Any, factor: float, dy: Any) -> None:
        one_core.torch_module().softmax(y, -1, out=dy)
        dy.sub_(t).mul_(factor)

    def torch_loss(self) -> Any:
        return one_core.torch_module().nn.CrossEntropyLoss()

    def torch_prediction(self, model: Any) -> Any:
        nn = one_core.torch_module().nn
        return nn.Sequential(model, nn.Softmax(1))

    def jax_loss(self, h: Any, label: Any) -> Any:
        return -one_core.jax_module().nn.log_softmax(h)[label]

    def jax_prediction(self, h: Any) -> Any:
        return one_core.jax_module().nn.softmax(h)


class SquaredError:
    """The mean of the squared errors of a sample's outputs."""

    def nodes(self, h: CG.Node, t: CG.Node) -> tuple[CG.Node, CG.Node]:
        return h, CG.MSE(h, t)

    def targets(self, rng: np.random.Generator, count: int, outputs: int, dtype: str) -> np.ndarray:
        return rng.normal(size=(count, outputs)).astype(dtype)

    def rows(self, targets: np.ndarray, outputs: int, dtype: str) -> np.ndarray:
        return targets

    def gradient(self, y: np.ndarray, t: np.ndarray, factor: float, dy: np.ndarray) -> None:
        """dy = 2 (y − t) factor / n, with n outputs."""
        np.subtract(y, t, out=dy)
        np.multiply(dy, 2 * factor / y.shape[1], out=dy)

    def torch_gradient(self, y: Any, t: Any, factor: float, dy: Any) -> None:
        one_core.torch_module().sub(y, t, out=dy)
        dy.mul_(2 * factor / y.shape[1])

    def torch_loss(self) -> Any:
        return one_core.torch_module().nn.MSELoss()

    def torch_prediction(self, model: Any) -> Any:
        return model

    def jax_loss(self, h: Any, t: Any) -> Any:
        return ((h - t) ** 2).mean()

    def jax_prediction(self, h: Any) -> Any:
        return h


Loss = CrossEntropy | SquaredError
CROSS_ENTROPY, SQUARED_ERROR = CrossEntropy(), SquaredError()
