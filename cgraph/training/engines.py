"""Two ways to train a classifier and to look at images with it, and how fast they are.

Both go through the same batches in the same order; the parameters differ by rounding alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from cgraph.graph import Graph
from cgraph.models.classifier import Classifier

EngineName = Literal["graph", "node"]
Images = NDArray[np.float32]
Labels = NDArray[np.uint8]

_REPEATS = 64  # how much more often a graph is given images to train with when speeds are measured


class Engine(Protocol):
    """What trains a classifier.

    Attributes
    ----------
    images_at_once : int
        How many images, about, one call of `train` should get: so many that calls cost nothing to speak of, and so few
        that progress is seen and Ctrl-C is heard.
    """

    images_at_once: ClassVar[int]

    def train(self, images: Images, labels: Labels, eta: float, batch: int) -> float:
        """A step on the mean loss of each `batch` images, and of those left over. The sum of all losses is returned."""
        ...

    def losses(self, images: Images, labels: Labels) -> tuple[float, NDArray[np.intp]]:
        """The sum of the losses of images whose class is known, and the most probable classes."""
        ...

    def predict(self, images: Images) -> NDArray[np.intp]:
        """The most probable class of each image."""
        ...


class NodeEngine:
    """Node by node, sample by sample."""

    images_at_once: ClassVar[int] = 1

    def __init__(self, model: Classifier) -> None:
        self.model = model

    def train(self, images: Images, labels: Labels, eta: float, batch: int) -> float:
        total = 0.0
        for first in range(0, len(labels), batch):
            some = slice(first, first + batch)
            for image, label in zip(images[some], labels[some], strict=True):
                total += self.model.forward(image, int(label))[0]
                self.model.loss.backwardPropagation()
            # The gradients are sums over the samples.
            self.model.loss.update(eta / len(labels[some]))
        return total

    def losses(self, images: Images, labels: Labels) -> tuple[float, NDArray[np.intp]]:
        total, predicted = 0.0, np.empty(len(labels), np.intp)
        for i, (image, label) in enumerate(zip(images, labels, strict=True)):
            loss, predicted[i] = self.model.forward(image, int(label))
            total += loss
        return total, predicted

    def predict(self, images: Images) -> NDArray[np.intp]:
        return np.array([self.model.predict(image) for image in images], np.intp)


class GraphEngine:
    """The whole graph in one call, for many samples."""

    images_at_once: ClassVar[int] = 256

    def __init__(self, model: Classifier) -> None:
        self.model = model
        self.graph = Graph(model.loss)

    def train(self, images: Images, labels: Labels, eta: float, batch: int) -> float:
        total, whole = 0.0, len(labels) - len(labels) % batch
        for some in (slice(whole), slice(whole, None)):
            feed = self.model.feed(images[some], labels[some])
            # The losses of a batch are summed; those left over are a smaller batch.
            rate = eta / min(batch, max(len(labels[some]), 1))
            total += float(self.graph.train(feed, rate, batch).sum(dtype=np.float64))
        return total

    def losses(self, images: Images, labels: Labels) -> tuple[float, NDArray[np.intp]]:
        losses = self.graph.predict(self.model.feed(images, labels))
        return float(losses.sum(dtype=np.float64)), self.predict(images)

    def predict(self, images: Images) -> NDArray[np.intp]:
        probabilities = self.graph.predict({self.model.image: images}, self.model.prediction)
        predicted: NDArray[np.intp] = probabilities.argmax(axis=1)
        return predicted


ENGINES: dict[EngineName, Callable[[Classifier], Engine]] = {
    "graph": GraphEngine,
    "node": NodeEngine,
}


def measure(
    build: Callable[[], Classifier], images: Images, labels: Labels, seconds: float = 0.3
) -> dict[EngineName, float]:
    """Images per second of CPU time in training of both engines, which take turns, each with a model of its own.

    The turns take about the same time, so that what slows the machine down slows down both alike.
    """
    turns: list[tuple[EngineName, Engine, int]] = [
        ("graph", GraphEngine(build()), _REPEATS),
        ("node", NodeEngine(build()), 1),
    ]
    spent: dict[EngineName, float] = dict.fromkeys(ENGINES, 0.0)
    done: dict[EngineName, int] = dict.fromkeys(ENGINES, 0)
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or not all(spent.values()):  # CPU time may come in large steps
        for name, engine, repeats in turns:
            x, y = np.concatenate([images] * repeats), np.concatenate([labels] * repeats)
            start = time.process_time()
            engine.train(x, y, 1e-3, len(labels))
            spent[name] += time.process_time() - start
            done[name] += len(y)
    return {name: done[name] / spent[name] for name in ENGINES}
