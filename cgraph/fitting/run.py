"""Run: the loop of `fit` over epochs and chunks of samples, and all that it knows between two epochs."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cgraph._validation import Array
from cgraph.fitting.callbacks import Callback, is_true
from cgraph.fitting.history import History
from cgraph.fitting.metrics import Metric
from cgraph.fitting.progress import Bar
from cgraph.fitting.samples import Arrays, Rows, Samples
from cgraph.fitting.seen import Seen
from cgraph.graph import Graph
from cgraph.io.state import SAMPLES
from cgraph.node import Node
from cgraph.optimizers.optimizer import Optimizer


@dataclass
class Record:
    """What a run has measured so far.

    Attributes
    ----------
    columns : dict of str to list of float
        For each measurement its values, one for each epoch.
    best_epoch : int
        The number of the epoch with the lowest loss, 0 if there is none yet.
    best : dict of str to ndarray
        The parameters at its end.
    stopped : bool
        Whether training has ended before its last epoch.
    """

    columns: dict[str, list[float]]
    best_epoch: int = 0
    best: dict[str, Array] = field(default_factory=dict)
    stopped: bool = False

    @property
    def epochs(self) -> int:
        """The number of epochs that were recorded."""
        return len(self.columns["loss"])

    def history(self, has_best: bool) -> History:
        """Returns the measurements as arrays."""
        arrays = {name: np.array(values, np.float64) for name, values in self.columns.items()}
        best = self.best_epoch if has_best and self.best_epoch else None
        return History(arrays, best, self.stopped)


@dataclass(eq=False, repr=False)
class Run:
    """A training, as callbacks see it.

    Attributes
    ----------
    graph : Graph
    optimizer : Optimizer
    epoch : int
        The number of the epoch that runs, 1 for the first.
    epochs : int
        The number of the last epoch.
    logs : dict of str to float
        The measurements of the epoch, once it has ended.
    """

    graph: Graph
    optimizer: Optimizer
    epochs: int
    batch: int
    samples: Samples
    validation: Arrays | None
    seen: Seen | None
    metrics: Mapping[str, Callable[[], Metric]]
    callbacks: list[Callback]
    patience: int | None
    rng: np.random.Generator
    epoch: int = 0
    logs: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = ["loss", *self.metrics]
        if self.validation is not None:
            names += [f"val_{name}" for name in names]
        self.record = Record({name: [] for name in (*names, "lr", "seconds")})
        self._carries = self.graph._executable.carrying is not None
        self._hears_batches = any(
            type(each).on_batch_end is not Callback.on_batch_end for each in self.callbacks
        )

    @property
    def history(self) -> History:
        """The measurements of all epochs so far, as `fit` returns them."""
        return self.record.history(self.patience is not None)

    def train(self, progress: Bar, save: Callable[[], object], every: int) -> None:
        """Trains until the last epoch, or until something ends the training before.

        Parameters
        ----------
        progress : Bar
            Shows what happens.
        save : callable
            Keeps this run; it is called after each `every` epochs, and after the last.
        every : int
            A number of epochs.
        """
        record = self.record
        while record.epochs < self.epochs and not record.stopped:
            record.stopped = self._train_epoch(progress)
            if record.stopped or record.epochs == self.epochs or record.epochs % every == 0:
                save()
        if self.patience is not None and record.best:
            self.graph.load_state_dict(record.best)

    def _train_epoch(self, progress: Bar) -> bool:
        """Trains for one epoch, and returns whether the training ends."""
        self.epoch = self.record.epochs + 1
        self.logs = {}
        if self._tell("on_epoch_begin"):
            return True
        start = time.perf_counter()
        rate = _rate(self.optimizer)
        logs, ends = self._learn(progress)
        if self.validation is not None:
            logs |= self._validated(self.validation.in_order())
        self.logs = logs | {"lr": rate, "seconds": time.perf_counter() - start}
        for name, values in self.record.columns.items():
            values.append(self.logs[name])
        self._remember_best()
        progress.epoch(self.epoch, self.logs)
        ends = self._tell("on_epoch_end") or ends
        waited = self.epoch - self.record.best_epoch
        return ends or (self.patience is not None and waited >= self.patience)

    def _learn(self, progress: Bar) -> tuple[dict[str, float], bool]:
        """Trains on the samples of an epoch; returns its measurements, and whether a callback ends the training."""
        sums, metrics, ends = _Sums(), self._new_metrics(), False
        if self._carries:
            self.graph.reset()
        for rows in self.samples.chunks(self.rng, self.batch, not self._hears_batches):
            if self.seen is None or not metrics:
                losses: Any = self.graph.train(rows, self.optimizer, self.batch)
            else:
                losses, output = self.graph.train(
                    rows, self.optimizer, self.batch, outputs=self.seen.output
                )
                _add(metrics.values(), output, rows, self.seen.target)
            sums.add(losses)
            progress.advance(len(losses))
            if self._hears_batches and self._tell("on_batch_end", losses):
                ends = True
                break
        if not sums.count:
            raise ValueError("fit: feed must yield at least one sample in an epoch, got none")
        return {"loss": sums.mean} | {name: m.result() for name, m in metrics.items()}, ends

    def _validated(self, chunks: Iterable[Rows]) -> dict[str, float]:
        """Returns the measurements of the validation samples."""
        sums, metrics = _Sums(), self._new_metrics()
        for rows in chunks:
            state = self.graph.get_state() if self._carries and metrics else None
            sums.add(self.graph.predict(rows))
            if self.seen is not None and metrics:
                if state is not None:
                    self.graph.set_state(state)
                output = self.graph.predict(rows, self.seen.output)
                _add(metrics.values(), output, rows, self.seen.target)
        logs = {"loss": sums.mean} | {name: m.result() for name, m in metrics.items()}
        return {f"val_{name}": value for name, value in logs.items()}

    def _new_metrics(self) -> dict[str, Metric]:
        return {name: make() for name, make in self.metrics.items()}

    def _remember_best(self) -> None:
        """Keeps the parameters if the loss, of validation where there is one, is lower than in all epochs before."""
        if self.patience is None:
            return
        losses = self.record.columns["loss" if self.validation is None else "val_loss"]
        best, last = self.record.best_epoch, losses[-1]
        if math.isfinite(last) and (not best or last < losses[best - 1]):
            # The numbers of samples that masks depend on are no parameters, and go on.
            state = self.graph.state_dict().items()
            self.record.best = {k: v for k, v in state if not k.startswith(SAMPLES)}
            self.record.best_epoch = self.epoch

    def _tell(self, name: str, *arguments: Array) -> bool:
        """Calls a method of all callbacks, and returns whether one of them ends the training."""
        answers = [getattr(each, name)(self, *arguments) for each in self.callbacks]
        return any(map(is_true, answers))


class _Sums:
    """The mean of the losses that were added."""

    def __init__(self) -> None:
        self.count, self._sum = 0, 0.0

    def add(self, losses: Array) -> None:
        self.count += losses.size
        self._sum += float(losses.sum(dtype=np.float64))

    @property
    def mean(self) -> float:
        return self._sum / self.count


def _add(metrics: Iterable[Metric], output: Array, rows: Rows, target: Node) -> None:
    """Adds samples to metrics."""
    output = output.reshape(-1, output.shape[-1])
    targets = rows[target].reshape(len(output), -1)
    for metric in metrics:
        metric.add(output, np.asarray(targets, output.dtype))


def _rate(optimizer: Optimizer) -> float:
    """Returns the learning rate of the next update."""
    return float(optimizer.lr(optimizer.updates) if callable(optimizer.lr) else optimizer.lr)
