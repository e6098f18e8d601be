"""The two engines that train a classifier, by a Graph or node by node, and a comparison of their speeds.

Both take the same batches in the same order, so their parameters differ by rounding alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from cgraph.graph import Graph
from cgraph.models.classifier import Classifier
from cgraph.training.engine import Engine, EngineName, Images, Labels

_REPEATS = 64  # passes of the graph over the images for one of the nodes, when speeds are measured


class NodeEngine:
    """Trains by the passes of the nodes themselves, one sample after the other."""

    images_at_once: ClassVar[int] = 1

    def __init__(self, model: Classifier) -> None:
        self.model = model

    def train(self, images: Images, labels: Labels, eta: float, batch: int) -> float:
        total = 0.0
        for first in range(0, len(labels), batch):
            part = slice(first, first + batch)
            for image, label in zip(images[part], labels[part], strict=True):
                total += self.model.forward(image, int(label))[0]
                self.model.loss.backwardPropagation()
            # The gradients are sums over the samples, and the step is one on the mean.
            self.model.loss.update(eta / len(labels[part]))
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
    """Trains by a `Graph` of the loss, with many samples in a call."""

    images_at_once: ClassVar[int] = 256

    def __init__(self, model: Classifier) -> None:
        self.model = model
        self.graph = Graph(model.loss)

    def train(self, images: Images, labels: Labels, eta: float, batch: int) -> float:
        total, whole = 0.0, len(labels) - len(labels) % batch
        for part in (slice(whole), slice(whole, None)):
            feed = self.model.feed(images[part], labels[part])
            # A Graph sums the losses of a batch; the remaining samples are a smaller batch.
            rate = eta / min(batch, max(len(labels[part]), 1))
            total += float(self.graph.train(feed, rate, batch).sum(dtype=np.float64))
        return total

    def losses(self, images: Images, labels: Labels) -> tuple[float, NDArray[np.intp]]:
        losses = self.graph.predict(self.model.feed(images, labels))
        return float(losses.sum(dtype=np.float64)), self.predict(images)

    def predict(self, images: Images) -> NDArray[np.intp]:
        logits = self.graph.predict({self.model.image: images}, self.model.logits)
        predicted: NDArray[np.intp] = logits.argmax(axis=1)
        return predicted


ENGINES: dict[EngineName, Callable[[Classifier], Engine]] = {
    "graph": GraphEngine,
    "node": NodeEngine,
}


def measure(
    build: Callable[[], Classifier], images: Images, labels: Labels, seconds: float = 0.3
) -> dict[EngineName, float]:
    """Returns the images per second of CPU time that each engine trains on, with a model of its own.

    The engines take turns of about equal length, so that other load on the machine slows both down alike.
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
