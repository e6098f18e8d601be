"""The mutations in tests/mutations fit the sources: each row can be applied, and none is listed twice."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
if not (ROOT / "tools/mutate.py").exists():
    pytest.skip("the tests run without the sources", allow_module_level=True)
sys.path.append(str(ROOT / "tools"))
from mutate import ROWS, all_rows, rows_of, stale  # noqa: E402

FILES = sorted(ROWS.rglob("*.toml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROWS).as_posix())
def test_every_mutation_changes_its_source(path):
    rows = rows_of(path)
    assert rows
    assert not [row for row in rows if row.old == row.new]
    unfit = stale(rows)
    assert not unfit, "mend or remove these rows:\n" + "\n".join(unfit)


def test_no_mutation_is_listed_twice():
    rows = [row[:4] for row in all_rows()]
    assert rows
    assert len(rows) == len(set(rows))
