"""Tables: rows of CSV files, kinds of columns, and the way from cells to inputs of a network."""

import json
import math
import re

import numpy as np
import pytest

from cgraph.data import DataError
from cgraph.tables import columns, reading
from cgraph.tables.columns import Cells, surveyed
from cgraph.tables.preparation import Category, Number, Preparation
from cgraph.tables.reading import Table
from cgraph.tables.roles import Asked, goal_of, inputs_of


@pytest.fixture
def table(tmp_path):
    """Returns a function that writes a file and opens it as a table."""

    def written(content, *options):
        path = tmp_path / "table.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return Table(path, *options)

    return written


@pytest.mark.parametrize(
    ("content", "options", "expected"),
    [
        ("a,b\n1,2\n", (), [(2, ["1", "2"])]),
        ("a;b\r\n1,5;2\r\n3;4", (), [(2, ["1,5", "2"]), (3, ["3", "4"])]),
        ("a\tb\r1\t2 \r", (), [(2, ["1", "2"])]),
        ("a|b\n1|2\n", (), [(2, ["1", "2"])]),
        ("a b\n1 2\n", (" ",), [(2, ["1", "2"])]),
        ('a,b\n\n"1\n2", "x ""y"", z"\n3,4\n', (), [(3, ["1\n2", 'x "y", z']), (5, ["3", "4"])]),
        ("a,b\n1,é\n".encode("utf-8-sig"), (), [(2, ["1", "é"])]),
        ("a,b\n1,é\n".encode("utf-8-sig"), (None, "utf-8"), [(2, ["1", "é"])]),
        ("a,b\n1,é\n".encode("utf-16"), (), [(2, ["1", "é"])]),
        ("a,b\n1,é\n".encode("latin-1"), (None, "latin-1"), [(2, ["1", "é"])]),
        ("a,b\n1\n1,2,3\n", (), [(2, ["1"]), (3, ["1", "2", "3"])]),
    ],
)
def test_rows_come_with_the_lines_on_which_they_begin(table, content, options, expected):
    opened = table(content, *options)
    assert opened.header == ["a", "b"]
    assert [*opened.rows()] == expected == [*opened.rows()]


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("", (), ": expected a header and rows, got an empty file"),
        (" \n", (), ": expected a header and rows, got an empty file"),
        ("PK\x03\x04", (), ": expected a text file, got a compressed or an Excel file: save it as CSV"),
        ("a,b\n1,\0", (), ": expected text, got zero bytes: say --encoding utf-16-le if "),
        ("a,b\n1,2\n1,é".encode("latin-1"), (), ": line 3: expected text in utf-8: say --encoding"),
        ("a,b\n1,2", (None, "utf-16"), ": expected text in utf-16: say --encoding"),
        ("a,b\n1,2", (None, "hex"), ": 'hex' is not a text encoding; "),
        ("a,b\n1,2", (None, "klingon"), ": unknown encoding: klingon; --encoding takes names of"),
        ("a\n1\n", (), ": expected columns separated by comma, semicolon, tab, bar, got one column"),
        ("1,2\n3,4\n", (), ": line 1: expected a header of names, got numbers"),
        (",\n3,4\n", (), ": line 1: expected a header, got no name in it"),
        ("a,b,a\n", (), ": line 1: expected different names, got 'a' in columns 1 and 3"),
        ('a,b\n1,2\n3,"4\n5,6\n', (), ": line 3: unexpected end of data; is a quote missing?"),
        ('a,b\n1,"2"3\n', (), ": line 2: ',' expected after '\"'; is a quote missing?"),
    ],
)  # fmt: skip
def test_files_that_are_no_tables_are_refused(table, tmp_path, content, options, message):
    with pytest.raises(DataError, match=re.escape(f"{tmp_path / 'table.csv'}{message}")):
        [*table(content, *options).rows()]


def test_a_file_is_read_row_by_row(table, monkeypatch):
    """The rows in memory at a time do not depend on their number."""
    monkeypatch.setattr(reading, "_SAMPLE", 100)
    opened = table("a,b\n" + "1,2\n" * 10_000 + "3")
    rows = opened.rows()
    assert next(rows) == (2, ["1", "2"])
    for line, cells in rows:
        last = line, cells
    assert last == (10_002, ["3"])


