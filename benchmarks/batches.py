"""The time of a sample in training against the size of the batch, from 1 to 64, for networks of all sizes here.

python -m benchmarks.batches [--quick] [--plot FILE]

float32, one core. All sizes of a network take turns, and times are means of the fastest third of the chunks, so that
other work on the machine bends no curve. With --plot, the curves are drawn into a picture, which needs matplotlib.
"""

from benchmarks.measure import one_core  # noqa: F401  isort: skip
import argparse
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

from benchmarks.contenders import tanh, training
from benchmarks.contenders.training import BATCHES, GRAPH_STEP, GRAPH_TRAIN, PYTORCH, SAMPLES
from benchmarks.measure.peers import Makers, built
from benchmarks.measure.tables import number, table
from benchmarks.measure.timing import QUICK, Effort, alternate, load, machine
from benchmarks.networks.functions import TANH
from benchmarks.networks.lenet import LENET
from benchmarks.networks.mlp import MLP_LAYERS, Layers
from benchmarks.networks.network import Network
from benchmarks.networks.tanh import POLICY, SURROGATE, name
from benchmarks.pages.scaling import Row, curves, panels, round_ticks

THOROUGH = Effort(30, 0.004)
DTYPE = "float32"
SIZES = (*range(1, 17), 20, 24, 28, 32, 40, 48, 56, 64)
PEER_SIZES = TICKS = (1, 2, 4, 8, 16, 32, 64)  # at which the peers take part
# The variants of a peer, of which the fastest one counts.
VARIANTS = {"PyTorch eager": PYTORCH[:2], "jax.jit": tanh.JIT, "jax.lax.scan": tanh.SCAN}
DRAWN = (GRAPH_STEP, GRAPH_TRAIN, *VARIANTS, tanh.BY_HAND, tanh.NUMPY)
MEASURED = {*DRAWN, *PYTORCH[:2], *tanh.JIT, *tanh.SCAN}


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
    wanted = (torch, *tanh.JIT, *tanh.SCAN, tanh.NUMPY)
    return ours(layers.network, batch) | {key: peers[key] for key in wanted if key in peers}


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


def measured(
    contenders: Callable[[int], Makers], sizes: Sequence[int], effort: Effort
) -> list[Row]:
    """Microseconds of a sample for each size; of the variants of a peer, those of the fastest one."""
    works = {
        (batch, key): work
        for batch in sizes
        for key, work in built(contenders(batch)).items()
        if key in MEASURED
    }
    rows: dict[int, dict[str, float]] = {batch: {} for batch in sizes}
    for (batch, key), own in alternate(works, effort).items():
        rows[batch][key] = own.fastest
    for row in rows.values():
        for peer, variants in VARIANTS.items():
            found = [row[key] for key in variants if key in row]
            row.update({peer: min(found)} if found else {})
    return list(rows.values())


def batches_table(rows: Iterable[tuple[int, Row]]) -> str:
    cells = [
        [str(batch), *(number(row[key]) if key in row else "" for key in DRAWN)]
        for batch, row in rows
    ]
    return table(["µs of a sample, B", *DRAWN], cells)


def plot(path: Path, found: dict[str, list[Row]], sizes: Sequence[int]) -> None:
    """Draws a panel for each network."""
    heading = "Training on batches, float32, one thread"
    with panels(path, heading, (2, 2), (10, 8)) as axes:
        for own, (title, rows) in zip(axes.flat, found.items(), strict=True):
            curves(own, sizes, rows, f"{title}: samples in a batch", TICKS)
            round_ticks(own.yaxis)
        shown = {
            label: line
            for own in axes.flat
            for line, label in zip(*own.get_legend_handles_labels(), strict=True)
        }
        axes.flat[0].figure.legend(
            shown.values(), shown, loc="outside lower center", ncols=4, frameon=False
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="few and short rounds")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="where the picture is written")
    options = parser.parse_args()
    effort, sizes = (QUICK, PEER_SIZES) if options.quick else (THOROUGH, SIZES)
    start, found = load(), {}
    for title, contenders in PANELS.items():
        found[title] = measured(contenders, sizes, effort)
        shown = batches_table(zip(sizes, found[title], strict=True))
        print(f"{title}\n\n{shown}\n", flush=True)
    print(f"{machine()}. Load average: {start} at the start, {load()} at the end.")
    if options.plot:
        plot(options.plot, found, sizes)


if __name__ == "__main__":
    main()
