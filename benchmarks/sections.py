"""The rows of docs/understand/performance.md: for each, who is measured, what was asked, what came out."""

from collections.abc import Callable, Mapping
from itertools import pairwise

import affine
import chain
import convolution
import inference
import training
from convolution import Layer
from lenet import LENET
from mlp import network
from network import forward_flop, training_flop
from peak import gflops, peak_loop
from tables import Section, percent, share, table, times_table
from timing import Effort, Times, Work, alternate
from traffic import traffic_loop

PEAK = "peak"
TRAFFIC = "memory traffic alone"


def with_peak(
    contenders: Mapping[str, Work], effort: Effort, dtype: str = "float32"
) -> tuple[dict[str, Times], Times]:
    times = alternate({PEAK: peak_loop(dtype), **contenders}, effort)
    return times, times.pop(PEAK)


def lenet(effort: Effort) -> list[Section]:
    return [lenet_step(effort, "float32"), lenet_step(effort, "float64"), lenet_predict(effort)]


def lenet_step(effort: Effort, dtype: str) -> Section:
    contenders = {
        "`Graph.step`": training.graph_step(LENET, dtype),
        "`Graph.train`": training.graph_train(LENET, dtype),
        "Node path": training.node_path(LENET, dtype),
        "PyTorch eager": training.torch_step(LENET, dtype),
        "torch.compile": training.torch_step(LENET, dtype, compiled=True),
        "jax.jit": training.jax_step(LENET, dtype),
    }
    times, peak = with_peak(contenders, effort, dtype)
    work, flop = f"LeNet-5, a training step, {dtype}", training_flop(LENET)
    floor = flop / 1000 * peak.fastest
    section = Section(
        work,
        f"{flop:,.0f} FLOP; at the peak of {gflops(peak):.1f} GFLOP/s, that takes {floor:.1f} µs. For Graph.train and "
        "for the peak, the time is that of one sample in a call with many.",
        times_table(times, flop, peak),
    )
    ours = times["`Graph.step`"]
    torch_ask, jax_ask = (12, 6) if dtype == "float32" else (8, 8)
    section.ask(work, "{} × PyTorch eager", torch_ask, ratio(times, "PyTorch eager"))
    section.ask(work, "{} × jax.jit", jax_ask, ratio(times, "jax.jit"))
    if dtype == "float32":
        section.ask(work, "{} × the floor", 2.3, ours.fastest / floor, at_most=True)
    return section


def ratio(times: Mapping[str, Times], other: str) -> float:
    """How many times slower than the first the other is."""
    return times[other].median / next(iter(times.values())).median


def lenet_predict(effort: Effort) -> Section:
    contenders = {
        "`Graph.predict`": inference.graph_predict(),
        "PyTorch, inference_mode": inference.torch_predict(),
        "PyTorch, traced and frozen": inference.torch_predict(frozen=True),
        "onnxruntime": inference.onnx_predict(),
        "onnxruntime, input and output bound": inference.onnx_predict(bound=True),
    }
    times, peak = with_peak(contenders, effort)
    work, flop = "LeNet-5, inference, float32", forward_flop(LENET)
    section = Section(
        work,
        f"{flop:,} FLOP, {flop / 1000 * peak.fastest:.1f} µs at the peak.",
        times_table(times, flop, peak),
    )
    section.ask(work, "{} × PyTorch", 10, ratio(times, "PyTorch, inference_mode"))
    section.ask(work, "{} × onnxruntime", 2, ratio(times, "onnxruntime"))
    return section


def mlp(effort: Effort) -> list[Section]:
    sizes, dtype = (784, 64, 64, 10), "float32"
    net = network(*sizes)
    contenders = {
        "`Graph.step`": training.graph_step(net, dtype),
        "`Graph.train`": training.graph_train(net, dtype),
        "Node path": training.node_path(net, dtype),
        "PyTorch eager": training.torch_step(net, dtype),
        "jax.jit": training.jax_step(net, dtype),
        "jax.lax.scan": training.jax_scan(net, dtype),
        TRAFFIC: traffic_loop(sum(m * n for m, n in pairwise(sizes)), in_place=True),
    }
    work = "MLP 784-64-64-10, a training step, float32"
    times = alternate(contenders, effort)
    text = (
        f"Graph.train and jax.lax.scan: one sample of {training.SAMPLES} in a call. The last line reads the weights "
        "twice and writes them once."
    )
    section = Section(work, text, times_table(times))
    section.ask(work, "{} × PyTorch eager", 15, ratio(times, "PyTorch eager"))
    scan = times["jax.lax.scan"].median / times["`Graph.train`"].median
    section.ask(work, "{} × jax.lax.scan, Graph.train", 1, scan)
    return [section]


