"""`cgraph predict model.npz table.csv`: what a network of `cgraph train table.csv` says about each row of a table."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cgraph._streams import note, say
from cgraph.cli.tables import chosen, quality
from cgraph.cli.training import predictor
from cgraph.data.idx import DataError
from cgraph.io.header import ModelFileError
from cgraph.io.model import Model
from cgraph.io.streams import write_file
from cgraph.tables.preparation import BadCellError, Category, Column, Preparation
from cgraph.tables.reading import Table, quoted

_NAMED = 5  # rows that are named at most
_CHUNK = 4096  # rows that are predicted at a time


def columns_of(path: Path, metadata: Mapping[str, Any]) -> tuple[Preparation, Column]:
    """Returns the preparation that a file holds, and its target."""
    try:
        preparation = Preparation.from_json(metadata.get("preparation"))
        goals = Preparation.from_json(metadata.get("target")).columns
        return preparation, goals[0]
    except ValueError as error:
        raise ModelFileError(f"{path}: expected a preparation of tables, got {error}") from error


def predict(
    path: Path,
    model: Model,
    source: Path,
    output: Path | None,
    separator: str | None,
    encoding: str | None,
) -> None:
    """Writes what the network predicts for each row of a table, to a file or stdout; names rows that are left out."""
    preparation, goal = columns_of(path, model.metadata)
    x, prediction = model.nodes.get("x"), model.nodes.get("prediction")
    size = goal.width if isinstance(goal, Category) else 1
    if x is None or prediction is None or (x.size, prediction.size) != (preparation.width, size):
        raise ModelFileError(f"{path}: expected nodes of a model of cgraph train")
    names = [column.name for column in preparation.columns]
    table = Table(source, separator, encoding, names[0] if len(names) == 1 else None)
    try:
        places = preparation.places(table.header)
    except DataError as error:
        raise DataError(f"{source}: {error}") from error
    reader = _Reader(table, preparation, places, goal)
    found, truth = [], []
    predicted = predictor(path, prediction)

    def blocks() -> Iterator[list[list[str]]]:
        names = [f"probability of {value}" for value in getattr(goal, "values", ())]
        yield [[f"predicted {goal.name}", *names]]
        for codes, labels, gaps in reader.chunks():
            values = predicted({x: preparation.inputs(codes, x.dtype)}) if len(codes) else codes
            known = labels >= 0 if isinstance(goal, Category) else ~np.isnan(labels)
            found.append(chosen(goal, values)[known])
            truth.append(labels[known])
            rows = iter(_texts(goal, values))
            yield [[""] * (1 + len(names)) if gap else next(rows) for gap in gaps]

    tell = note
    if output is None:
        _print(blocks())
    else:
        _write(output, blocks())
        tell = say
        tell(f"predictions: {output.resolve()}")
    for line in reader.told():
        tell(line)
    actual = np.concatenate(truth) if truth else np.empty(0)
    if actual.size:
        tell(
            f"{len(actual):,} rows with a target: {quality(goal, np.concatenate(found), actual, actual)}"
        )


class _Reader:
    """The rows of a table as numbers, in chunks, and what was wrong with them."""

    def __init__(self, table: Table, preparation: Preparation, places: list[int], goal: Column):
        self.table, self.preparation, self.places, self.goal = table, preparation, places, goal
        self.count = 0
        self.bad: list[str] = []
        self.bad_count = 0
        self.missing: Counter[str] = Counter()
        self.unknown: Counter[str] = Counter()

    def chunks(self) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64], list[bool]]]:
        """Yields the codes of rows, their targets (NaN for none), and of all rows whether they are left out."""
        width = len(self.places)
        codes: list[list[float]] = []
        labels: list[float] = []
        gaps: list[bool] = []
        for line, row in self.table.rows():
            self.count += 1
            coded = self._coded(line, row)
            gaps.append(coded is None)
            if coded is not None:
                codes.append(coded)
                labels.append(self._label(row))
            if len(gaps) == _CHUNK:
                yield np.array(codes).reshape(-1, width), np.array(labels), gaps
                codes, labels, gaps = [], [], []
        if gaps:
            yield np.array(codes).reshape(-1, width), np.array(labels), gaps

    def _coded(self, line: int, row: list[str]) -> list[float] | None:
        """Returns the codes of a row, or None for a row that cannot be read, which is noted."""
        wrong = self.table.wrong_length(row)
        if wrong is None:
            try:
                codes = self.preparation.codes(row, self.places)
            except BadCellError as error:
                wrong = str(error)
        if wrong is not None:
            self.bad_count += 1
            if len(self.bad) < _NAMED:
                self.bad.append(f"line {line}: {wrong}: no prediction")
            return None
        for column, code in zip(self.preparation.columns, codes, strict=True):
            if code != code:
                self.missing[column.name] += 1
            elif code < 0 and isinstance(column, Category):
                self.unknown[column.name] += 1
        return codes

    def _label(self, row: list[str]) -> float:
        """Returns the target of a row, NaN where there is none that can be read."""
        try:
            place = self.table.header.index(self.goal.name)
            return self.goal.code(row[place], self.preparation.cells)
        except (ValueError, BadCellError):
            return float("nan")

    def told(self) -> Iterable[str]:
        """Yields lines about rows that were left out, missing cells, and categories that the training did not have."""
        yield f"{self.count:,} rows, {self.bad_count:,} of them without a prediction"
        yield from (f"{self.table.path}: {each}" for each in self.bad)
        if self.bad_count > len(self.bad):
            yield f"and {self.bad_count - len(self.bad):,} more rows without a prediction"
        for told, counts in (("missing cells", self.missing), ("unknown categories", self.unknown)):
            if counts:
                yield f"{told}: {', '.join(f'{quoted(k)} {n:,}' for k, n in counts.items())}"


def _texts(goal: Column, values: NDArray[Any]) -> Iterator[list[str]]:
    """Yields the cells of each prediction: a number, or a class and the probabilities of all."""
    for row in values:
        if isinstance(goal, Category):
            yield [goal.values[int(row.argmax())], *(f"{value:.6g}" for value in row)]
        else:
            yield [f"{row[0]:.7g}"]


def _write(path: Path, blocks: Iterable[list[list[str]]]) -> None:
    """Writes rows to a file, which appears whole or not at all."""

    def write(stream: Any) -> None:
        text = io.TextIOWrapper(stream, encoding="utf-8", newline="", write_through=True)
        for block in blocks:
            csv.writer(text).writerows(block)
        text.detach()

    write_file(path, write)


def _print(blocks: Iterable[list[list[str]]]) -> None:
    """Prints rows to stdout, if there is one."""
    for block in blocks:
        text = io.StringIO(newline="")
        csv.writer(text, lineterminator="\n").writerows(block)
        say(text.getvalue().removesuffix("\n"))
