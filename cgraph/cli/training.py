"""The training of both commands, `cgraph train digits` and `cgraph train table.csv`: `fit`, and how it may end."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cgraph._execution.feeds import Feed
from cgraph._streams import say
from cgraph.cli.curves import write_curves
from cgraph.cli.terminal import Progress
from cgraph.fitting.call import fit
from cgraph.fitting.callbacks import Callback
from cgraph.fitting.history import History
from cgraph.fitting.run import Run
from cgraph.graph import Graph
from cgraph.io.graphs import save
from cgraph.io.header import ModelFileError
from cgraph.node import Node
from cgraph.optimizers import schedules
from cgraph.optimizers.adam import Adam, AdamW
from cgraph.optimizers.optimizer import Optimizer
from cgraph.optimizers.rmsprop import RMSprop
from cgraph.optimizers.sgd import SGD

MODEL, CURVE = "model.npz", "loss.png"
# The learning rates with which each optimiser recognises most of the held-out digits, over several seeds.
RATES = {"adam": 0.005, "adamw": 0.005, "rmsprop": 0.002, "sgd": 0.1}
_KINDS: dict[str, type[Any]] = {"adam": Adam, "adamw": AdamW, "rmsprop": RMSprop, "sgd": SGD}

Samples = Mapping[Node, NDArray[Any]]
Labels = Mapping[str, str]  # the words for measurements, in the order in which they are shown


@dataclass(frozen=True)
class Settings:
    """The options that training on images and on tables have in common."""

    epochs: int
    batch: int
    optimizer: str
    lr: float | None
    seed: int
    dtype: str
    output: Path
    checkpoint: Path | None

    @property
    def rate(self) -> float:
        """The learning rate at the start."""
        return RATES[self.optimizer] if self.lr is None else self.lr

    def optimizer_for(self, samples: int) -> Optimizer:
        """Returns an optimiser whose rate falls to 0 in a line over all epochs, and which refuses NaN."""
        if not self.rate <= float(np.finfo(self.dtype).max):
            raise FloatingPointError(f"the learning rate {self.rate} is not finite in {self.dtype}")
        updates = self.epochs * -(-samples // self.batch)
        rate = schedules.linear(self.rate, 0, updates)
        optimizer: Optimizer = _KINDS[self.optimizer](rate, nonfinite="raise")
        return optimizer

    def make_writable(self) -> None:
        """Makes the output folder, and raises before the training if the files could not be written after it."""
        self.output.mkdir(parents=True, exist_ok=True)
        if not os.access(self.output, os.W_OK):
            raise PermissionError(f"{self.output.resolve()}: no permission to write")
        if (self.output / MODEL).is_dir():
            raise IsADirectoryError(
                f"{self.output / MODEL}: is a folder, where a file is to be written"
            )


class _Watch(Callback):
    """Keeps the run for the case that Ctrl-C ends it, and ends a training whose loss is no longer finite."""

    run: Run | None = None

    def on_epoch_begin(self, run: Run) -> None:
        self.run = run

    def on_epoch_end(self, run: Run) -> None:
        for name, told in (("loss", "the loss"), ("val_loss", "the loss of the held-out part")):
            if not math.isfinite(run.logs[name]):
                raise FloatingPointError(f"{told} is {run.logs[name]} in epoch {run.epoch}")


def train(
    settings: Settings,
    graph: Graph,
    feed: Samples,
    validation: Samples,
    *,
    metric: str,
    labels: Labels,
    rng: np.random.Generator,
    patience: int | None = None,
) -> tuple[History, bool]:
    """Trains a graph, and prints a line for each epoch.

    Parameters
    ----------
    settings : Settings
        The options of the command.
    graph : Graph
        The Graph of a loss.
    feed, validation : mapping of Node to ndarray
        The samples to train on, and those that are measured after each epoch.
    metric : str
        What is measured beside the loss.
    labels : dict of str to str
        The measurements that are printed, and the words for them.
    rng : numpy.random.Generator
        The source of all orders.
    patience : int or None, optional
        As for `fit`.

    Returns
    -------
    History
        The measurements of all epochs that have ended.
    bool
        Whether the training has ended by itself; False after Ctrl-C. Then the graph has the parameters of the last
        whole batch or, with `patience`, those of the best epoch.

    Raises
    ------
    FloatingPointError
        The training has diverged.
    """
    count = len(next(iter(feed.values())))
    watch = _Watch()
    optimizer = settings.optimizer_for(count)
    try:
        try:
            with Progress(settings.epochs, count, labels) as progress:
                history = fit(
                    graph,
                    feed,
                    optimizer,
                    epochs=settings.epochs,
                    batch=settings.batch,
                    validation=validation,
                    metrics=metric,
                    callbacks=watch,
                    patience=patience,
                    rng=rng,
                    progress=progress,
                    checkpoint=settings.checkpoint,
                )
            return history, True
        except KeyboardInterrupt:
            if watch.run is None:
                raise
            history = _interrupted(watch.run)
    except FloatingPointError as error:
        raise FloatingPointError(
            f"{error}: try a smaller learning rate than {settings.rate:g}"
        ) from error
    say(f"stopped by Ctrl-C: {len(history['loss'])} of {settings.epochs} epochs done")
    return history, False


def _interrupted(run: Run) -> History:
    """Returns what a run has measured in whole epochs; its graph gets the parameters of the best, if it has them."""
    record = run.record
    if record.best:
        run.graph.load_state_dict(record.best)
    # Ctrl-C may have come before the loss of the batch was looked at.
    if not all(np.isfinite(p.value).all() for p in run.graph.parameters):
        raise FloatingPointError("parameters are no longer finite when Ctrl-C comes")
    whole = min(map(len, record.columns.values()))
    arrays = {name: np.array(values[:whole]) for name, values in record.columns.items()}
    return History(arrays, record.best_epoch or None)


def write(
    settings: Settings,
    nodes: Mapping[str, Node],
    metadata: Mapping[str, Any],
    history: History,
    labels: Labels,
    title: str,
) -> None:
    """Saves the model and the curves, and prints where they are."""
    model_path, curve_path = (settings.output / name for name in (MODEL, CURVE))
    save(model_path, nodes, metadata=metadata)
    say(f"model: {model_path.resolve()}")
    title = f"{title}, {settings.dtype}, seed {settings.seed}"
    if len(history["loss"]) and write_curves(curve_path, history, labels, title):
        say(f"loss curve: {curve_path.resolve()}")


def predictor(path: Path, node: Node) -> Callable[[Feed], NDArray[Any]]:
    """Returns a function from samples to the data of a node; it says so if a file holds nodes of another model."""
    graphs: list[Graph] = []

    def predict(feed: Feed) -> NDArray[Any]:
        try:
            if not graphs:
                graphs.append(Graph(node))
            return graphs[0].predict(feed)
        except (TypeError, ValueError, RuntimeError) as error:
            raise ModelFileError(
                f"{path}: expected nodes of a model of cgraph train ({error})"
            ) from error

    return predict
