"""The commands `cgraph train` and `cgraph predict`, which are called with checked options."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cgraph._streams import say
from cgraph.cli.terminal import (
    Progress,
    epoch_line,
    image_rows,
    percent,
    speed_line,
    write_curves,
)
from cgraph.data.datasets import Dataset, digits_dataset, idx_dataset
from cgraph.data.idx import DataError
from cgraph.io.parameters import (
    ModelFileError,
    ParameterFile,
    open_parameters,
    save_parameters,
)
from cgraph.models.classifier import CHANNELS, Classifier, convolutional_classifier
from cgraph.parameter import parameters
from cgraph.training.engine import EngineName
from cgraph.training.engines import ENGINES, GraphEngine, measure
from cgraph.training.loop import Epoch, predict_all, train_epochs

Integers = NDArray[np.intp]

_DIGITS = "digits"
_NAMED = 5  # the number of classes without images that are listed at most
_TIMED = 16  # number of images on which the speeds of the engines are compared


def train(
    *,
    epochs: int,
    batch: int,
    eta: float,
    seed: int,
    dtype: str,
    engine: EngineName,
    output: Path,
    folder: Path | None,
) -> bool:
    """Trains a classifier and writes `model.npz` and `loss.png`; returns False if Ctrl-C ended it early."""
    source = _DIGITS if folder is None else _absolute(folder)
    dataset = _dataset(source, seed)
    height, width = dataset.size
    metadata = {
        "height": height,
        "width": width,
        "classes": dataset.classes,
        "channels": CHANNELS,
        "dtype": dtype,
        "seed": seed,
        "data": source,
    }
    rng = np.random.default_rng(seed)
    model = _build(metadata, rng)
    if not abs(eta) <= float(np.finfo(dtype).max):
        raise FloatingPointError(f"the learning rate {eta} is not finite in {dtype}")
    _make_writable(output)
    _announce(metadata, dataset, model, engine)

    done: list[Epoch] = []
    with Progress(epochs * len(dataset.train_labels)) as progress:
        passes = train_epochs(
            ENGINES[engine](model),
            dataset,
            epochs=epochs,
            batch=batch,
            eta=eta,
            rng=rng,
            on_batch=progress.advance,
        )
        try:
            for epoch in passes:
                done.append(epoch)
                progress.line(epoch_line(epoch, epochs))
        except KeyboardInterrupt:
            progress.line(f"stopped by Ctrl-C: {len(done)} of {epochs} epochs done")
    # Ctrl-C may have come before the loop checked the loss.
    if not all(np.isfinite(item.value).all() for item in parameters(model.loss)):
        raise FloatingPointError(
            f"parameters are no longer finite: try a smaller learning rate than {eta}"
        )
    finished = len(done) == epochs
    _write(output, model, metadata, done, "" if finished else f" after epoch {len(done)}")
    return finished


def _announce(
    metadata: Mapping[str, Any], dataset: Dataset, model: Classifier, engine: EngineName
) -> None:
    """Prints the data, the model and the speeds of both engines, which are measured with models of their own."""
    say(
        f"{metadata['data']}: {len(dataset.train_labels):,} images to train on, "
        f"{len(dataset.test_labels):,} held out"
    )
    if dataset.unseen:
        say(
            f"labels from {dataset.train_labels.min()} to {dataset.train_labels.max()}: "
            f"{dataset.classes} classes, and no image to train on of {_few(dataset.unseen)}"
        )
    say(_description(model))
    speeds = measure(
        lambda: _build(metadata, np.random.default_rng(0)),
        dataset.scaled(dataset.train_images[:_TIMED]),
        dataset.train_labels[:_TIMED],
    )
    say(speed_line(speeds, engine))


def _write(
    output: Path, model: Classifier, metadata: dict[str, Any], done: list[Epoch], when: str
) -> None:
    """Saves the parameters and the curves, and prints where they are."""
    model_path, curve_path = (output / "model.npz").resolve(), (output / "loss.png").resolve()
    save_parameters(model_path, model.loss, metadata)
    say(f"parameters: {model_path}")
    if done:
        title = f"{Path(metadata['data']).name}, {metadata['dtype']}, seed {metadata['seed']}"
        if write_curves(curve_path, done, title):
            say(f"loss curve: {curve_path}")
        say(f"test accuracy{when}: {percent(done[-1].test_accuracy)}")


def predict(path: Path, *, show: int, folder: Path | None) -> None:
    """Classifies the held-out images, shows some of them, and prints the accuracy."""
    # Opened once, so that the parameters are those of the model that the metadata describe.
    with open_parameters(path) as saved:
        dataset = _held_out(path, saved.metadata, folder)
        model = _load(path, saved, dataset)
    say(f"{path}: {_description(model)}")

    predicted = predict_all(GraphEngine(model), dataset)
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
    seed, source = metadata.get("seed"), metadata.get("data")
    if not isinstance(seed, int) or seed < 0 or not isinstance(source, str):
        raise ModelFileError(f"{path}: holds parameters, but not of a model of cgraph train")
    if folder is not None:
        return _dataset(_absolute(folder), seed)
    try:
        return _dataset(source, seed)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{path}: was trained on {source}, which is not there: say --data FOLDER ({error})"
        ) from error


def _load(path: Path, saved: ParameterFile, dataset: Dataset) -> Classifier:
    """Builds the model that the metadata of a file describe, if it fits the dataset, and loads its parameters."""
    metadata = saved.metadata
    size = (metadata.get("height"), metadata.get("width"))
    # Checked before anything is built, since the sizes in an unknown file may be huge.
    if size != dataset.size:
        raise DataError(
            f"{path}: the model expects images of {size[0]} x {size[1]}, "
            f"got {dataset.size[0]} x {dataset.size[1]}"
        )
    try:
        model = _build(metadata, np.random.default_rng(0))
    except (KeyError, TypeError, ValueError) as error:
        raise ModelFileError(f"{path}: metadata that describe no model ({error})") from error
    if dataset.classes > model.target.height:
        raise DataError(
            f"{path}: the model knows {model.target.height} classes, "
            f"got labels up to {dataset.classes - 1}"
        )
    saved.load(model.loss)
    return model


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


def _absolute(folder: Path) -> str:
    """Returns the absolute path of a data folder, which cannot be mistaken for the name of the digits."""
    return str(folder.resolve())


def _build(metadata: Mapping[str, Any], rng: np.random.Generator) -> Classifier:
    """Builds the model that the metadata of a file describe."""
    return convolutional_classifier(
        metadata["height"],
        metadata["width"],
        metadata["classes"],
        channels=metadata["channels"],
        rng=rng,
        dtype=metadata["dtype"],
    )


def _description(model: Classifier) -> str:
    count = sum(item.value.size for item in parameters(model.loss))
    return (
        f"{model.image.height} x {model.image.width} pixels, {model.target.height} classes, "
        f"{count:,} parameters, {model.loss.data.dtype}"
    )


def _make_writable(folder: Path) -> None:
    """Makes the output folder, and raises before the training if the files could not be written after it."""
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"{folder.resolve()}: no permission to write")
    for name in ("model.npz", "loss.png"):
        if (folder / name).is_dir():
            raise IsADirectoryError(f"{folder / name}: is a folder, where a file is to be written")
