"""The share of long tables that runs by default; the remaining rows run under `pytest -m full`."""

import itertools
import math

import pytest
from op_table import DTYPES, cases

from cgraph import _kernels

IN_USE = _kernels._selected
FULL = pytest.mark.full


class Tables:
    """What is made of the tables of operations; conftest.py decides before the tests are collected.

    Of five tests that these tables are good for, the default runs two: to make and deselect the others takes seconds.
    """

    whole = False


def full(row):
    """Marks a row of a table, so that `pytest -m full` alone runs it."""
    if hasattr(row, "marks"):
        return pytest.param(*row.values, id=row.id, marks=[*row.marks, FULL])
    values = row if isinstance(row, tuple) else (row,)
    return pytest.param(*values, marks=FULL)


def made(rows):
    """Returns the rows that run, with or without those of `pytest -m full`."""
    return [row for row in rows if Tables.whole or FULL not in row.marks]


def one_in(count, rows):
    """Returns the rows of a table, of which one in `count` runs by default."""
    return [row if k % count == 0 else full(row) for k, row in enumerate(rows)]


def some_of(count, names, *tables):
    """Runs a test for all combinations of the values in tables, by default for one in `count` of them.

    Those are taken in turn, so that every value of a table with fewer values meets every value of a longer one, or the
    next to it, and each occurs.
    """
    numbered = itertools.product(*(enumerate(table) for table in tables))
    rows = [
        (sum(k for k, _ in row), pytest.param(*(value for _, value in row))) for row in numbered
    ]
    chosen = [row if turn % count == 0 else full(row) for turn, row in rows]
    return pytest.mark.parametrize(names, made(chosen))


def over(selection):
    """Runs a law for these (id, row, case), by default for those of usual shapes."""
    named = [(pytest.param(row, case, id=name), case) for name, row, case in selection]
    rows = [each if case.usual else full(each) for each, case in named]
    return pytest.mark.parametrize(("row", "case"), made(rows))


def over_kinds(selection, float32_in=1):
    """Runs a law for cases of the op table, in every dtype and build of the kernels.

    Builds differ in the header for vectors alone. By default those other than the one in use run a sixth of the cases
    in float64, and another sixth in float32. In float32, the build in use runs one case in `float32_in`: where a law is
    about what does not depend on the size of a number, and others run all cases.
    """
    rows = []
    for build in _kernels.available():
        for k, (name, row, case) in enumerate(selection):
            for turn, dtype in enumerate(DTYPES):
                each = pytest.param(row, case, dtype, build, id=f"{name}-{dtype}-{build}")
                is_own = build == IN_USE and (dtype == "float64" or k % float32_in == 0)
                usual = case.usual and (is_own or k % 6 == 3 * turn)
                rows.append(each if usual else full(each))
    return pytest.mark.parametrize(
        ("row", "case", "dtype", "build_name"), made(rows), indirect=["build_name"]
    )


def over_slopes(large):
    """Runs a law of float64 for all cases, with gradcheck's mode.

    By default gradcheck moves inputs and parameters of at least `large` elements along random directions alone.
    """
    rows = []
    for name, row, case in cases():
        elements = sum(h * w for h, w in case.shapes)
        elements += sum(math.prod(shape) for shape in case.params)
        whole = pytest.param(row, case, "full", id=name)
        if elements < large:
            rows.append(whole if case.usual else full(whole))
        else:
            directions = pytest.param(row, case, "projection", id=f"{name}-projection")
            rows += [directions if case.usual else full(directions), full(whole)]
    return pytest.mark.parametrize(("row", "case", "mode"), made(rows))
