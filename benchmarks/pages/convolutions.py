"""The tables about convolution layers: percentages of the peak, beside PyTorch's."""

from functools import partial
from itertools import product
from typing import NamedTuple

from benchmarks.contenders.convolution import Layer, graph_call, torch_part
from benchmarks.contenders.wide import FORWARD, WITH_BOTH, WITH_KERNEL, one_by_one
from benchmarks.measure.record import Record
from benchmarks.measure.tables import Goals, Section, percent, share, share_of_all, table
from benchmarks.pages.sections import title

FORMATS = (False, True)  # of PyTorch: whether the channels are last
PARTS = {"forward": "forward", "input": "input gradient", "kernel": "kernel gradient"}
# For each part, the step of cgraph that is measured, and the one without the part.
DIFFERENCES = {
    "forward": (FORWARD, ""),
    "input": (WITH_BOTH, WITH_KERNEL),
    "kernel": (WITH_KERNEL, FORWARD),
}
GRID = [
    Layer(channels, kernel, stride, size)
    for channels in (8, 32)
    for size in (28, 56)
    for stride in (1, 2)
    for kernel in (1, 3, 5, 7)
]
ASKED_LAYER, ASKED_NAME = Layer(32, 3, 1, 56), "convolution 32→32, 3×3, 56×56"
ASKED_SHARE = Goals(90, 80)  # of the peak, in percent, forward and both gradients together


class LayerTimes(NamedTuple):
    """For each part of a layer: the shares of the peak, and how many times faster than PyTorch cgraph is."""

    shares: dict[str, float]
    torch_shares: dict[str, float]
    ratios: dict[str, float]


def layer_times(layer: Layer, record: Record, batch: int = 1, fewer: int = 1) -> LayerTimes:
    """PyTorch has the batch at once, in the faster of its two memory formats; cgraph's step, a sample at a time."""
    makers = {f"cgraph {part}": make for part, make in one_by_one(layer, 1).items()}
    for last, part in product(FORMATS, PARTS):
        makers[f"{last} {part}"] = partial(torch_part, layer, part, last, batch)
    heading = title(f"convolution, {layer.name}", batch, "float32")
    times, peak = record.with_peak(heading, makers, fewer=fewer)
    found = LayerTimes({}, {}, {})
    for part, (more, less) in DIFFERENCES.items():
        fastest, ours = times[f"cgraph {more}"].fastest, times[f"cgraph {more}"].median
        if less:
            fastest -= times[f"cgraph {less}"].fastest
            ours -= times[f"cgraph {less}"].median
        found.shares[part] = layer.flop / 1000 * peak.fastest / fastest
        formats = [times[name] for last in FORMATS if (name := f"{last} {part}") in times]
        if formats:
            theirs = min(formats, key=lambda own: own.median)
            found.torch_shares[part] = share(layer.flop, theirs, peak)
            found.ratios[part] = theirs.median / ours
    return found


def cells(times: LayerTimes, part: str) -> list[str]:
    """The shares of cgraph and of PyTorch, the latter empty where it was not measured."""
    theirs = times.torch_shares.get(part)
    return [percent(times.shares[part]), "" if theirs is None else percent(theirs)]


def convolutions(record: Record) -> list[Section]:
    return [convolution_grid(record), convolution_batch(8, record, fewer=2)]


def convolution_grid(record: Record) -> Section:
    section = record.section(
        "Convolution layers, float32",
        f"Percentages of the {record.peak_name}, cgraph and PyTorch (the faster of its two memory formats). Of "
        "cgraph, the compiled step of a layer on another one is called alone, not in a Graph; each gradient is what a "
        "call takes longer with it.",
    )
    measured = {layer: layer_times(layer, record) for layer in GRID}
    rows = [
        [layer.name, *(" / ".join(cells(times, part)) for part in PARTS)]
        for layer, times in measured.items()
    ]
    section.table = table(["cgraph / PyTorch", *PARTS.values()], rows)
    shares = [value for times in measured.values() for value in times.shares.values()]
    below = sum(value < 0.5 for value in shares)
    section.text += f" {below} of {len(shares)} figures of cgraph are below 50 %."
    ask_layer(section, title(ASKED_NAME, 1, "float32"), measured[ASKED_LAYER])
    for part, name in PARTS.items():
        layer = min(measured, key=lambda layer, part=part: measured[layer].shares[part])
        work = f"all convolutions: {name}, the lowest ({layer.name})"
        ask_share(section, work, 50, measured[layer].shares[part])
    return section


def ask_layer(section: Section, work: str, measured: LayerTimes) -> None:
    """Adds the goals for forward and both gradients together, and for each of them beside PyTorch."""
    all_parts = f"{work}: forward and both gradients"
    ask_share(section, all_parts, ASKED_SHARE, share_of_all(measured.shares))
    for part, ratio in measured.ratios.items():
        section.ask("{} × PyTorch", 1, ratio, work=f"{work}: {PARTS[part]}")


def ask_share(section: Section, work: str, goal: float | Goals, measured: float) -> None:
    section.ask("{} % of the peak", goal, 100 * measured, work=work)


def convolution_batch(batch: int, record: Record, fewer: int) -> Section:
    times = layer_times(ASKED_LAYER, record, batch, fewer)
    in_graph = graph_shares(ASKED_LAYER, batch, record, fewer)
    rows = [[name, *cells(times, part)] for part, name in PARTS.items()]
    rows += [[f"{name}, in a Graph", percent(value), ""] for name, value in in_graph.items()]
    section = record.section(
        title(ASKED_NAME, batch, "float32"),
        f"Percentages of the {record.peak_name}; PyTorch in the faster of its two memory formats. The step "
        "alone runs for one sample after the other; in a Graph, it is what `predict` and `accumulate` take longer with "
        "the layer than without it.",
        table(["", "cgraph", "PyTorch"], rows),
    )
    ask_layer(section, section.title, times)
    work = f"{section.title}: forward and both gradients, in a Graph"
    ask_share(section, work, ASKED_SHARE, share_of_all(in_graph))
    return section


def graph_shares(layer: Layer, batch: int, record: Record, fewer: int) -> dict[str, float]:
    """The shares of the peak that calls of a Graph reach in the time that they take longer with the layer."""
    makers = {
        (learn, included): partial(graph_call, layer, batch, learn, included)
        for learn, included in product((False, True), repeat=2)
    }
    heading = f"Graphs with and without {layer.name}, B = {batch}"
    works = {str(key): make for key, make in makers.items()}
    times, peak = record.with_peak(heading, works, fewer=fewer)
    forward, everything = (
        times[str((learn, True))].fastest - times[str((learn, False))].fastest
        for learn in (False, True)
    )
    needed = layer.flop / 1000 * peak.fastest
    return {"forward": needed / forward, "both gradients": 2 * needed / (everything - forward)}
