"""How the time of a sample grows with the width and the depth of a network, and falls with the size of the batch."""

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from benchmarks.contenders import training
from benchmarks.contenders.training import GRAPH_STEP, PYTORCH
from benchmarks.measure.peers import Makers
from benchmarks.measure.record import Record
from benchmarks.measure.tables import Section, number, table
from benchmarks.networks.lenet import LENET
from benchmarks.networks.mlp import Layers
from benchmarks.pages.plots import STYLES, Row, curves, panels, round_ticks

WIDTHS = (8, 16, 32, 64, 128, 256, 512, 1024)
DEPTHS = (1, 2, 4, 8, 16, 32, 64)
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
NETWORKS: dict[str, Callable[[int], Makers]] = {
    "LeNet-5": partial(training.image_contenders, LENET, "float32"),
    "MLP 784-64-64-10": training.mlp_contenders,
}


def medians(title: str, makers: Makers, record: Record, fewer: int = 1) -> Row:
    """The medians of the contenders; of PyTorch's memory formats, that of the faster one."""
    row = {name: own.median for name, own in record.times(title, makers, fewer).items()}
    formats = [row[name] for name in PYTORCH if name in row]
    return {**row, PYTORCH[0]: min(formats)} if formats else row


def mlp_row(width: int, depth: int, record: Record) -> Row:
    """The training of an MLP on one sample."""
    net = Layers((width, *[width] * depth, 10)).network
    ours = {GRAPH_STEP: partial(training.graph_step, net, "float32")}
    makers = {**ours, **training.peer_contenders(net, "float32", 1)}
    return medians(f"MLP, {depth} hidden layers, {width} wide", makers, record)


def rows_by_size(record: Record) -> dict[str, dict[int, Row]]:
    return {
        "width, with 2 hidden layers": {width: mlp_row(width, 2, record) for width in WIDTHS},
        "hidden layers, 32 wide": {depth: mlp_row(32, depth, record) for depth in DEPTHS},
    }


def rows_by_batch(record: Record) -> dict[str, dict[int, Row]]:
    return {
        f"{network}: samples in a batch": {
            batch: medians(f"{network}, B = {batch}", contenders(batch), record, fewer=4)
            for batch in BATCHES
        }
        for network, contenders in NETWORKS.items()
    }


def sizes(record: Record) -> list[Section]:
    return sections("Training on one sample", rows_by_size(record), record)


def batches(record: Record) -> list[Section]:
    return sections("Training on batches", rows_by_batch(record), record)


def sections(work: str, rows: dict[str, dict[int, Row]], record: Record) -> list[Section]:
    """A table for each panel of a picture."""
    text = (
        "Microseconds of a sample, float32, medians; PyTorch in the faster of its memory formats."
    )
    return [
        record.section(f"{work}: {label}", text, sizes_table(by_size))
        for label, by_size in rows.items()
    ]


def sizes_table(by_size: dict[int, Row]) -> str:
    shown = [name for name in STYLES if any(name in row for row in by_size.values())]
    cells: Iterable[list[str]] = (
        [f"{size:,}", *(number(row[name]) if name in row else "" for name in shown)]
        for size, row in by_size.items()
    )
    return table(["", *shown], cells)


def draw_sizes(path: Path, record: Record) -> None:
    heading = "A training step on one sample, float32, one thread"
    with panels(path, heading, sharey=True) as axes:
        for own, (label, by_size) in zip(axes, rows_by_size(record).items(), strict=True):
            curves(own, list(by_size), list(by_size.values()), label)
        axes[0].legend(frameon=False)


def draw_batches(path: Path, record: Record) -> None:
    with panels(path, "Training on batches, float32, one thread") as axes:
        for own, (label, by_size) in zip(axes, rows_by_batch(record).items(), strict=True):
            curves(own, list(by_size), list(by_size.values()), label)
            round_ticks(own.yaxis)
            own.legend(frameon=False)
