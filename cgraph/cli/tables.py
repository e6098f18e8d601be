"""`cgraph train table.csv` and `cgraph predict model.npz table.csv`: classes or numbers by a multi-layer perceptron."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cgraph._streams import say
from cgraph.cli.terminal import percent
from cgraph.cli.training import Settings, write
from cgraph.cli.training import train as train_graph
from cgraph.data.idx import DataError
from cgraph.graph import Graph
from cgraph.io.model import table as as_lines
from cgraph.models import mlp
from cgraph.node import Node
from cgraph.nodes.functions import Scale
from cgraph.nodes.leaf import Leaf1
from cgraph.nodes.reduction import MSE
from cgraph.nodes.softmax import Softmax, SoftmaxCEE
from cgraph.parameter import parameters
from cgraph.tables.columns import Cells, Survey, surveyed
from cgraph.tables.preparation import Category, Column, Number, Preparation, plain
from cgraph.tables.reading import SEPARATORS, Table, quoted
from cgraph.tables.roles import Asked, goal_of, inputs_of
from cgraph.targets import one_hot

TASK = "table"
_HELD_OUT = 0.2  # of the rows are for the figures at the end, and as much of the others to choose the best epoch by
_SHOWN = 30  # columns that are listed at most
_FEW_NUMBERS = 20  # whole numbers that may be meant as classes
_MANY_CLASSES = 20
_LABELS = {"loss": "loss", "val_loss": "validation loss"}
_METRICS = {"accuracy": "validation accuracy", "r2": "validation R²"}


def train(
    settings: Settings,
    table: Table,
    cells: Cells,
    asked: Asked,
    hidden: Sequence[int],
    patience: int,
) -> bool:
    """Trains a network on a table and writes `model.npz` and `loss.png`; returns False if Ctrl-C ended it early."""
    asked.require(table)
    surveys, count = surveyed(table, asked.target, cells)
    goal = goal_of(table, surveys[table.header.index(asked.target)], count, cells, asked)
    columns, ignored = inputs_of(table, surveys, cells, asked)
    settings.make_writable()
    codes, labels = _read(table, Preparation(columns, cells), goal, count)
    parts = _split(count, settings.seed)
    preparation = Preparation(columns, cells).fitted(codes, parts[0])
    if isinstance(goal, Number):
        goal = goal.fitted(labels, parts[0])
    _announce(table, surveys, goal, preparation, ignored, parts)

    inputs = [preparation.inputs(codes[part], settings.dtype) for part in parts]
    del codes
    nodes = _network(preparation.width, goal, hidden, settings)
    targets = _targets(goal, labels, settings.dtype)
    leaves = nodes["x"], nodes["target"]
    feeds = [
        dict(zip(leaves, (x, targets[part]), strict=True))
        for x, part in zip(inputs, parts, strict=True)
    ]
    metric = "accuracy" if isinstance(goal, Category) else "r2"
    shown = _LABELS | {f"val_{metric}": _METRICS[metric]}
    history, finished = train_graph(
        settings,
        Graph(nodes["loss"]),
        *feeds[:2],
        metric=metric,
        labels=shown,
        rng=np.random.default_rng(settings.seed),
        patience=patience,
    )
    if history.best_epoch:
        say(f"the model is that of epoch {history.best_epoch}, whose validation loss is the lowest")
    nodes["prediction"] = _prediction(goal, nodes["output"])
    metadata = {
        "task": TASK,
        "data": table.path.name,
        "seed": settings.seed,
        "preparation": preparation.as_json(),
        "target": Preparation([goal], cells).as_json(),
    }
    write(settings, nodes, metadata, history, shown, table.path.name)
    found = Graph(nodes["prediction"]).predict({nodes["x"]: inputs[2]})
    say(f"held out: {quality(goal, chosen(goal, found), labels[parts[2]], labels[parts[0]])}")
    return finished


def _read(
    table: Table, preparation: Preparation, goal: Column, count: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Reads a table a second time, now as numbers: one for each column of the rows with a target, and the targets."""
    places, place = preparation.places(table.header), table.header.index(goal.name)
    codes, labels = np.empty((count, len(places))), np.empty(count)
    filled = 0
    for _, row in table.rows():
        if table.wrong_length(row) is None and not preparation.cells.is_missing(row[place]):
            if filled == count:
                filled += 1
                break
            codes[filled] = preparation.codes(row, places)
            labels[filled] = goal.code(row[place], preparation.cells)
            filled += 1
    if filled != count:
        raise DataError(f"{table.path}: expected the same rows in a second reading, got others")
    return codes, labels


def _split(count: int, seed: int) -> list[NDArray[np.intp]]:
    """Returns the rows to train on, those to choose the best epoch by, and those that are held out."""
    # The raw bits of a bit generator are the same in all versions of NumPy.
    order = np.argsort(np.random.PCG64(seed).random_raw(count), kind="stable")
    held_out = round(_HELD_OUT * count)
    validation = held_out + round(_HELD_OUT * (count - held_out))
    return [np.sort(order[validation:]), order[held_out:validation], order[:held_out]]


