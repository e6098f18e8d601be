"""docs/mutations.md fits the sources: every row can be applied, and what has been run was caught."""

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
if not (ROOT / "tools/mutate.py").exists():
    pytest.skip("the tests run without the sources", allow_module_level=True)
sys.path.append(str(ROOT / "tools"))
from mutate import PAGE, Mutation, mutations  # noqa: E402

ROWS = [row for row in mutations(PAGE.read_text(encoding="utf-8")) if isinstance(row, Mutation)]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.file}-{row.function}")
def test_a_mutation_fits_the_source_once_and_did_not_survive(row):
    text = (ROOT / row.file).read_text(encoding="utf-8")
    assert row.mutated(text) != text
    caught = re.match(r"$|`(test_\w+\.py)`: |it does not end|the process ends", row.caught)
    assert caught, "a test is missing"


def test_no_mutation_is_listed_twice():
    keys = [row[:4] for row in ROWS]
    assert len(keys) == len(set(keys))
