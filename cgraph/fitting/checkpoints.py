"""Checkpoints of `fit`: all that decides about the next epochs, in an `.npz` without pickle that appears whole.

The header is a JSON text: the settings of the run, which must be those of the run that goes on, and the state that is
no array. Arrays have names in groups: ``parameters.``, ``best.``, ``optimizer.``, ``history.``, ``callbacks.0.`` …
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cgraph._validation import describe
from cgraph.fitting.callbacks import state_of
from cgraph.fitting.run import Run
from cgraph.graph import Graph
from cgraph.io.header import CHECKPOINT, HEADER, ModelFileError
from cgraph.io.opening import write_archive
from cgraph.io.streams import opened, write_file
from cgraph.optimizers.optimizer import Optimizer

_VERSION = 1
_LONGEST = 1 << 26  # bytes of the header
_NAMES = ("settings", "split", "rng", "best_epoch", "stopped", "trainable", "updated", "current")
_OPTIMIZER = "settings of the optimizer"
_FUNCTION = "a function"

Arrays = dict[str, NDArray[Any]]


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
            "version": _VERSION,
            "settings": self._settings,
            "split": self._split,
            "rng": run.rng.bit_generator.state,
            "best_epoch": run.record.best_epoch,
            "stopped": run.record.stopped,
            "trainable": [p.trainable for p in graph_parameters],
            "updated": None if updated is None else [graph_parameters.index(p) for p in updated],
            "current": {_OPTIMIZER: _compared(optimizer._settings)},
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
        """Gives the run the state that was saved; refuses that of another run before anything changes."""
        run, header = self._run, saved.header
        for name, value in self._settings.items():
            old = header["settings"].get(name)
            # An optimiser may also have the settings that callbacks have given it since.
            if value not in (old, header["current"].get(name, old)):
                raise ModelFileError(
                    f"{self._name}: checkpoint of another run, with {name} {describe(old)}, got {describe(value)}; "
                    "give another path, or delete it to begin anew"
                )
        known = run.graph.parameters
        order = header["updated"]
        run.graph.load_state_dict(saved.group("parameters"))
        updated = None if order is None else [known[index] for index in order]
        run.optimizer.load_state_dict(saved.group("optimizer"), updated)
        for name, value in header["current"][_OPTIMIZER].items():
            if value not in (_FUNCTION, _plain(run.optimizer._settings[name])):
                setattr(run.optimizer, name, value)
        for parameter, trainable in zip(known, header["trainable"], strict=True):
            if parameter.trainable != trainable:
                parameter.trainable = trainable
        run.graph.zero_grad()
        run.rng.bit_generator.state = _with_arrays(header["rng"])
        record = run.record
        record.columns = {name: saved.group("history")[name].tolist() for name in record.columns}
        record.best, record.best_epoch = saved.group("best"), header["best_epoch"]
        record.stopped = header["stopped"]
        for number, callback in enumerate(run.callbacks):
            load = getattr(callback, "load_state_dict", None)
            if load is not None:
                load(saved.group(f"callbacks.{number}"))


def as_path(path: object, optimizer: Optimizer, graph: Graph) -> str:
    """Returns the path of a checkpoint; refuses others, and state of other graphs, which a checkpoint cannot keep."""
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"fit: checkpoint must be a path, got {describe(path)}")
    if not set(optimizer._states.parameters or ()) <= set(graph.parameters):
        raise ValueError(
            "fit: checkpoint needs an optimizer of this graph's parameters alone, got one that has updated others"
        )
    return os.fspath(path)


class Saved:
    """The content of a checkpoint.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ModelFileError
        The file is no checkpoint, or is damaged.
    """

    def __init__(self, name: str) -> None:
        # Imported here, since `import cgraph` would take a tenth longer with the imports of zipfile.
        from cgraph.io.archive import Archive, DamagedError

        with opened(name) as stream:
            try:
                with Archive(stream) as archive:
                    self.header = _parsed(archive.member(HEADER).text(_LONGEST))
                    names = [each for each in archive.names if each != HEADER]
                    self._arrays = {each: archive.member(each).read() for each in names}
            except (DamagedError, ValueError, KeyError, TypeError) as error:
                raise ModelFileError(
                    f"{name}: not a checkpoint of fit, or damaged ({error})"
                ) from error

    @property
    def split(self) -> int:
        """The seed by which validation samples were drawn."""
        return int(self.header["split"])

    def group(self, name: str) -> Arrays:
        """Returns the arrays whose names begin with that of a group, by the rest of their names."""
        start = f"{name}."
        return {k.removeprefix(start): v for k, v in self._arrays.items() if k.startswith(start)}


def _parsed(text: str) -> dict[str, Any]:
    header: dict[str, Any] = json.loads(text)
    if header["format"] != CHECKPOINT:
        raise ValueError(f"expected a {CHECKPOINT}, got {describe(header['format'])}")
    if header["version"] != _VERSION:
        raise ValueError(f"expected version {_VERSION}, got {header['version']!r}")
    missing = [name for name in _NAMES if name not in header]
    if missing:
        raise ValueError(f"expected {missing[0]}, got none")
    return header


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
        _OPTIMIZER: _compared(optimizer._settings),
        "groups of the optimizer": [_compared(optimizer._group_of(p)) for p in parameters],
    }


def _compared(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns settings; of a function, such as a schedule, only that it is one."""
    return {name: _FUNCTION if callable(value) else value for name, value in settings.items()}


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


def _with_arrays(value: Any) -> Any:
    """Returns the state of a generator from JSON."""
    if not isinstance(value, dict):
        return value
    if value.keys() == {"dtype", "elements"}:
        return np.array(value["elements"], value["dtype"])
    return {name: _with_arrays(item) for name, item in value.items()}
