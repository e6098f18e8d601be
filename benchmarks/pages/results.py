"""Raw results: a folder for each kind of machine, in it a file of JSON for each group of tables."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.measure.machine import kind_in_words
from benchmarks.measure.record import Record

FOLDER = Path(__file__).parents[1] / "results"
WIDEST_FIRST = ("avx512", "avx2", "baseline")


class Result(NamedTuple):
    """A group's record, and the circumstances under which it was made: see circumstances() in measure/machine.py."""

    circumstances: Mapping[str, Any]
    record: Record


class Kind(NamedTuple):
    """A kind of machine: the name of its folder, its words for people, and its results by group."""

    name: str
    words: str
    results: dict[str, Result]


def save(folder: Path, group: str, result: Result) -> None:
    """Writes a line for each title, so that differences between two runs can be read."""
    saved = result.record.saved()
    head = {
        "circumstances": result.circumstances,
        **{k: v for k, v in saved.items() if k != "times"},
    }
    lines = [f"{json.dumps(key)}: {dumped(value)}" for key, value in head.items()]
    times = [f"{json.dumps(title)}: {dumped(own)}" for title, own in saved["times"].items()]
    lines.append('"times": {\n' + ",\n".join(times) + "\n}")
    folder.mkdir(parents=True, exist_ok=True)
    text = "{\n" + ",\n".join(lines) + "\n}\n"
    (folder / f"{group}.json").write_text(text, encoding="utf-8")


def dumped(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def load_result(path: Path) -> Result:
    found = json.loads(path.read_text(encoding="utf-8"))
    return Result(found["circumstances"], Record.replay(found))


def kinds(folder: Path, groups: Mapping[str, Any]) -> list[Kind]:
    """All kinds of machine of which there are results of these groups, those with the widest vectors first."""
    found = []
    for own in sorted(path for path in folder.iterdir() if path.is_dir()):
        paths = {name: own / f"{name}.json" for name in groups}
        results = {name: load_result(path) for name, path in paths.items() if path.exists()}
        if results:
            first, *_ = results.values()
            found.append(Kind(own.name, kind_in_words(first.circumstances), results))
    return sorted(found, key=lambda kind: WIDEST_FIRST.index(kind_instructions(kind)))


def kind_instructions(kind: Kind) -> str:
    first, *_ = kind.results.values()
    return first.record.instructions
