"""`cgraph train digits` and `cgraph predict` of its models: a small convolutional network, on digits or IDX files."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cgraph._streams import say
from cgraph.cli.terminal import image_rows, percent
from cgraph.cli.training import Settings, predictor, write
from cgraph.cli.training import train as train_graph
from cgraph.data.datasets import Dataset, digits_dataset, idx_dataset
from cgraph.data.idx import DataError
from cgraph.graph import Graph
from cgraph.io.header import ModelFileError
from cgraph.io.model import Model
from cgraph.layers import conv2d, dense, flatten, max_pool2d
from cgraph.node import Node
from cgraph.nodes.functions import Scale
from cgraph.nodes.leaf import Leaf1, Leaf2
from cgraph.nodes.softmax import SoftmaxCEE
from cgraph.parameter import parameters
from cgraph.targets import one_hot

TASK = "images"

# These channels recognise 97.5 to 99 % of the 8x8 digits, depending on the seed.
_CHANNELS = (12, 24)
# A training has diverged if its loss exceeds this multiple of the loss of guessing.
_DIVERGED = 4.0
_DIGITS = "digits"
_NAMED = 5  # the number of classes without images that are listed at most
_LABELS = {"loss": "loss", "val_loss": "test loss", "val_accuracy": "test accuracy"}

Integers = NDArray[np.intp]


def train(settings: Settings, folder: Path | None) -> bool:
    """Trains a classifier and writes `model.npz` and `loss.png`; returns False if Ctrl-C ended it early."""
    source = _DIGITS if folder is None else str(folder.resolve())
    dataset = _dataset(source, settings.seed)
    rng = np.random.default_rng(settings.seed)
    nodes = classifier(dataset, settings.dtype, rng)
    settings.make_writable()
    _announce(source, dataset)
    say(_description(nodes))
    graph = Graph(nodes["loss"])
    targets = one_hot(range(dataset.classes), dataset.classes, dtype=settings.dtype)
    leaves = nodes["image"], nodes["target"]
    history, finished = train_graph(
        settings,
        graph,
        dict(zip(leaves, (dataset.train_images, targets[dataset.train_labels]), strict=True)),
        dict(zip(leaves, (dataset.test_images, targets[dataset.test_labels]), strict=True)),
        metric="accuracy",
        labels=_LABELS,
        rng=rng,
    )
    done = len(history["loss"])
    if done:
        _check_size(history["loss"], math.log(dataset.classes), settings.rate)
    metadata = {"task": TASK, "data": source, "seed": settings.seed, "levels": dataset.levels}
    write(settings, nodes, metadata, history, _LABELS, Path(source).name)
    if done:
        when = "" if finished else f" after epoch {done}"
        say(f"test accuracy{when}: {percent(history['val_accuracy'][-1])}")
    return finished


def classifier(dataset: Dataset, dtype: str, rng: np.random.Generator) -> dict[str, Node]:
    """Builds a classifier of the images of a dataset: 3x3 convolutions, ReLU and max-pooling, then one `Affine`.

    Its input are grey values as they are; images may have any size.
    """
    image = Leaf2(*dataset.size, dtype=dtype)
    layer: list[Node] = [Scale(image, 1 / dataset.levels)]
    for count in _CHANNELS:
        layer = conv2d(
            layer, count, 3, padding="same", activation="relu", initializer="he_normal", rng=rng
        )
        layer = max_pool2d(layer, 2, padding="same")
    logits = dense(flatten(layer), dataset.classes, initializer="he_normal", rng=rng)
    target = Leaf1(dataset.classes, dtype=dtype)
    loss = SoftmaxCEE(logits, target)
    return {"image": image, "target": target, "logits": logits, "loss": loss}


def _check_size(losses: NDArray[np.float64], guess: float, rate: float) -> None:
    """Refuses a training whose loss was far above that of guessing, and that has not come below it since."""
    if losses.max() > _DIVERGED * guess > 0 and losses[-1] > guess:
        raise FloatingPointError(
            f"the loss was {losses.max():.4g} and is {losses[-1]:.4g}, worse than guessing: "
            f"try a smaller learning rate than {rate:g}"
        )


def _announce(source: str, dataset: Dataset) -> None:
    """Prints what there is to train on."""
    say(
        f"{source}: {len(dataset.train_labels):,} images to train on, "
        f"{len(dataset.test_labels):,} held out"
    )
    if dataset.unseen:
        say(
            f"labels from {dataset.train_labels.min()} to {dataset.train_labels.max()}: "
            f"{dataset.classes} classes, and no image to train on of {_few(dataset.unseen)}"
        )


def predict(path: Path, model: Model, *, show: int, folder: Path | None) -> None:
    """Classifies the held-out images, shows some of them, and prints the accuracy."""
    dataset = _held_out(path, model.metadata, folder)
    image, logits = _checked(path, model, dataset)
    say(f"{path}: {_description(model.nodes)}")

    # Images of other grey values than those of the training are scaled to them.
    factor = np.float32(model.metadata["levels"] / dataset.levels)
    feed = {image: dataset.test_images * factor}
    predicted: Integers = predictor(path, logits)(feed).argmax(axis=1)
    wrong = np.flatnonzero(predicted != dataset.test_labels)
    if show:
        say("\nsome held-out images and their predictions:\n")
        _show(dataset, predicted, np.arange(min(show, len(predicted))))
        say("mistakes:\n")
        _show(dataset, predicted, wrong[:show])
    say(f"{len(wrong):,} of {len(predicted):,} are wrong")
    say(f"test accuracy: {percent(1 - len(wrong) / len(predicted))}")


def _held_out(path: Path, metadata: Mapping[str, Any], folder: Path | None) -> Dataset:
    """Returns the dataset in the folder or, without one, the dataset that a model was trained on."""
    seed, source, levels = (metadata.get(name) for name in ("seed", "data", "levels"))
    if (
        not isinstance(seed, int)
        or seed < 0
        or not isinstance(source, str)
        or not isinstance(levels, int)
        or not 1 <= levels <= 255
    ):
        raise ModelFileError(f"{path}: metadata that describe no model of cgraph train")
    if folder is not None:
        return _dataset(str(folder.resolve()), seed)
    try:
        return _dataset(source, seed)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{path}: was trained on {source}, which is not there: say --data FOLDER ({error})"
        ) from error


def _checked(path: Path, model: Model, dataset: Dataset) -> tuple[Node, Node]:
    """Returns input and output of a model, if it fits the dataset."""
    image, logits = model.nodes.get("image"), model.nodes.get("logits")
    if not isinstance(image, Leaf2) or logits is None:
        raise ModelFileError(f"{path}: expected nodes of a model of cgraph train")
    if (image.height, image.width) != dataset.size:
        raise DataError(
            f"{path}: the model expects images of {image.height} x {image.width}, "
            f"got {dataset.size[0]} x {dataset.size[1]}"
        )
    if dataset.classes > logits.size:
        raise DataError(
            f"{path}: the model knows {logits.size} classes, got labels up to {dataset.classes - 1}"
        )
    return image, logits


def _show(dataset: Dataset, predicted: Integers, indices: Integers) -> None:
    """Prints held-out images as text, with their predictions and, where these are wrong, their labels."""
    captions = [
        f"{predicted[i]}"
        if predicted[i] == dataset.test_labels[i]
        else f"{predicted[i]}, but is {dataset.test_labels[i]}"
        for i in indices
    ]
    for row in image_rows(dataset.test_images[indices], captions, dataset.levels):
        say(row)


def _dataset(source: str, seed: int) -> Dataset:
    return digits_dataset(seed) if source == _DIGITS else idx_dataset(source)


def _few(numbers: list[int]) -> str:
    """Returns a list of numbers as text, shortened to the first ones."""
    few = ", ".join(str(number) for number in numbers[:_NAMED])
    return few if len(numbers) <= _NAMED else f"{few} and {len(numbers) - _NAMED} more"


def _description(nodes: Mapping[str, Node]) -> str:
    image, logits = nodes["image"], nodes["logits"]
    count = sum(item.value.size for item in parameters(logits))
    return (
        f"{image.height} x {image.width} pixels, {logits.size} classes, "
        f"{count:,} parameters, {logits.dtype}"
    )
