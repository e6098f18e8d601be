"""The content of a checkpoint of `fit`, each entry checked: a file may be damaged, or come from somebody else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cgraph._validation import describe
from cgraph.fitting.run import Run
from cgraph.io.fields import each_of, place, taken
from cgraph.io.header import CHECKPOINT, HEADER, ModelFileError
from cgraph.io.state import SAMPLES, MisfitError
from cgraph.io.streams import opened

VERSION = 1
OF_OPTIMIZER = "settings of the optimizer"
FUNCTION = "a function"  # what a checkpoint says of a setting that is one
_GROUPS = ("parameters", "best", "optimizer", "history", "callbacks")
_LONGEST = 1 << 26  # bytes of the header
_MOST_SEED = 1 << 63
# The places in their buffers at which generators of NumPy read next, which NumPy does not check.
_POSITIONS = {"pos": 624, "buffer_pos": 4}

Arrays = dict[str, NDArray[Any]]


class Saved:
    """The header and the arrays of a checkpoint.

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
                    archive.require_stored()
                    self.header = _parsed(archive.member(HEADER).text(_LONGEST))
                    names = [each for each in archive.names if each != HEADER]
                    self._arrays = {each: archive.member(each).read() for each in names}
                self.split = place(HEADER, "split", self.header.get("split"), _MOST_SEED)
                for each in names:
                    if each.partition(".")[0] not in _GROUPS:
                        raise MisfitError(f"expected arrays of a run alone, got {describe(each)}")
            except (DamagedError, ValueError, KeyError, TypeError, RecursionError) as error:
                raise ModelFileError(
                    f"{name}: not a checkpoint of fit, or damaged ({error})"
                ) from error

    def group(self, name: str) -> Arrays:
        """Returns the arrays whose names begin with that of a group, by the rest of their names."""
        start = f"{name}."
        return {k.removeprefix(start): v for k, v in self._arrays.items() if k.startswith(start)}


class Progress(NamedTuple):
    """What a checkpoint says of a run that goes on, as the run may take it.

    Attributes
    ----------
    trainable : list of bool
        Whether each parameter learns.
    updated : list of int, optional
        The numbers of the parameters that the optimiser has updated, in its order; None if its state was loaded and
        has not been used.
    settings : dict of str to object
        Settings of the optimiser that are no functions.
    rng : dict
        The state of the generator.
    columns : dict of str to list of float
        The history.
    best : dict of str to ndarray
        The parameters of the best epoch.
    best_epoch : int
    stopped : bool
    """

    trainable: list[bool]
    updated: list[int] | None
    settings: dict[str, Any]
    rng: Mapping[str, Any]
    columns: dict[str, list[float]]
    best: Arrays
    best_epoch: int
    stopped: bool


def progress_of(saved: Saved, run: Run) -> Progress:
    """Returns what a checkpoint says of a run.

    Raises
    ------
    MisfitError
        An entry has another kind, or is none of this run.
    """
    header, count = saved.header, len(run.graph.parameters)
    trainable = each_of(HEADER, "trainable", taken(header, HEADER, "trainable", list), bool)
    if len(trainable) != count:
        raise MisfitError(f"{HEADER}: trainable must have {count} elements, got {len(trainable)}")
    updated = header.get("updated")
    if updated is not None:
        updated = [
            place(HEADER, "updated", each, count) for each in taken(header, HEADER, "updated", list)
        ]
        if len(set(updated)) < len(updated):
            raise MisfitError(f"{HEADER}: updated must hold different numbers, got one twice")
    columns = _columns(saved.group("history"), list(run.record.columns))
    epochs = len(columns["loss"])
    best_epoch = place(HEADER, "best_epoch", header.get("best_epoch"), epochs + 1)
    return Progress(
        trainable=trainable,
        updated=updated,
        settings=_settings(
            taken(taken(header, HEADER, "current", dict), "current", OF_OPTIMIZER, dict), run
        ),
        rng=_like(run.rng.bit_generator.state, header.get("rng"), "rng"),
        columns=columns,
        best=_best(saved.group("best"), run, best_epoch),
        best_epoch=best_epoch,
        stopped=taken(header, HEADER, "stopped", bool),
    )


