"""The tables about single layers, on one sample and on batches: affine and convolution layers, a chain of nodes."""

from functools import partial
from itertools import product
from typing import NamedTuple

from benchmarks.contenders import affine, chain
from benchmarks.contenders.convolution import Layer, graph_call, torch_part
from benchmarks.measure.internals import LayerStep
from benchmarks.measure.peak import with_peak
from benchmarks.measure.peers import Makers, built
from benchmarks.measure.tables import Ask, Section, percent, share, table, times_table
from benchmarks.measure.timing import Effort, Times, alternate
from benchmarks.measure.traffic import TRAFFIC, traffic_loop
from benchmarks.pages.sections import title, unit


def affine_layer(effort: Effort) -> list[Section]:
    return [affine_sample(effort), affine_batch(64, effort)]


def affine_sample(effort: Effort) -> Section:
    """With one sample, memory is the limit: a loop that only moves the weights takes part."""
    makers = {**affine.contenders(1), TRAFFIC: partial(traffic_loop, affine.SIZE**2)}
    section, times, _ = affine_section(1, makers, effort)
    section.text += " The last line reads the weights twice and writes as much once."
    peers = (affine.AUTOGRAD, "jax.jit", "NumPy by hand")
    by_hand = Ask("PyTorch by hand", 1.5, [affine.BY_HAND])
    section.ask_ratios(times, [Ask("the fastest peer", 1.5, peers), by_hand])
    return section


def affine_batch(batch: int, effort: Effort) -> Section:
    section, times, peak = affine_section(batch, affine.contenders(batch), effort)
    reached = share(affine.FLOP, next(iter(times.values())), peak)
    section.ask("{} % of the peak", 70, 100 * reached)
    section.ask_ratios(times, [Ask("PyTorch", 1, affine.PYTORCH)])
    return section


def affine_section(
    batch: int, makers: Makers, effort: Effort
) -> tuple[Section, dict[str, Times], Times]:
    """Returns the table without its asks, the times, and those of the peak."""
    times, peak = with_peak(makers, effort)
    section = Section(
        title("Affine 1024→1024, forward and both gradients", batch, "float32"),
        f"{unit(batch)} `Graph.accumulate` with a loss behind the layer; it adds to the gradient sums, unless an "
        "update came before. The peers overwrite their gradients, by hand in arrays that are there.",
        times_table(times, affine.FLOP, peak, no_flop=[TRAFFIC]),
    )
    return section, times, peak


def tiny_nodes(effort: Effort) -> list[Section]:
    fixed: Makers = {"Graph": chain.graph_passes, "jax.jit": chain.jax_jit}
    anew: Makers = {"Node path": chain.node_path, "PyTorch eager": chain.torch_eager}
    sections = []
    for kind, makers in {"a fixed graph": fixed, "built anew each time": anew}.items():
        times = alternate(built(makers), effort)
        section = Section(
            f"A chain of 1,000 nodes of length 4, forward and backward, float32: {kind}",
            "Microseconds of a node.",
            times_table(times),
        )
        if makers is fixed:
            section.ask("{} µs a node", 0.025, times["Graph"].median, at_most=True)
        section.ask_ratios(times, [Ask("PyTorch eager", 1)])
        sections.append(section)
    return sections


FORMATS = (False, True)  # of PyTorch: whether the channels are last
PARTS = {"forward": "forward", "input": "input gradient", "kernel": "kernel gradient"}
# For each part, the step of cgraph that is measured, and the one without the part.
DIFFERENCES = {
    "forward": ("forward", ""),
    "input": ("with both", "with kernel"),
    "kernel": ("with kernel", "forward"),
}
GRID = [
    Layer(channels, kernel, stride, size)
    for channels in (8, 32)
    for size in (28, 56)
    for stride in (1, 2)
    for kernel in (1, 3, 5, 7)
]
ASKED_LAYER, ASKED_NAME = Layer(32, 3, 1, 56), "convolution 32→32, 3×3, 56×56"
ASKED_SHARES = dict(zip(PARTS, (85, 85, 75), strict=True))  # of the peak, in percent
FLOP_OF_A_CALL = 10_000_000  # so that the call itself does not count


class LayerTimes(NamedTuple):
    """For each part of a layer: the shares of the peak, and how many times faster than PyTorch cgraph is."""

    shares: dict[str, float]
    torch_shares: dict[str, float]
    ratios: dict[str, float]