def affine_layer(effort: Effort) -> list[Section]:
    ours = {
        "Graph, overwriting the sums": affine.graph_passes(overwrite=True),
        "Graph, adding to the sums": affine.graph_passes(),
    }
    peers = {
        "PyTorch autograd": affine.torch_autograd(),
        "jax.jit": affine.jax_jit(),
        "NumPy by hand": affine.numpy_by_hand(),
    }
    strict = {"PyTorch by hand, without autograd": affine.torch_by_hand()}
    floor = {TRAFFIC: traffic_loop(affine.SIZE**2)}
    work = "Affine 1024→1024, forward and both gradients, float32"
    times = alternate({**ours, **peers, **strict, **floor}, effort)
    text = (
        "`Graph.forward` and `Graph.backward` with a loss behind it. Graph.backward adds to the gradient sums, unless "
        "an update came before; the peers overwrite their gradients, by hand in arrays that are there. The last line "
        "reads the weights twice and writes as much once."
    )
    section = Section(work, text, times_table(times))
    for name, group in {"the fastest peer": peers, "PyTorch by hand": strict}.items():
        fastest = min(group, key=lambda peer: times[peer].median)
        section.ask(work, f"{{}} × {name}", 1.5, ratio(times, fastest))
    return [section]


def tiny_nodes(effort: Effort) -> list[Section]:
    fixed = {"Graph": chain.graph_passes(), "jax.jit": chain.jax_jit()}
    anew = {"Node path": chain.node_path(), "PyTorch eager": chain.torch_eager()}
    work = "chain of 1,000 nodes of length 4, forward and backward, float32"
    first = Section(
        f"A {work}: a fixed graph",
        "Microseconds of a node.",
        times_table(times := alternate(fixed, effort)),
    )
    first.ask(f"{work}, fixed", "{} µs a node", 0.025, times["Graph"].median, at_most=True)
    second = Section(
        f"A {work}: built anew each time",
        "Microseconds of a node.",
        times_table(times := alternate(anew, effort)),
    )
    second.ask(f"{work}, built anew", "{} × PyTorch eager", 1, ratio(times, "PyTorch eager"))
    return [first, second]


PARTS = {"forward": "forward", "input": "input gradient", "kernel": "kernel gradient"}
# Of cgraph: what is measured, and what it takes without the part
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
ASKED_LAYER = Layer(32, 3, 1, 56)


def convolutions(effort: Effort) -> list[Section]:
    section = Section(
        "Convolution layers, float32",
        "Percentages of the FMA peak, cgraph and PyTorch (the faster of its two memory formats). Of cgraph, the "
        "compiled step of a layer on another one is called alone, not in a Graph; each gradient is what a call takes "
        "longer with it.",
    )
    rows, below = [], 0
    lowest: dict[str, tuple[float, str]] = {}
    for layer in GRID:
        shares, torch_shares, ratios = parts_of(layer, effort)
        name = f"{layer.channels} channels, {layer.kernel}×{layer.kernel}, stride {layer.stride}"
        name += f", {layer.size}×{layer.size}"
        cells = [f"{percent(shares[part])} / {percent(torch_shares[part])}" for part in PARTS]
        rows.append([name, *cells])
        below += sum(value < 0.5 for value in shares.values())
        for part in PARTS:
            lowest[part] = min(lowest.get(part, (9.0, "")), (shares[part], name))
        if layer == ASKED_LAYER:
            for part, wanted in zip(PARTS, (85, 85, 75), strict=True):
                work = f"convolution 32→32, 3×3, 56×56: {PARTS[part]}"
                section.ask(work, "{} % of the peak", wanted, 100 * shares[part])
                section.ask(work, "{} × PyTorch", 1, ratios[part])
    section.text += f" {below} of {len(GRID) * len(PARTS)} figures of cgraph are below 50 %."
    section.table = table(["cgraph / PyTorch", *PARTS.values()], rows)
    for part, (least, name) in lowest.items():
        work = f"all convolutions: {PARTS[part]}, the lowest ({name})"
        section.ask(work, "{} % of the peak", 50, 100 * least)
    return [section]


def parts_of(
    layer: Layer, effort: Effort, batch: int = 1
) -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
    """By part: the shares of the peak, of cgraph and PyTorch; and how many times faster cgraph is.

    batch: of PyTorch; the step of cgraph is the same for each sample.
    """
    contenders = {f"cgraph {part}": work for part, work in convolution.graph_parts(layer).items()}
    for last in (False, True):
        for part, work in convolution.torch_parts(layer, last, batch).items():
            contenders[f"{last} {part}"] = work
    times, peak = with_peak(contenders, effort)
    shares, torch_shares, ratios = {}, {}, {}
    for part, (more, less) in DIFFERENCES.items():
        fastest, ours = times[f"cgraph {more}"].fastest, times[f"cgraph {more}"].median
        if less:
            fastest -= times[f"cgraph {less}"].fastest
            ours -= times[f"cgraph {less}"].median
        theirs = min((times[f"{last} {part}"] for last in (False, True)), key=lambda t: t.median)
        shares[part] = layer.flop / 1000 * peak.fastest / fastest
        torch_shares[part] = share(layer.flop, theirs, peak)
        ratios[part] = theirs.median / ours
    return shares, torch_shares, ratios


SECTIONS: dict[str, Callable[[Effort], list[Section]]] = {
    "lenet": lenet,
    "mlp": mlp,
    "affine": affine_layer,
    "chain": tiny_nodes,
    "conv": convolutions,
}