CELLS = Cells()


def kinds(table, content, target="t", **asked):
    """Returns the target, the inputs and the reasons of the others."""
    opened = table(content)
    surveys, count = surveyed(opened, target, CELLS)
    request = Asked(target, **({"task": "auto", "categories": [], "drop": []} | asked))
    request.require(opened)
    goal = goal_of(opened, surveys[opened.header.index(target)], count, CELLS, request)
    return goal, *inputs_of(opened, surveys, CELLS, request)


def rows(*columns_of_cells):
    """Returns a table of columns, each a name and a function from the number of a row, 30 rows."""
    lines = [",".join(name for name, _ in columns_of_cells)]
    lines += [",".join(str(cell(k)) for _, cell in columns_of_cells) for k in range(30)]
    return "\n".join(lines)


TARGET = ("t", lambda k: k % 7 + 0.5)
INPUT = ("x", lambda k: k % 5)


@pytest.mark.parametrize(
    ("cell", "asked", "expected"),
    [
        (lambda k: k % 5, {}, Number("c")),
        (lambda k: "" if k % 3 else f"{k}e2", {}, Number("c")),
        (lambda k: f"z{k % 3}", {}, Category("c", ["z0", "z1", "z2"])),
        (lambda k: ["NA", "b", "a"][k % 3], {}, Category("c", ["a", "b"])),
        (lambda k: [10, 9][k % 2], {"categories": ["c"]}, Category("c", ["9", "10"])),
        (lambda k: ["", 9][k % 2], {}, Number("c")),  # whether it is missing may tell something
        (lambda k: "7", {}, "'c' (constant)"),
        (lambda k: "on", {}, "'c' (constant)"),
        (lambda k: "?", {}, "'c' (empty)"),
        (lambda k: k % 5, {"drop": ["c"]}, "'c' (--drop)"),
        (lambda k: f"id{k}", {}, "'c' (30 different texts in 30 cells)"),
        (lambda k: f"id{k:02}", {"categories": ["c"]}, Category("c", [f"id{k:02}" for k in range(30)])),
    ],
)  # fmt: skip
def test_columns_are_numbers_categories_or_nothing(table, cell, asked, expected):
    _, inputs, ignored = kinds(table, rows(TARGET, INPUT, ("c", cell)), **asked)
    assert inputs[0] == Number("x")
    assert ([*inputs[1:], *ignored]) == [expected]


@pytest.mark.parametrize(
    ("cell", "asked", "expected"),
    [
        (lambda k: k, {}, Number("t")),
        (lambda k: k % 3, {}, Number("t")),
        (lambda k: k % 3, {"task": "classification"}, Category("t", ["0", "1", "2"])),
        (lambda k: k % 3, {"categories": ["t"]}, Category("t", ["0", "1", "2"])),
        (lambda k: k % 2, {}, Category("t", ["0", "1"])),
        (lambda k: k % 2, {"task": "regression"}, Number("t")),
        (lambda k: ["yes", "no"][k % 2], {}, Category("t", ["no", "yes"])),
        (lambda k: ["yes", "no", ""][k % 3], {}, Category("t", ["no", "yes"])),
    ],
)
def test_a_target_is_a_number_or_a_class(table, cell, asked, expected):
    assert kinds(table, rows(("t", cell), INPUT), **asked)[0] == expected