def step_parts(layer: Layer) -> Makers:
    """The compiled step of a layer on another one: forward; with the kernel gradient; with both gradients."""
    times = max(FLOP_OF_A_CALL // layer.flop, 1)
    kernel, both = (LayerStep(layer.nodes()[1], gradient, times) for gradient in (False, True))
    return {
        "forward": partial(both.work, backward=False),
        "with kernel": partial(kernel.work, backward=True),
        "with both": partial(both.work, backward=True),
    }


def layer_times(layer: Layer, effort: Effort, batch: int = 1) -> LayerTimes:
    """PyTorch has the batch at once, in the faster of its two memory formats; cgraph's step, a sample at a time."""
    makers = {f"cgraph {part}": make for part, make in step_parts(layer).items()}
    for last, part in product(FORMATS, PARTS):
        makers[f"{last} {part}"] = partial(torch_part, layer, part, last, batch)
    times, peak = with_peak(makers, effort)
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


def convolutions(effort: Effort) -> list[Section]:
    return [convolution_grid(effort), convolution_batch(8, effort.fewer(2))]


def convolution_grid(effort: Effort) -> Section:
    section = Section(
        "Convolution layers, float32",
        "Percentages of the FMA peak, cgraph and PyTorch (the faster of its two memory formats). Of cgraph, the "
        "compiled step of a layer on another one is called alone, not in a Graph; each gradient is what a call takes "
        "longer with it.",
    )
    measured = {layer: layer_times(layer, effort) for layer in GRID}
    rows = [
        [layer.name, *(" / ".join(cells(times, part)) for part in PARTS)]
        for layer, times in measured.items()
    ]
    section.table = table(["cgraph / PyTorch", *PARTS.values()], rows)
    shares = [value for times in measured.values() for value in times.shares.values()]
    below = sum(value < 0.5 for value in shares)
    section.text += f" {below} of {len(shares)} figures of cgraph are below 50 %."
    for part, name in PARTS.items():
        work = f"{ASKED_NAME}: {name}"
        ask_share(section, work, ASKED_SHARES[part], measured[ASKED_LAYER].shares[part])
        if part in measured[ASKED_LAYER].ratios:
            section.ask("{} × PyTorch", 1, measured[ASKED_LAYER].ratios[part], work=work)
    for part, name in PARTS.items():
        layer = min(measured, key=lambda layer, part=part: measured[layer].shares[part])
        work = f"all convolutions: {name}, the lowest ({layer.name})"
        ask_share(section, work, 50, measured[layer].shares[part])
    return section


def ask_share(section: Section, work: str, goal: float, measured: float) -> None:
    section.ask("{} % of the peak", goal, 100 * measured, work=work)


def convolution_batch(batch: int, effort: Effort) -> Section:
    times = layer_times(ASKED_LAYER, effort, batch)
    in_graph = graph_shares(ASKED_LAYER, batch, effort)
    rows = [[name, *cells(times, part)] for part, name in PARTS.items()]
    rows += [[f"{name}, in a Graph", percent(value), ""] for name, value in in_graph.items()]
    section = Section(
        title(ASKED_NAME, batch, "float32"),
        "Percentages of the FMA peak; PyTorch in the faster of its two memory formats. The step alone runs for one "
        "sample after the other; in a Graph, it is what `predict` and `accumulate` take longer with the layer than "
        "without it.",
        table(["", "cgraph", "PyTorch"], rows),
    )
    for part, name in PARTS.items():
        ask_share(section, f"{section.title}: {name}", ASKED_SHARES[part], times.shares[part])
    for (name, value), goal in zip(in_graph.items(), (85, 80), strict=True):
        ask_share(section, f"{section.title}: {name}, in a Graph", goal, value)
    return section


def graph_shares(layer: Layer, batch: int, effort: Effort) -> dict[str, float]:
    """The shares of the peak that calls of a Graph reach in the time that they take longer with the layer."""
    makers = {
        (learn, included): partial(graph_call, layer, batch, learn, included)
        for learn, included in product((False, True), repeat=2)
    }
    times, peak = with_peak({str(key): make for key, make in makers.items()}, effort)
    forward, everything = (
        times[str((learn, True))].fastest - times[str((learn, False))].fastest
        for learn in (False, True)
    )
    needed = layer.flop / 1000 * peak.fastest
    return {"forward": needed / forward, "both gradients": 2 * needed / (everything - forward)}