def _parsed(text: str) -> dict[str, Any]:
    header: dict[str, Any] = json.loads(text)
    if header["format"] != CHECKPOINT:
        raise ValueError(f"expected a {CHECKPOINT}, got {describe(header['format'])}")
    if header["version"] != VERSION:
        raise ValueError(f"expected version {VERSION}, got {describe(header['version'])}")
    taken(header, HEADER, "settings", dict)
    taken(header, HEADER, "current", dict)
    return header


def _settings(settings: dict[str, Any], run: Run) -> dict[str, Any]:
    """Returns settings of the optimiser that are no functions; refuses names that it does not have."""
    known = run.optimizer._settings
    for name, value in settings.items():
        if name not in known or (value == FUNCTION) != callable(known[name]):
            raise MisfitError(
                f"{OF_OPTIMIZER}: must be those of {type(run.optimizer).__name__}, got "
                f"{describe(name)}: {describe(value)}"
            )
    return {name: value for name, value in settings.items() if value != FUNCTION}


def _columns(history: Arrays, names: list[str]) -> dict[str, list[float]]:
    """Returns the columns of the history, or refuses arrays that are none."""
    if history.keys() != set(names):
        raise MisfitError(f"history must have {', '.join(names)}, got {describe(sorted(history))}")
    shape = history["loss"].shape
    for name, array in history.items():
        if array.shape != shape or len(shape) != 1 or array.dtype.newbyteorder("=") != np.float64:
            raise MisfitError(
                f"history.{name} must be as many float64 as there were epochs, got shape {array.shape} and "
                f"{array.dtype}"
            )
    return {name: history[name].tolist() for name in names}


def _best(best: Arrays, run: Run, epoch: int) -> Arrays:
    """Returns the parameters of the best epoch, or refuses arrays that are none of this graph."""
    expected: Arrays = {}
    if run.patience is not None and epoch:
        state = run.graph.state_dict().items()
        expected = {name: array for name, array in state if not name.startswith(SAMPLES)}
    if best.keys() != expected.keys():
        raise MisfitError(
            f"best must have {len(expected)} arrays of the graph, got {describe(sorted(best))}"
        )
    for name, array in expected.items():
        given = best[name]
        if given.shape != array.shape or given.dtype.newbyteorder("=") != array.dtype:
            raise MisfitError(
                f"best.{name} must have shape {array.shape} and dtype {array.dtype}, got {given.shape} and "
                f"{given.dtype}"
            )
    return {name: best[name].astype(array.dtype) for name, array in expected.items()}


def _like(expected: Any, value: Any, where: str) -> Any:
    """Returns the state of a generator from JSON, or refuses what is none of this kind of generator."""
    if isinstance(expected, Mapping):
        if not isinstance(value, dict) or value.keys() != expected.keys():
            raise MisfitError(f"{where} must have {', '.join(expected)}, got {describe(value)}")
        return {name: _like(expected[name], value[name], f"{where}.{name}") for name in expected}
    if isinstance(expected, np.ndarray):
        elements = taken(value, where, "elements", list)
        each_of(where, "elements", elements, int)
        most = int(np.iinfo(expected.dtype).max)
        if len(elements) != expected.size or not all(0 <= each <= most for each in elements):
            raise MisfitError(f"{where} must be {expected.size} elements of {expected.dtype}")
        return np.array(elements, expected.dtype).reshape(expected.shape)
    last = _POSITIONS.get(where.rpartition(".")[2])
    if type(value) is not type(expected) or (isinstance(value, str) and value != expected):
        raise MisfitError(f"{where} must be like {describe(expected)}, got {describe(value)}")
    if last is not None and not 0 <= value <= last:
        raise MisfitError(f"{where} must be in [0, {last}], got {describe(value)}")
    return value