@pytest.mark.parametrize(
    ("cell", "asked", "message"),
    [
        (lambda k: k if k != 4 else "12x", {}, "line 6, column 'c': expected a number, as in 96.7 % of the column"),
        (lambda k: k if k != 4 else "-inf", {}, "line 6, column 'c': expected a number of at most 1e+100, got '-inf'"),
        (lambda k: f'"{k},5"', {}, "line 2, column 'c': expected a number with a point, got '0,5': say --decimal ,"),
        (lambda k: k, {"drop": ["d"]}, "expected a column 'd', got 't', 'c'"),
        (lambda k: k, {"target": "c", "drop": ["t"]}, "expected columns to learn from, got 't' (--drop)"),
        (lambda k: "", {"target": "c"}, "target 'c': expected at least 10 rows with a target, got 0"),
        (lambda k: "7", {"target": "c"}, "target 'c': expected different values, got '7' alone"),
        (lambda k: "on", {"target": "c"}, "target 'c': expected different values, got 'on' alone"),
        (lambda k: "on"[: k % 2 + 1], {"target": "c", "task": "regression"}, "line 2, column 'c': expected a number"),
        (lambda k: f"id{k}", {"target": "c"}, "target 'c': expected at most 20 classes, got more"),
        (lambda k: f"id{k}", {"categories": ["c"]}, "column 'c': expected at most 20 categories, got more"),
    ],
)  # fmt: skip
def test_cells_and_columns_that_cannot_be_are_named(table, monkeypatch, cell, asked, message):
    monkeypatch.setattr(columns, "MOST_CATEGORIES", 20)
    monkeypatch.setattr("cgraph.tables.roles.MOST_CATEGORIES", 20)
    with pytest.raises(DataError, match=re.escape(message)):
        kinds(table, rows(TARGET, ("c", cell)), **asked)


def test_a_row_that_is_too_short_is_named(table):
    with pytest.raises(DataError, match="line 3: expected 2 cells, as in the header, got 1"):
        kinds(table, "x,t\n1,2\n3\n")


@pytest.mark.parametrize(
    ("text", "decimal", "number"),
    [("1.5", ".", 1.5), ("1,5", ".", None), ("1,5", ",", 1.5), ("1.5", ",", None), ("1_0", ".", None)],
)  # fmt: skip
def test_numbers_have_one_decimal_mark(text, decimal, number):
    assert Cells(decimal).number(text) == number


def test_inputs_are_scaled_by_the_training_part_and_categories_are_one_hot():
    cells = Cells()
    before = Preparation([Number("x"), Category("c", ["a", "b", "z"]), Number("gap")], cells)
    texts = [["3", "b", "1"], ["5", "a", ""], ["", "", "1"], ["9", "z", "1"]]
    places = before.places(["x", "c", "gap"])
    codes = np.array([before.codes(row, places) for row in texts])
    after = before.fitted(codes, np.array([0, 1]))
    assert after.columns == [
        Number("x", 4.0, 1.0), Category("c", ["a", "b"]), Number("gap", 1.0, 1.0, indicator=True),
    ]  # fmt: skip
    expected = [[-1, 0, 1, 0, 0], [1, 1, 0, 0, 1], [0, 0, 0, 0, 0], [5, 0, 0, 0, 0]]
    np.testing.assert_array_equal(after.inputs(codes), np.array(expected, np.float32))
    # A file holds it, and reads the columns of another table by their names; unknown categories are all 0.
    again = Preparation.from_json(json.loads(json.dumps(after.as_json())))
    assert again == after
    places = again.places(["c", "other", "gap", "x"])
    codes = np.array([again.codes(["q", "?", "NA", "4"], places)])
    assert codes[0][:2].tolist() == [4.0, -1.0]
    assert math.isnan(codes[0][2])
    np.testing.assert_array_equal(again.inputs(codes), [[0, 0, 0, 0, 1]])


@pytest.mark.parametrize(
    "record",
    [
        None, [], {}, {"columns": [], "cells": {}}, {"columns": 3, "cells": {}},
        {"columns": [{"kind": "number"}], "cells": {}},
        {"columns": [{"kind": "number", "name": 3}], "cells": {}},
        {"columns": [{"kind": "number", "name": "x", "scale": 0}], "cells": {}},
        {"columns": [{"kind": "number", "name": "x", "mean": "1"}], "cells": {}},
        {"columns": [{"kind": "number", "name": "x", "mean": 10**400}], "cells": {}},
        {"columns": [{"kind": "number", "name": "x", "wings": 2}], "cells": {}},
        {"columns": [{"kind": "category", "name": "x", "values": None}], "cells": {}},
        {"columns": [{"kind": "category", "name": "x", "values": [[1]]}], "cells": {}},
        {"columns": [{"kind": "number", "name": "x"}], "cells": {"missing": [3]}},
        {"columns": [{"kind": "number", "name": "x"}], "cells": {"wings": 2}},
    ],
)  # fmt: skip
def test_values_that_describe_no_preparation_are_refused(record):
    with pytest.raises(ValueError, match=r"expected|no preparation of a table"):
        Preparation.from_json(record)
