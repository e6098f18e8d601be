"""Checkpoints of `fit`: all that decides about the next epochs, in an `.npz` without pickle that appears whole.

The header is a JSON text: the settings of the run, which must be those of the run that goes on, and the state that is
no array. Arrays have names in groups: ``parameters.``, ``best.``, ``optimizer.``, ``history.``, ``callbacks.0.`` …
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from cgraph._validation import describe
from cgraph.fitting.callbacks import state_of
from cgraph.fitting.run import Run
from cgraph.fitting.saved import (
    FUNCTION,
    OF_OPTIMIZER,
    VERSION,
    Arrays,
    Progress,
    Saved,
    progress_of,
)
from cgraph.graph import Graph
from cgraph.io.header import CHECKPOINT, HEADER, ModelFileError
from cgraph.io.opening import write_archive
from cgraph.io.state import MisfitError
from cgraph.io.streams import write_file
from cgraph.optimizers.optimizer import Optimizer


class Checkpoint:
    """The checkpoint of a run under a path.

    Parameters
    ----------
    name : str
        The path.
    run : Run
        The run, which has not begun.
    settings : dict
        What may not change where a run goes on; anything that JSON can hold.
    split : int
        The seed by which validation samples were drawn.
    """

    def __init__(self, name: str, run: Run, settings: dict[str, Any], split: int) -> None:
        self._name, self._run = name, run
        self._settings = _plain(settings | _settings(run))
        self._split = split

    def save(self) -> None:
        """Writes the state of the run."""
        run, optimizer = self._run, self._run.optimizer
        graph_parameters = run.graph.parameters
        updated = optimizer._states.parameters
        header = {
            "format": CHECKPOINT,
            "version": VERSION,
            "settings": self._settings,
            "split": self._split,
            "rng": run.rng.bit_generator.state,
            "best_epoch": run.record.best_epoch,
            "stopped": run.record.stopped,
            "trainable": [p.trainable for p in graph_parameters],
            "updated": None if updated is None else [graph_parameters.index(p) for p in updated],
            "current": {OF_OPTIMIZER: _compared(optimizer._settings)},
        }
        arrays = {HEADER: np.array(json.dumps(_plain(header)))}
        arrays |= _grouped("parameters", run.graph.state_dict())
        arrays |= _grouped("best", run.record.best)
        arrays |= _grouped("optimizer", optimizer.state_dict())
        arrays |= _grouped("history", run.record.columns)
        for number, callback in enumerate(run.callbacks):
            arrays |= _grouped(f"callbacks.{number}", state_of(callback))
        write_file(self._name, lambda stream: write_archive(stream, arrays))

    def restore(self, saved: Saved) -> None:
        """Gives the run the state that was saved, all of it; after an error the run is as it was before."""
        self._require_same_run(saved)
        run = self._run
        try:
            progress = progress_of(saved, run)
        except MisfitError as error:
            raise ModelFileError(f"{self._name}: {error}") from error
        before = Before(run)
        try:
            self._load_callbacks(saved)
            self._load(saved, progress)
        except BaseException:
            before.put_back()
            raise
        run.graph.zero_grad()

    def _require_same_run(self, saved: Saved) -> None:
        """Refuses the checkpoint of a run with other settings."""
        header = saved.header
        for name, value in self._settings.items():
            old = header["settings"].get(name)
            # An optimiser may also have the settings that callbacks have given it since.
            if value not in (old, header["current"].get(name, old)):
                raise ModelFileError(
                    f"{self._name}: checkpoint of another run, with {name} {describe(old)}, got {describe(value)}; "
                    "give another path, or delete it to begin anew"
                )

    def _load_callbacks(self, saved: Saved) -> None:
        """Gives callbacks their state; what they raise is raised as it comes."""
        for number, callback in enumerate(self._run.callbacks):
            load = getattr(callback, "load_state_dict", None)
            if load is not None:
                try:
                    load(saved.group(f"callbacks.{number}"))
                except Exception as error:
                    error.add_note(
                        f"{self._name}: callbacks.{number} of the checkpoint was being loaded"
                    )
                    raise

    def _load(self, saved: Saved, progress: Progress) -> None:
        """Gives the graph, the optimiser, the generator and the record their state."""
        run, known = self._run, self._run.graph.parameters
        order = progress.updated
        updated = None if order is None else [known[index] for index in order]
        try:
            run.graph.load_state_dict(saved.group("parameters"))
            run.optimizer.load_state_dict(saved.group("optimizer"), updated)
            for name, value in progress.settings.items():
                if value != _plain(run.optimizer._settings[name]):
                    setattr(run.optimizer, name, value)
            for parameter, trainable in zip(known, progress.trainable, strict=True):
                if parameter.trainable != trainable:
                    parameter.trainable = trainable
            # Refuses state that waits for other parameters.
            run.optimizer._states.updates_of([p for p in known if p.trainable])
            run.rng.bit_generator.state = progress.rng
        except (ValueError, TypeError, OverflowError) as error:
            raise ModelFileError(f"{self._name}: {error}") from error
        record = run.record
        record.columns = progress.columns
        record.best, record.best_epoch = progress.best, progress.best_epoch
        record.stopped = progress.stopped


class Before:
    """The state of a run that has not begun, to be put back if a checkpoint cannot be loaded."""

    def __init__(self, run: Run) -> None:
        self._run, self._optimizer = run, run.optimizer
        self._parameters = run.graph.state_dict()
        self._state = run.optimizer.state_dict(), run.optimizer._states.parameters
        self._settings = run.optimizer._settings
        self._trainable = [parameter.trainable for parameter in run.graph.parameters]
        self._rng = run.rng.bit_generator.state
        self._callbacks = [state_of(callback) for callback in run.callbacks]

    def put_back(self) -> None:
        """Gives all of them the state that they had."""
        run, optimizer = self._run, self._optimizer
        run.graph.load_state_dict(self._parameters)
        optimizer.load_state_dict(*self._state)
        if optimizer._settings is not self._settings:
            optimizer._settings, optimizer._version = self._settings, object()
        for parameter, trainable in zip(run.graph.parameters, self._trainable, strict=True):
            if parameter.trainable != trainable:
                parameter.trainable = trainable
        run.rng.bit_generator.state = self._rng
        for callback, state in zip(run.callbacks, self._callbacks, strict=True):
            load = getattr(callback, "load_state_dict", None)
            if load is not None:
                # One that has refused the state of the file may refuse its own, too; the error of the first counts.
                with suppress(Exception):
                    load(state)


def as_path(path: object, optimizer: Optimizer, graph: Graph) -> str:
    """Returns the path of a checkpoint; refuses others, and state of other graphs, which a checkpoint cannot keep."""
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"fit: checkpoint must be a path, got {describe(path)}")
    if not set(optimizer._states.parameters or ()) <= set(graph.parameters):
        raise ValueError(
            "fit: checkpoint needs an optimizer of this graph's parameters alone, got one that has updated others"
        )
    return os.fspath(path)


def _grouped(group: str, arrays: Mapping[str, Any]) -> Arrays:
    return {f"{group}.{name}": np.asarray(array) for name, array in arrays.items()}


def _settings(run: Run) -> dict[str, Any]:
    """Returns the settings of a run: those of the graph, the optimiser, and what is measured."""
    optimizer, parameters = run.optimizer, run.graph.parameters
    return {
        "parameters": [[p.name, str(p.node.dtype), *p.shape] for p in parameters],
        "batch": run.batch,
        "patience": run.patience,
        "measurements": list(run.record.columns),
        "callbacks": [type(each).__name__ for each in run.callbacks],
        "rng": type(run.rng.bit_generator).__name__,
        "optimizer": type(optimizer).__name__,
        OF_OPTIMIZER: _compared(optimizer._settings),
        "groups of the optimizer": [_compared(optimizer._group_of(p)) for p in parameters],
    }


def _compared(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns settings; of a function, such as a schedule, only that it is one."""
    return {name: FUNCTION if callable(value) else value for name, value in settings.items()}


def _plain(value: Any) -> Any:
    """Returns a value as JSON would give it back; arrays become objects with their dtype and their elements."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return {"dtype": str(value.dtype), "elements": value.tolist()}
    if isinstance(value, np.generic):
        return value.item()
    return value if value is None or isinstance(value, (bool, int, float, str)) else repr(value)