def _announce(
    table: Table,
    surveys: Sequence[Survey],
    goal: Column,
    preparation: Preparation,
    ignored: Sequence[str],
    parts: Sequence[NDArray[np.intp]],
) -> None:
    """Prints how the table is read, what is learnt from what, and what is missing."""
    by_name = {survey.name: survey for survey in surveys}
    target = by_name[goal.name]
    separator = SEPARATORS.get(table.separator, quoted(table.separator))
    say(
        f"{table.path}: {sum(map(len, parts)):,} rows, separated by {separator}, in {table.encoding}"
    )
    if isinstance(goal, Category):
        say(f"classification of {quoted(goal.name)}: {goal.told()}")
        if goal.width > max(_MANY_CLASSES, sum(map(len, parts)) / 10):
            say(
                "  these are many classes: a regression needs plain numbers, without signs, units or "
                "thousands separators"
            )
    else:
        say(f"regression of {quoted(goal.name)}: {goal.told()}")
        if len(target.texts) <= _FEW_NUMBERS:
            say(
                f"  it has {len(target.texts)} different values: for classes, say --task classification"
            )
    if target.missing:
        rows = "1 row" if target.missing == 1 else f"{target.missing:,} rows"
        say(f"  {rows} without it left out")
    for line in expected(preparation):
        say(line)
    gaps = [
        f"{quoted(c.name)} {n:,}" for c in preparation.columns if (n := by_name[c.name].missing)
    ]
    if gaps:
        say(f"missing cells: {', '.join(gaps)}")
    if ignored:
        say(f"ignored: {', '.join(ignored)}")
    train, validation, held_out = map(len, parts)
    say(
        f"{train:,} rows to train on, {validation:,} to choose the best epoch by, {held_out:,} held out"
    )


def expected(preparation: Preparation) -> list[str]:
    """Returns the lines that tell what a network expects of a table."""
    rows = [(quoted(c.name), c.kind, c.told()) for c in preparation.columns]
    lines = as_lines(("column", "kind", "in the training"), [*rows[:_SHOWN]])
    return [*lines, f"  and {len(rows) - _SHOWN:,} more"] if len(rows) > _SHOWN else lines


def _network(
    width: int, goal: Column, hidden: Sequence[int], settings: Settings
) -> dict[str, Node]:
    """Builds the network and its loss."""
    size = goal.width if isinstance(goal, Category) else 1
    network = mlp(
        width, hidden, size, activation="relu", initializer="he_normal", rng=settings.seed, dtype=settings.dtype
    )  # fmt: skip
    say(f"{width:,} inputs, hidden units {', '.join(map(str, hidden)) or 'none'}, {size} output{'s' * (size > 1)}, "
        f"{sum(p.value.size for p in parameters(network.output)):,} parameters, {settings.dtype}")  # fmt: skip
    target = Leaf1(size, dtype=settings.dtype)
    loss = (SoftmaxCEE if isinstance(goal, Category) else MSE)(network.output, target)
    return {"x": network.x, "target": target, "output": network.output, "loss": loss}


def _prediction(goal: Column, output: Node) -> Node:
    """Returns the node of what is predicted: the probabilities of classes, or a number in its own unit."""
    return Softmax(output) if isinstance(goal, Category) else Scale(output, goal.scale, goal.mean)


def _targets(goal: Column, labels: NDArray[np.float64], dtype: str) -> NDArray[Any]:
    """Returns what the loss compares with: classes as one-hot rows, or scaled numbers."""
    if isinstance(goal, Category):
        return one_hot(labels.astype(np.intp), goal.width, dtype=dtype)
    return ((labels - goal.mean) / goal.scale).astype(dtype)[:, None]


def chosen(goal: Column, predicted: NDArray[Any]) -> NDArray[Any]:
    """Returns the index of the most probable class of each sample, or the number."""
    if isinstance(goal, Category):
        classes: NDArray[np.intp] = predicted.argmax(axis=1)
        return classes
    return predicted[:, 0]


def quality(
    goal: Column, found: NDArray[Any], truth: NDArray[np.float64], known: NDArray[np.float64]
) -> str:
    """Returns how good predictions are, and for comparison those that do without the inputs."""
    if isinstance(goal, Category):
        common = Counter(known.tolist()).most_common(1)[0][0]
        always = (
            f"always {quoted(goal.values[int(common)])}: {percent(float((truth == common).mean()))}"
        )
        return f"accuracy {percent(float((found == truth).mean()))} ({always})"
    errors, mean = found - truth, known.mean()
    about_mean = float(((truth - truth.mean()) ** 2).sum())
    r2 = f", R² {1 - float((errors**2).sum()) / about_mean:.3f}" if about_mean else ""
    always = f"{plain(abs(truth - mean).mean())} if the answer is always {plain(mean)}"
    return f"wrong by {plain(abs(errors).mean())} on average ({always}){r2}"
