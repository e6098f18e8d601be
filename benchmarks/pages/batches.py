"""The time of a sample in training against the size of the batch, from 1 to 64, for networks of all sizes here.

All sizes of a network take turns, and times are means of the fastest third of the chunks, so that other work on the
machine bends no curve.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from benchmarks.contenders import tanh, training
from benchmarks.contenders.training import BATCHES, GRAPH_STEP, GRAPH_TRAIN, PYTORCH, SAMPLES, SCAN
from benchmarks.measure.peers import Makers
from benchmarks.measure.record import Record
from benchmarks.measure.tables import Section, number, table
from benchmarks.measure.timing import QUICK
from benchmarks.networks.functions import TANH
from benchmarks.networks.lenet import LENET
from benchmarks.networks.mlp import MLP_LAYERS, Layers
from benchmarks.networks.network import Network
from benchmarks.networks.tanh import POLICY, SURROGATE, name
from benchmarks.pages.plots import Row, common_legend, curves, panels, round_ticks

DTYPE = "float32"
SIZES = (*range(1, 17), 20, 24, 28, 32, 40, 48, 56, 64)
PEER_SIZES = TICKS = (1, 2, 4, 8, 16, 32, 64)  # at which the peers take part
# The variants of a peer, of which the fastest one counts.
VARIANTS = {"PyTorch eager": PYTORCH[:2], "jax.jit": tanh.JIT, "jax.lax.scan": SCAN}
DRAWN = (GRAPH_STEP, GRAPH_TRAIN, *VARIANTS, tanh.BY_HAND, tanh.NUMPY)
MEASURED = {*DRAWN, *PYTORCH[:2], *tanh.JIT, *SCAN}


def ours(net: Network, batch: int) -> Makers:
    """A call for each batch, and a call for many of them."""
    many = batch * max(BATCHES, -(-SAMPLES // batch))
    return {
        GRAPH_STEP: partial(training.graph_step, net, DTYPE, batch),
        GRAPH_TRAIN: partial(training.graph_train, net, DTYPE, many, batch),
    }


def mlp(layers: Layers, batch: int) -> Makers:
    """cgraph, NumPy by hand, JAX with parameters in a tree and in one vector, and PyTorch, with Tanh by hand.

    By hand means into tensors that are there, which PyTorch's ReLU cannot write to.
    """
    peers = tanh.steps(layers, DTYPE, batch) if batch in PEER_SIZES else {}
    torch = tanh.BY_HAND if layers.function is TANH else tanh.EAGER[0]
    wanted = (torch, *tanh.JIT, *SCAN, tanh.NUMPY)
    return {**ours(layers.network, batch), **{key: peers[key] for key in wanted if key in peers}}


def images(net: Network, batch: int) -> Makers:
    """cgraph, PyTorch in both memory formats, and JAX."""
    if batch not in PEER_SIZES:
        return ours(net, batch)
    scan = partial(training.jax_scan, net, DTYPE, max(BATCHES * batch, SAMPLES), batch)
    return {
        **training.image_contenders(net, DTYPE, batch),
        "jax.lax.scan": scan,
        **ours(net, batch),
    }


PANELS: dict[str, Callable[[int], Makers]] = {
    name(SURROGATE): partial(mlp, SURROGATE),
    name(POLICY): partial(mlp, POLICY),
    "MLP 784-64-64-10, ReLU": partial(mlp, MLP_LAYERS),
    "LeNet-5": partial(images, LENET),
}


def small_batches(record: Record) -> list[Section]:
    """A table for each network, at the sizes at which the peers take part."""
    return [
        record.section(
            f"Small batches: {panel}",
            "Microseconds of a sample in training, float32, means of the fastest third; of the variants of a peer, the "
            "fastest one.",
            batches_table(dict(zip(sizes(record), rows(panel, record), strict=True))),
        )
        for panel in PANELS
    ]


def sizes(record: Record) -> Sequence[int]:
    return PEER_SIZES if record.effort == QUICK else SIZES


def rows(panel: str, record: Record) -> list[Row]:
    """Microseconds of a sample for each size; of the variants of a peer, those of the fastest one."""
    makers = {
        f"{key}, B = {batch}": make
        for batch in sizes(record)
        for key, make in PANELS[panel](batch).items()
        if key in MEASURED
    }
    times = record.times(f"small batches, {panel}", makers)
    found = []
    for batch in sizes(record):
        row = {
            key: times[named].fastest
            for key in MEASURED
            if (named := f"{key}, B = {batch}") in times
        }
        for peer, variants in VARIANTS.items():
            measured = [row[key] for key in variants if key in row]
            row.update({peer: min(measured)} if measured else {})
        found.append(row)
    return found


def batches_table(by_batch: dict[int, Row]) -> str:
    shown = [key for key in DRAWN if any(key in row for row in by_batch.values())]
    cells = [
        [str(batch), *(number(row[key]) if key in row else "" for key in shown)]
        for batch, row in by_batch.items()
        if batch in PEER_SIZES
    ]
    return table(["µs of a sample, B", *shown], cells)


def draw_small_batches(path: Path, record: Record) -> None:
    """Draws a panel for each network."""
    with panels(path, "Training on batches, float32, one thread", (2, 2), (10, 8)) as axes:
        for own, panel in zip(axes.flat, PANELS, strict=True):
            label = f"{panel}: samples in a batch"
            curves(own, sizes(record), rows(panel, record), label, TICKS)
            round_ticks(own.yaxis)
        common_legend(axes)
