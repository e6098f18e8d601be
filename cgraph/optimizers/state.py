"""The state of an optimiser: for each parameter some arrays, and the number of updates that it has had."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cgraph._kernels.runtime.optimizer_step import SETTINGS
from cgraph._kernels.runtime.structs import Structs
from cgraph._validation import Array, DType, describe
from cgraph.parameter import Parameter

Index = slice | NDArray[np.intp]

_MOST_UPDATES = 1 << 62  # so that compiled steps can count on


class Home:
    """Flat arrays in which the state of some parameters lies, at the places that an update computes with.

    Attributes
    ----------
    arrays : dict of str to ndarray
        The state by its names.
    settings : ndarray of Settings
        They have the numbers of updates.
    is_current : bool
        Whether the state of all these parameters lies here still.
    """

    def __init__(self, size: int, dtype: DType) -> None:
        self._size, self._dtype = size, dtype
        self.arrays: dict[str, Array] = {}
        self.settings: Structs = np.empty(0, SETTINGS)
        self.is_current = True

    def array(self, name: str) -> Array:
        """Returns the array of a name, zeros at first."""
        if name not in self.arrays:
            self.arrays[name] = np.zeros(self._size, self._dtype)
        return self.arrays[name]


class Place(NamedTuple):
    """Where the state of a parameter lies: the elements of the arrays of its home, and the settings with its count."""

    home: Home
    elements: Index
    settings: int

    @property
    def updates(self) -> int:
        return int(self.home.settings["updates"][self.settings])


class Saved(NamedTuple):
    """The state of one parameter that was loaded."""

    updates: int
    arrays: dict[str, NDArray[Any]]


class States:
    """The state of all parameters that an optimiser has updated.

    Attributes
    ----------
    total : ndarray
        The number of updates so far, one element, which compiled steps count up.
    """

    def __init__(self, owner: str, names: Collection[str] | None) -> None:
        self._owner, self._names = owner, names
        self.total = np.zeros(1, np.intp)
        self._places: dict[Parameter, Place] = {}
        # The state that was loaded, for the parameters of the next update, in their order.
        self._loaded: list[Saved] = []

    @property
    def updates(self) -> int:
        """The number of updates so far."""
        return int(self.total[0])

    @property
    def parameters(self) -> list[Parameter] | None:
        """The parameters whose state this is, in the order of `to_dict`; None for loaded state that waits for them."""
        return None if self._loaded else list(self._places)

    def updates_of(self, parameters: Sequence[Parameter]) -> list[int]:
        """Returns how many updates parameters have had; refuses parameters that loaded state does not fit."""
        fresh = self._match_loaded(parameters)
        return [
            self._places[p].updates if p in self._places else fresh[p].updates if p in fresh else 0
            for p in parameters
        ]

    def move(
        self,
        parameters: Sequence[Parameter],
        home: Home,
        indices: Sequence[Index],
        settings: Sequence[int],
    ) -> None:
        """Copies the state of parameters to a new home, which has their numbers of updates already."""
        fresh = self._match_loaded(parameters)
        for p, index in zip(parameters, indices, strict=True):
            if p in self._places:
                old = self._places[p]
                for name, array in old.home.arrays.items():
                    home.array(name)[index] = array[old.elements]
            elif p in fresh:
                for name, array in fresh[p].arrays.items():
                    home.array(name)[index] = array
        for p in parameters:
            if p in self._places:
                self._places[p].home.is_current = False
        self._places = self._places | {
            p: Place(home, index, number)
            for p, index, number in zip(parameters, indices, settings, strict=True)
        }
        self._loaded = []

    def _match_loaded(self, parameters: Sequence[Parameter]) -> dict[Parameter, Saved]:
        """Returns the loaded state that waits for these parameters, of which none has had an update."""
        if not self._loaded:
            return {}
        return self._matched(self._loaded, list(parameters))

    def _matched(
        self, saved: Sequence[Saved], parameters: Sequence[Parameter]
    ) -> dict[Parameter, Saved]:
        """Returns the saved state of each parameter; refuses another number of them, and other sizes."""
        if len(saved) != len(parameters):
            raise ValueError(
                f"{self._owner}: the loaded state must be that of {len(parameters)} parameters, got {len(saved)}"
            )
        for number, (p, each) in enumerate(zip(parameters, saved, strict=True)):
            size = int(np.prod(p.shape))
            for name, array in each.arrays.items():
                if array.shape != (size,):
                    raise ValueError(
                        f"{self._owner}: {number:05d}.{name} must have shape ({size},) for {p!r}, got {array.shape}"
                    )
        return dict(zip(parameters, saved, strict=True))

    def to_dict(self) -> dict[str, NDArray[Any]]:
        """Returns copies of all state by name."""
        saved = self._loaded or [
            Saved(place.updates, {name: x[place.elements] for name, x in place.home.arrays.items()})
            for place in self._places.values()
        ]
        result: dict[str, NDArray[Any]] = {"updates": np.array(self.updates)}
        for number, each in enumerate(saved):
            result[f"{number:05d}.updates"] = np.array(each.updates)
            result |= {f"{number:05d}.{name}": x.copy() for name, x in each.arrays.items()}
        return result

    def load(
        self, state: Mapping[str, NDArray[Any]], parameters: Iterable[Parameter] | None
    ) -> None:
        """Replaces all state by a copy of a state dict."""
        total, saved = self._parsed(state)
        known = list(self._places if parameters is None else parameters)
        for p in known:
            if not isinstance(p, Parameter):
                raise TypeError(
                    f"{self._owner}.load_state_dict: parameters must hold Parameters, got {describe(p)}"
                )
        matched = self._matched(saved, known) if known or parameters is not None else {}
        places = {}
        for p, each in matched.items():
            home = Home(int(np.prod(p.shape)), p.node.dtype)
            home.settings = np.zeros(1, SETTINGS)
            home.settings["updates"] = each.updates
            for name, array in each.arrays.items():
                home.array(name)[...] = array
            places[p] = Place(home, slice(None), 0)
        for place in self._places.values():
            place.home.is_current = False
        self._loaded = [] if matched else saved
        self._places = places
        self.total[0] = total

    def _parsed(self, state: object) -> tuple[int, list[Saved]]:
        """Returns the number of all updates, and the state of each parameter, from a state dict."""
        owner = f"{self._owner}.load_state_dict"
        if not isinstance(state, Mapping):
            raise TypeError(
                f"{owner}: state must be a mapping of names to arrays, got {describe(state)}"
            )
        found: dict[int, Saved] = {}
        total = None
        for name in sorted(state, key=str):
            array = np.asarray(state[name])
            number, _, rest = str(name).rpartition(".")
            if array.dtype.kind not in "iuf":
                raise TypeError(
                    f"{owner}: {name} must hold numbers, got an array of dtype {array.dtype}"
                )
            if rest == "updates" and not (
                array.shape == () and array.dtype.kind != "f" and 0 <= int(array) < _MOST_UPDATES
            ):
                raise ValueError(
                    f"{owner}: {name} must be an integer of at least 0, and less than 2**62, got "
                    f"{describe(state[name])}"
                )
            if name == "updates":
                total = int(array)
                continue
            known = self._names is None or rest in (*self._names, "updates")
            if not (number.isascii() and number.isdigit() and known):
                rests = " or ".join(self._names or ("trace",))
                raise ValueError(
                    f"{owner}: names must be numbers with updates or {rests}, got {describe(name)}"
                )
            before = found.get(int(number), Saved(-1, {}))
            found[int(number)] = (
                before._replace(updates=int(array))
                if rest == "updates"
                else before._replace(arrays=before.arrays | {rest: array.copy()})
            )
        incomplete = [n for n in range(len(found)) if found.get(n, Saved(-1, {})).updates < 0]
        if total is None or incomplete:
            missing = "updates" if total is None else f"{incomplete[0]:05d}.updates"
            raise ValueError(f"{owner}: state must have {missing}, got {len(state)} other names")
        return total, [found[number] for number in range(len(found))]
