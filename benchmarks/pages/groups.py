"""The groups of tables, each of which is measured by itself and has a file of raw results."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from benchmarks.measure.record import Record
from benchmarks.measure.tables import ASKS, Section, table
from benchmarks.measure.timing import QUICK, Effort, load, machine
from benchmarks.pages import (
    batches,
    calls,
    convolutions,
    layers,
    scaling,
    sections,
    wide,
    wide_plot,
)
from benchmarks.pages.averages import moving_averages
from benchmarks.pages.functions import one_function
from benchmarks.pages.jacobians import by_inputs
from benchmarks.pages.layer_norm import one_layer_norm
from benchmarks.pages.optimizers import adam_steps
from benchmarks.pages.tanh import networks
from benchmarks.pages.two_threads import two_threads


class Group(NamedTuple):
    """Tables that are made of one Record, and perhaps a picture of it with its caption."""

    sections: Callable[[Record], list[Section]]
    draw: Callable[[Path, Record], None] | None = None
    caption: str = ""
    effort: Effort = Effort(40, 0.01)


def tanh(record: Record) -> list[Section]:
    return [one_function(record), *networks(record)]


def wide_layers(record: Record) -> list[Section]:
    return [*wide.wide_layers(record), *wide_plot.beside_peers(record)]


GROUPS = {
    "lenet": Group(sections.lenet_training),
    "inference": Group(sections.lenet_inference),
    "mlp": Group(sections.mlp_training),
    "vgg": Group(sections.vgg_training),
    "affine": Group(layers.affine_layer),
    "conv": Group(convolutions.convolutions),
    "wide": Group(
        wide_layers,
        wide_plot.draw_channels,
        "Time of a convolution against its channels, for cgraph, PyTorch and JAX",
        Effort(7, 0.004),
    ),
    "chain": Group(layers.tiny_nodes),
    "node_path": Group(calls.node_by_node),
    "calls": Group(calls.one_sample, effort=Effort(300, 0.002)),
    "tanh": Group(tanh),
    "optimizers": Group(adam_steps),
    "averages": Group(moving_averages),
    "jacobians": Group(by_inputs),
    "layer_norm": Group(one_layer_norm, effort=Effort(20, 0.004)),
    "small_batches": Group(
        batches.small_batches,
        batches.draw_small_batches,
        "Time per sample in training against the size of the batch, for four networks",
        Effort(30, 0.004),
    ),
    "scaling": Group(
        scaling.sizes,
        scaling.draw_sizes,
        "Time per sample against width and depth, for PyTorch, JAX and cgraph",
    ),
    "batches": Group(
        scaling.batches,
        scaling.draw_batches,
        "Time per sample against the size of a batch, for cgraph and its peers",
    ),
    "threads": Group(two_threads),
}


def measure(name: str, quick: bool = False) -> Record:
    """Measures a group, and prints its tables and goals when that is done."""
    group = GROUPS[name]
    record = Record(QUICK if quick else group.effort)
    found = group.sections(record)
    for section in found:
        print(section.markdown(), end="\n\n", flush=True)
    asks = [asked.cells() for section in found for asked in section.asks]
    if asks:
        print(table(ASKS, asks), end="\n\n", flush=True)
    return record


def command(name: str, description: str | None) -> None:
    """What a command of its own does for a group: it prints its tables."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="few and short rounds")
    options = parser.parse_args()
    start = load()
    record = measure(name, options.quick)
    print(f"{machine()}, kernels of {record.instructions}.", end=" ")
    print(f"Load average: {start} at the start, {load()} at the end.")
