"""What the columns of a table are: numbers, categories, or nothing that a network can learn from."""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import cached_property

from cgraph.data.idx import DataError
from cgraph.tables.reading import Table, quoted

MOST_CATEGORIES = 1000
MISSING = ("", "na", "n/a", "#n/a", "nan", "null", "?")
LARGEST = 1e100
_TYPICAL = 0.9  # of the cells: if so many are numbers, the others are mistakes
_DECIMAL_COMMA = re.compile(r"[-+]?\d+,\d+")
_THOUSANDS = re.compile(r"[-+]?[1-9]\d{0,2}(,\d{3})+(\.\d*)?")


@dataclass(frozen=True)
class Cells:
    """How the text of a cell is read.

    Attributes
    ----------
    decimal : str
        The mark in front of decimals.
    missing : tuple of str
        The words, in lower case, for a cell that is missing.
    """

    decimal: str = "."
    missing: tuple[str, ...] = MISSING

    def is_missing(self, text: str) -> bool:
        """Returns whether a cell is missing."""
        return text.lower() in self._words

    @cached_property
    def _words(self) -> frozenset[str]:
        return frozenset(self.missing)

    def number(self, text: str) -> float | None:
        """Returns the number in a cell, which may be infinite, or None where there is another text."""
        if self.decimal != ".":
            text = text.replace(".", "_").replace(self.decimal, ".")
        try:
            number = float(text)
        except ValueError:
            return None
        # Python takes 1_000 for a number.
        return None if "_" in text else number


@dataclass
class Survey:
    """Counts and extremes of the cells of a column, which come one after the other."""

    name: str
    count: int = 0
    missing: int = 0
    numbers: int = 0
    low: float = math.inf
    high: float = -math.inf
    texts: set[str] = field(default_factory=set)  # different ones, until they are too many
    has_more: bool = False  # texts than may be categories
    first_text: tuple[int, str] | None = None  # that is no number, and its line
    first_huge: tuple[int, str] | None = None

    def add(self, line: int, text: str, cells: Cells) -> None:
        """Looks at a cell."""
        if cells.is_missing(text):
            self.missing += 1
            return
        self.count += 1
        if not self.has_more and text not in self.texts:
            self.has_more = len(self.texts) == MOST_CATEGORIES
            self.texts.add(text)
        number = cells.number(text)
        if number is None:
            self.first_text = self.first_text or (line, text)
        else:
            self.numbers += 1
            if not abs(number) <= LARGEST:
                self.first_huge = self.first_huge or (line, text)
            if number < self.low:
                self.low = number
            if number > self.high:
                self.high = number


def surveyed(table: Table, target: str, cells: Cells) -> tuple[list[Survey], int]:
    """Reads a whole table; returns what its columns are, in rows that have a target, and the number of these rows."""
    surveys = [Survey(name) for name in table.header]
    goal, count = table.header.index(target), 0
    for line, row in table.rows():
        wrong = table.wrong_length(row)
        if wrong:
            raise DataError(f"{table.path}: line {line}: {wrong}")
        if cells.is_missing(row[goal]):
            surveys[goal].missing += 1
            continue
        count += 1
        for survey, text in zip(surveys, row, strict=True):
            survey.add(line, text, cells)
    return surveys, count


def is_number(survey: Survey, table: Table, cells: Cells) -> bool:
    """Returns whether a column holds numbers; refuses single cells of another kind, with line and column."""
    where = f"column {quoted(survey.name)}"
    if survey.first_text is not None:
        line, text = survey.first_text
        place = f"{table.path}: line {line}, {where}"
        if cells.decimal == "." and _THOUSANDS.fullmatch(text):
            raise DataError(
                f"{place}: expected a number, got {quoted(text)}: take out the commas if they divide thousands, or say "
                "--decimal , if they stand in front of decimals, or --categories with the column"
            )
        if cells.decimal == "." and _DECIMAL_COMMA.fullmatch(text):
            raise DataError(
                f"{place}: expected a number with a point, got {quoted(text)}: say --decimal , if it is one, or "
                "--categories with the column"
            )
        if survey.numbers < _TYPICAL * survey.count:
            return False
        raise DataError(
            f"{place}: expected a number, as in {100 * survey.numbers / survey.count:.3g} % of the column, got "
            f"{quoted(text)}: correct it, or say --missing with the word, or --categories or --drop with the column"
        )
    if survey.first_huge is not None:
        line, text = survey.first_huge
        raise DataError(
            f"{table.path}: line {line}, {where}: expected a number of at most {LARGEST:g}, got {quoted(text)}"
        )
    return True


def useless(survey: Survey, number: bool, asked_for: Collection[str]) -> str | None:
    """Returns why a column is no input, or None; a column of categories that is asked for may have many."""
    if not survey.name:
        return "no name"
    if not survey.count:
        return "empty"
    if not survey.missing and (survey.low == survey.high if number else len(survey.texts) == 1):
        return "constant"
    if number or survey.name in asked_for:
        return None
    if survey.has_more:
        return f"more than {MOST_CATEGORIES:,} different texts"
    if len(survey.texts) > max(20, survey.count / 2):
        return f"{len(survey.texts):,} different texts in {survey.count:,} cells"
    return None
