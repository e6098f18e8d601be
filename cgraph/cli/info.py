"""The command `cgraph info`: what a file holds, without building or running anything."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from cgraph._streams import say
from cgraph.cli.predictions import columns_of
from cgraph.cli.tables import TASK, expected
from cgraph.io.inspection import FileInfo, inspect
from cgraph.io.model import table
from cgraph.tables.reading import quoted

_LONGEST = 60  # characters of a value that are printed


def info(path: Path) -> None:
    """Prints the format, the metadata, the nodes, the parameters and the optimiser of a file."""
    told = inspect(path)
    for line in lines(str(path), told):
        say(line)
    if told.metadata.get("task") == TASK:
        preparation, goal = columns_of(path, told.metadata)
        say(f"predicts {quoted(goal.name)}: {goal.told()}")
        say("expects a table with these columns, in any order:")
        for line in expected(preparation):
            say(line)
        words = ", ".join(filter(None, preparation.cells.missing))
        say(
            f"decimal mark {preparation.cells.decimal!r}; missing are empty cells, {printable(words)}"
        )


def lines(name: str, told: FileInfo) -> list[str]:
    """Returns the lines that tell what a file holds."""
    count = sum([each.size for each in told.parameters])
    found = [f"{name}: {told.form}, version {told.version}, {told.size:,} bytes"]
    if told.metadata:
        # What a model of a table expects is told in words, at the end.
        in_words = ("preparation", "target") if told.metadata.get("task") == TASK else ()
        shown = {key: value for key, value in told.metadata.items() if key not in in_words}
        found.append("metadata:")
        found += [f"  {printable(key)}: {_value(value)}" for key, value in shown.items()]
    if told.nodes:
        kinds = Counter(printable(node.name) for node in told.nodes)
        found.append(
            f"{len(told.nodes):,} nodes: {', '.join(f'{n} {kind}' for kind, n in kinds.items())}"
        )
        rows = [
            (printable(key), printable(node.name), str(node.shape), node.dtype.name)
            for key, node in ((key, told.nodes[number]) for key, number in told.names.items())
        ]
        found += table(("name", "class", "shape", "dtype"), [*rows])
    found.append(f"{count:,} parameters in {len(told.parameters)} arrays")
    arrays = [(printable(each.name), str(each.shape), each.dtype) for each in told.parameters]
    if arrays:
        found += table(("array", "shape", "dtype"), [*arrays])
    if told.optimizer is not None:
        record = told.optimizer
        found.append(f"optimizer: {_value(record.get('class', record.get('own class')))}")
        config = record.get("config")
        if isinstance(config, dict):
            found += [f"  {printable(key)}: {_value(value)}" for key, value in config.items()]
    return found


def _value(value: Any) -> str:
    """Returns a value of JSON in one line, shortened; the writer of JSON may need more stack than its reader."""
    try:
        text = printable(value if isinstance(value, str) else json.dumps(value))
    except RecursionError:
        return "many levels"
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def printable(text: str) -> str:
    """Returns a text of a file whose other characters, with which it could control a terminal, are escaped."""
    return "".join([c if c.isprintable() else ascii(c)[1:-1] for c in text])
