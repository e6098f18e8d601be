"""The way from cells to inputs of a network: numbers are scaled, categories become one input each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

from cgraph._validation import Array
from cgraph.data.idx import DataError
from cgraph.tables.columns import LARGEST, Cells
from cgraph.tables.reading import quoted

_UNKNOWN = -1.0  # the code of a category that the training did not have
_SMALLEST = 1e-12  # of the largest number: a smaller standard deviation is rounding
_LIMIT = 1e30  # of scaled numbers, which float32 holds
_CHUNK = 1 << 14

Codes = NDArray[np.float64]


def plain(number: float) -> str:
    """Returns a number with four digits that count, and no exponent where it is neither huge nor tiny."""
    if number and not 1e-4 <= abs(number) < 1e9:
        return f"{number:.4g}"
    return np.format_float_positional(float(f"{number:.4g}"), trim="-")


class BadCellError(DataError):
    """A cell that cannot be read; the message lacks file and line."""


@dataclass(frozen=True)
class Number:
    """A column of numbers x, which becomes the input (x - mean) / scale; a missing one is 0.

    With `indicator` there is a second input, 1 where the number is missing and 0 elsewhere.
    """

    name: str
    mean: float = 0.0
    scale: float = 1.0
    indicator: bool = False
    kind: str = field(default="number", init=False)

    @property
    def width(self) -> int:
        """The number of inputs of this column."""
        return 1 + self.indicator

    def code(self, text: str, cells: Cells) -> float:
        """Returns the number in a cell, NaN for a missing one."""
        if cells.is_missing(text):
            return math.nan
        number = cells.number(text)
        if number is None or not abs(number) <= LARGEST:
            raise BadCellError(f"column {quoted(self.name)}: expected a number, got {quoted(text)}")
        return number

    def fitted(self, codes: Codes, train: NDArray[np.intp]) -> Number:
        """Returns the column with mean and standard deviation of the training part."""
        known = codes[train]
        known = known[~np.isnan(known)]
        if not known.size:
            return Number(self.name, indicator=True)
        mean, scale = float(known.mean()), float(known.std())
        if scale <= max(_SMALLEST * float(abs(known).max()), 1e-100):
            scale = 1.0
        return Number(self.name, mean, scale, indicator=known.size < len(train))

    def fill(self, inputs: Array, codes: Codes) -> None:
        """Writes the inputs of samples."""
        missing = np.isnan(codes)
        scaled = (np.where(missing, self.mean, codes) - self.mean) / self.scale
        inputs[:, 0] = np.clip(scaled, -_LIMIT, _LIMIT)
        if self.indicator:
            inputs[:, 1] = missing

    def told(self) -> str:
        """Returns the line that describes the column."""
        missing = ", may be missing" if self.indicator else ""
        return f"mean {plain(self.mean)}, standard deviation {plain(self.scale)}{missing}"


@dataclass(frozen=True)
class Category:
    """A column of texts, of which each becomes an input of 0 or 1; a missing or unknown one is 0 in all of them."""

    name: str
    values: Sequence[str] = ()
    kind: str = field(default="category", init=False)

    @property
    def width(self) -> int:
        """The number of inputs of this column."""
        return len(self.values)

    def code(self, text: str, cells: Cells) -> float:
        """Returns the index of the text in a cell, NaN for a missing one, -1 for an unknown one."""
        return math.nan if cells.is_missing(text) else self._indices.get(text, _UNKNOWN)

    def fitted(self, codes: Codes, train: NDArray[np.intp]) -> Category:
        """Returns the column with the texts of the training part, and gives `codes` their indices."""
        known = codes[train]
        seen = np.unique(known[known >= 0]).astype(np.intp)
        indices = np.full(len(self.values) + 1, _UNKNOWN)
        indices[seen] = np.arange(len(seen))
        present = codes >= 0
        codes[present] = indices[codes[present].astype(np.intp)]
        return Category(self.name, [self.values[index] for index in seen])

    def fill(self, inputs: Array, codes: Codes) -> None:
        """Writes the inputs of samples."""
        inputs[...] = codes[:, None] == np.arange(self.width)

    def told(self) -> str:
        """Returns the line that describes the column."""
        few = ", ".join(quoted(value) for value in self.values[:5])
        return f"{len(self.values):,} values: {few}{', ...' if len(self.values) > 5 else ''}"

    @cached_property
    def _indices(self) -> dict[str, float]:
        return {value: float(index) for index, value in enumerate(self.values)}


Column = Number | Category


@dataclass(frozen=True)
class Preparation:
    """The columns that a network reads, in the order of its inputs, and how their cells are read."""

    columns: Sequence[Column]
    cells: Cells

    @property
    def width(self) -> int:
        """The number of inputs."""
        return sum(column.width for column in self.columns)

    def places(self, header: Sequence[str]) -> list[int]:
        """Returns where the columns stand in a table, which may have others, too."""
        for column in self.columns:
            if column.name not in header:
                raise DataError(f"expected a column {quoted(column.name)}, got none")
        return [header.index(column.name) for column in self.columns]

    def codes(self, row: Sequence[str], places: Sequence[int]) -> list[float]:
        """Returns a number for each column of a row."""
        return [
            column.code(row[place], self.cells)
            for column, place in zip(self.columns, places, strict=True)
        ]

    def fitted(self, codes: Codes, train: NDArray[np.intp]) -> Preparation:
        """Returns the preparation that the training part of a table asks for; changes the codes to those of it."""
        fitted = [column.fitted(codes[:, j], train) for j, column in enumerate(self.columns)]
        return Preparation(fitted, self.cells)

    def inputs(self, codes: Codes, dtype: npt.DTypeLike = np.float32) -> Array:
        """Returns the inputs of samples, of shape (samples, width)."""
        result = np.empty((len(codes), self.width), dtype)
        for first in range(0, len(codes), _CHUNK):
            part, begin = slice(first, first + _CHUNK), 0
            for j, column in enumerate(self.columns):
                column.fill(result[part, begin : begin + column.width], codes[part, j])
                begin += column.width
        return result

    def as_json(self) -> dict[str, Any]:
        """Returns the preparation as values of JSON."""
        return {"columns": [asdict(column) for column in self.columns], "cells": asdict(self.cells)}

    @classmethod
    def from_json(cls, record: Any) -> Preparation:
        """Builds a preparation from values of JSON; others raise a ValueError."""
        try:
            columns = [_column(each) for each in record["columns"]]
            cells = Cells(**record["cells"])
            texts = [cells.decimal, *cells.missing, *(column.name for column in columns)]
            if not columns or not all(isinstance(text, str) for text in texts):
                raise ValueError("expected columns with names")
        except (AttributeError, KeyError, OverflowError, TypeError) as error:
            raise ValueError(f"no preparation of a table ({error!r})") from error
        return cls(columns, Cells(cells.decimal, tuple(cells.missing)))


def _column(record: Mapping[str, Any]) -> Column:
    """Builds a column from values of JSON."""
    settings = {name: value for name, value in record.items() if name != "kind"}
    if record["kind"] == "category":
        category = Category(**settings)
        if not all(isinstance(value, str) for value in category.values):
            raise ValueError("expected texts as categories")
        return category
    number = Number(**settings)
    if not (math.isfinite(number.mean) and 0 < number.scale < math.inf):
        raise ValueError("expected a finite mean and scale")
    return Number(number.name, number.mean, number.scale, bool(number.indicator))
