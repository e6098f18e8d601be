"""The target of a table, and the columns that are inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cgraph.data.idx import DataError
from cgraph.tables.columns import MOST_CATEGORIES, Cells, Survey, is_number, useless
from cgraph.tables.preparation import Category, Column, Number
from cgraph.tables.reading import Table, quoted

_FEWEST = 10  # rows


@dataclass(frozen=True)
class Asked:
    """The options about the columns of a table."""

    target: str
    task: str
    categories: Sequence[str]
    drop: Sequence[str]

    def require(self, table: Table) -> None:
        """Refuses names of columns that the table has not."""
        for name in (self.target, *self.categories, *self.drop):
            if name not in table.header or not name:
                known = ", ".join(quoted(each) for each in table.header if each)
                raise DataError(f"{table.path}: expected a column {quoted(name)}, got {known}")


def goal_of(table: Table, survey: Survey, count: int, cells: Cells, asked: Asked) -> Column:
    """Returns the target as a column of numbers or of classes, as it is asked for or as it looks."""
    place = f"{table.path}: target {quoted(survey.name)}"
    if count < _FEWEST:
        raise DataError(f"{place}: expected at least {_FEWEST} rows with a target, got {count}")
    if asked.task == "classification" or survey.name in asked.categories:
        number = False
    else:
        number = is_number(survey, table, cells)
        if asked.task == "regression" and not number and survey.first_text:
            line, text = survey.first_text
            raise DataError(
                f"{table.path}: line {line}, column {quoted(survey.name)}: expected a number for a regression, got "
                f"{quoted(text)}"
            )
        zero_or_one = {cells.number(text) for text in survey.texts} <= {0.0, 1.0}
        number = number and (asked.task == "regression" or not zero_or_one)
    if survey.low == survey.high if number else len(survey.texts) == 1:
        raise DataError(
            f"{place}: expected different values, got {quoted(min(survey.texts))} alone"
        )
    if number:
        return Number(survey.name)
    if survey.has_more:
        raise DataError(f"{place}: expected at most {MOST_CATEGORIES:,} classes, got more")
    return Category(survey.name, _in_order(survey, cells))


def _in_order(survey: Survey, cells: Cells) -> list[str]:
    """Returns the texts of a column in order, numbers by their value."""
    numbers = {text: cells.number(text) for text in survey.texts}
    return sorted(survey.texts, key=lambda text: (numbers[text] is None, numbers[text] or 0, text))


def inputs_of(
    table: Table, surveys: Sequence[Survey], cells: Cells, asked: Asked
) -> tuple[list[Column], list[str]]:
    """Returns the columns that are inputs, and of the others the names and why they are none."""
    columns: list[Column] = []
    ignored = []
    for index, survey in enumerate(surveys, 1):
        if survey.name == asked.target:
            continue
        if survey.name in asked.drop:
            ignored.append(f"{quoted(survey.name)} (--drop)")
            continue
        number = survey.name not in asked.categories and is_number(survey, table, cells)
        reason = useless(survey, number, asked.categories)
        if survey.name in asked.categories and survey.has_more:
            raise DataError(
                f"{table.path}: column {quoted(survey.name)}: expected at most {MOST_CATEGORIES:,} categories, got more"
            )
        if reason is not None:
            ignored.append(
                f"{quoted(survey.name) if survey.name else f'column {index}'} ({reason})"
            )
        elif number:
            columns.append(Number(survey.name))
        else:
            columns.append(Category(survey.name, _in_order(survey, cells)))
    if not columns:
        raise DataError(
            f"{table.path}: expected columns to learn from, got {', '.join(ignored) or 'none'}"
        )
    return columns, ignored
