"""What a group of tables is made of: times by title, measured now, or read back from what was saved.

Tables, texts and goals are computed from a Record by the same functions in both cases, so that a page is made of the
saved results as it is of new ones.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Self

from benchmarks.measure.internals import instructions_in_use
from benchmarks.measure.peak import PEAK, peak_loop, peak_name
from benchmarks.measure.peers import Makers, built
from benchmarks.measure.tables import Section
from benchmarks.measure.timing import Effort, Times, alternate

Saved = Mapping[str, Any]


class Record:
    """The times of contenders, and what was said about them, by title.

    In a replay no contender is built, and what was not saved has no times.
    """

    def __init__(self, effort: Effort) -> None:
        self.effort = effort
        self.replays = False
        self.instructions = instructions_in_use()
        self.notes: dict[str, str] = {}
        self._times: dict[str, dict[str, Times]] = {}

    @classmethod
    def replay(cls, saved: Saved) -> Self:
        """Returns the record of which `saved` was made."""
        record = cls(Effort(saved["rounds"], saved["seconds"]))
        record.replays = True
        record.instructions = saved["instructions"]
        record.notes = dict(saved["notes"])
        record._times = {
            title: {name: Times(*values) for name, values in own.items()}
            for title, own in saved["times"].items()
        }
        return record

    def has(self, title: str) -> bool:
        return title in self._times

    def times(self, title: str, makers: Makers | None = None, fewer: int = 1) -> dict[str, Times]:
        """The times of the contenders that can be built, measured when they are first asked for.

        There are fewer rounds where a call takes long. Without makers, the times are there already.
        """
        if makers is not None and not self.replays and title not in self._times:
            self._times[title] = alternate(built(makers), self.effort.fewer(fewer))
        return dict(self._times[title])

    def with_peak(
        self, title: str, makers: Makers, dtype: str = "float32", fewer: int = 1
    ) -> tuple[dict[str, Times], Times]:
        """The times of the contenders that can be built, and those of the peak in the same rounds."""
        times = self.times(title, {PEAK: partial(peak_loop, dtype), **makers}, fewer)
        return times, times.pop(PEAK)

    def note(self, title: str, say: Callable[[], str]) -> str:
        """What is said when the times are taken."""
        if not self.replays:
            self.notes[title] = say()
        return self.notes[title]

    def keep(self, title: str, times: Mapping[str, Times]) -> None:
        """Keeps times that another process has taken."""
        self._times[title] = dict(times)

    def section(self, title: str, text: str, table: str = "") -> Section:
        return Section(title, text, self.instructions, table)

    @property
    def peak_name(self) -> str:
        """What shares of the peak are shares of."""
        return peak_name(self.instructions)

    def saved(self) -> Saved:
        """What a replay needs, as numbers and text."""
        times = {
            title: {name: [rounded(value) for value in each] for name, each in own.items()}
            for title, own in self._times.items()
        }
        return {
            "instructions": self.instructions,
            "rounds": self.effort.rounds,
            "seconds": self.effort.seconds,
            "notes": self.notes,
            "times": times,
        }


def rounded(value: float) -> float:
    """Five digits are more than a measurement has."""
    return float(f"{value:.5g}")
