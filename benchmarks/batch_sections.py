"""The rows of docs/understand/performance.md about mini-batches."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import affine
import batch_affine
import inference
from batch_contenders import MLP_SIZES, PYTORCH, image_contenders, mlp_contenders
from convolution import Layer, graph_calls
from lenet import LENET
from mlp import network
from network import Network, forward_flop, training_flop
from peak import gflops
from sections import ASKED_LAYER, PARTS, parts_of, ratio, with_peak
from tables import Section, number, percent, share, table, times_table
from timing import Effort, Times
from training import BATCHES
from two_threads import two_threads
from vgg import VGG

CONVOLUTION_BATCH, AFFINE_BATCH, INFERENCE_BATCH = 8, 64, 128


def fastest_ratio(times: Mapping[str, Times], names: Sequence[str]) -> float:
    """How many times slower than the first the fastest of some is."""
    return min(ratio(times, name) for name in names if name in times)


def training_section(
    work: str, net: Network, batch: int, times: dict[str, Times], peak: Times
) -> tuple[Section, float]:
    """The section without its asks, and how many times the floor the first takes."""
    flop = training_flop(net, batch)
    floor = flop / 1000 * peak.fastest
    text = (
        f"Microseconds of one sample of {batch}. {flop:,.0f} FLOP for each; at the peak of {gflops(peak):.1f} GFLOP/s, "
        f"that takes {number(floor)} µs."
    )
    ours = next(iter(times.values()))
    return Section(work, text, times_table(times, flop, peak)), ours.fastest / floor


# dtype: of PyTorch for each batch, of jax.jit, of the floor
LENET_ASKS = {"float32": ({32: 5, 128: 4.5}, 8, 1.4), "float64": ({32: 4, 128: 4}, 10, 1.5)}


def lenet_batches(effort: Effort) -> list[Section]:
    return [lenet_batch(effort, dtype, batch) for dtype in LENET_ASKS for batch in (32, 128)]


def lenet_batch(effort: Effort, dtype: str, batch: int) -> Section:
    contenders = image_contenders(LENET, dtype, batch, compiled=dtype == "float32")
    times, peak = with_peak(contenders, effort, dtype)
    work = f"LeNet-5, training, B = {batch}, {dtype}"
    section, floors = training_section(work, LENET, batch, times, peak)
    torch_asks, jax_ask, floor_ask = LENET_ASKS[dtype]
    section.ask(work, "{} × the fastest PyTorch", torch_asks[batch], fastest_ratio(times, PYTORCH))
    section.ask(work, "{} × jax.jit", jax_ask, ratio(times, "jax.jit"))
    section.ask(work, "{} × the floor", floor_ask, floors, at_most=True)
    return section


def lenet_predictions(effort: Effort) -> list[Section]:
    batch = INFERENCE_BATCH
    torch_predict = partial(inference.torch_predict, batch)
    frozen = {
        "PyTorch, traced and frozen": torch_predict(frozen=True),
        "PyTorch, traced and frozen, channels last": torch_predict(frozen=True, channels_last=True),
    }
    onnx = {
        "onnxruntime": inference.onnx_predict(batch),
        "onnxruntime, input and output bound": inference.onnx_predict(batch, bound=True),
    }
    contenders = {
        "`Graph.predict`": inference.graph_predict(batch),
        "PyTorch, inference_mode": torch_predict(),
        **frozen,
        **onnx,
        "jax.jit": inference.jax_predict(batch),
    }
    times, peak = with_peak(contenders, effort)
    work, flop = f"LeNet-5, inference, B = {batch}, float32", forward_flop(LENET)
    section = Section(
        work,
        f"Microseconds of one sample of {batch}. {flop:,} FLOP for each, {flop / 1000 * peak.fastest:.1f} µs at the "
        "peak.",
        times_table(times, flop, peak),
    )
    for name, group in {"PyTorch, frozen": frozen, "onnxruntime": onnx}.items():
        section.ask(work, f"{{}} × {name}", 1.5, fastest_ratio(times, list(group)))
    return [section]


def vgg_steps(effort: Effort) -> list[Section]:
    return [vgg_step(effort.fewer(divisor), batch) for batch, divisor in ((1, 2), (32, 4))]


def vgg_step(effort: Effort, batch: int) -> Section:
    times, peak = with_peak(image_contenders(VGG, "float32", batch, compiled=True), effort)
    work = f"VGG-like block, training, B = {batch}, float32"
    section, _ = training_section(work, VGG, batch, times, peak)
    peers = list(times)[1:]
    section.ask(work, "{} × the fastest peer", 1.15, fastest_ratio(times, peers))
    return section


def mlp_batches(effort: Effort) -> list[Section]:
    return [mlp_batch(effort, batch) for batch in (32, 128)]


def mlp_batch(effort: Effort, batch: int) -> Section:
    times, peak = with_peak(mlp_contenders(batch), effort)
    work = f"MLP 784-64-64-10, training, B = {batch}, float32"
    section, _ = training_section(work, network(*MLP_SIZES), batch, times, peak)
    section.text += f" Graph.train and jax.lax.scan: {BATCHES} batches in a call."
    for name in list(times)[2:]:
        section.ask(work, f"{{}} × {name}", 1, ratio(times, name))
    return section


def affine_batches(effort: Effort) -> list[Section]:
    batch = AFFINE_BATCH
    peers = {
        "PyTorch autograd": affine.torch_autograd(batch),
        "PyTorch by hand, without autograd": batch_affine.torch_by_hand(batch),
    }
    contenders = {
        "Graph, overwriting the sums": batch_affine.graph_passes(batch, overwrite=True),
        "Graph, adding to the sums": batch_affine.graph_passes(batch),
        **peers,
        "jax.jit": affine.jax_jit(batch),
        "NumPy by hand": batch_affine.numpy_by_hand(batch),
    }
    times, peak = with_peak(contenders, effort)
    flop = batch_affine.flop()
    work = f"Affine 1024→1024, forward and both gradients, B = {batch}, float32"
    section = Section(
        work,
        f"Microseconds of one sample of {batch}. `Graph.accumulate` with a loss behind the layer; it adds to the "
        "gradient sums, unless an update came before. The peers overwrite their gradients, by hand in arrays that are "
        "there.",
        times_table(times, flop, peak),
    )
    ours = next(iter(times.values()))
    section.ask(work, "{} % of the peak", 70, 100 * share(flop, ours, peak))
    section.ask(work, "{} × PyTorch", 1, fastest_ratio(times, list(peers)))
    return [section]


def convolution_batch(effort: Effort) -> list[Section]:
    layer, batch = ASKED_LAYER, CONVOLUTION_BATCH
    effort = effort.fewer(2)
    shares, torch_shares, _ = parts_of(layer, effort, batch)
    in_graph = graph_shares(layer, batch, effort)
    rows = [[PARTS[part], percent(shares[part]), percent(torch_shares[part])] for part in PARTS]
    rows += [[f"{name}, in a Graph", percent(value), ""] for name, value in in_graph.items()]
    work = f"convolution 32→32, 3×3, 56×56, B = {batch}, float32"
    section = Section(
        work,
        "Percentages of the FMA peak; PyTorch in the faster of its two memory formats. The step alone runs for one "
        "sample after the other; in a Graph, it is what `predict` and `accumulate` take longer with the layer than "
        "without it.",
        table(["", "cgraph", "PyTorch"], rows),
    )
    for part, wanted in zip(PARTS, (85, 85, 75), strict=True):
        section.ask(f"{work}: {PARTS[part]}", "{} % of the peak", wanted, 100 * shares[part])
    for (name, value), wanted in zip(in_graph.items(), (85, 80), strict=True):
        section.ask(f"{work}: {name}, in a Graph", "{} % of the peak", wanted, 100 * value)
    return [section]


def graph_shares(layer: Layer, batch: int, effort: Effort) -> dict[str, float]:
    """Of the peak: what calls of a Graph reach in the time that they take longer with the layer."""
    works = {
        f"{call} {place}": work
        for place, included in {"with": True, "without": False}.items()
        for call, work in graph_calls(layer, batch, included).items()
    }
    times, peak = with_peak(works, effort)
    forward, everything = (
        times[f"{call} with"].fastest - times[f"{call} without"].fastest
        for call in ("forward", "all")
    )
    needed = layer.flop / 1000 * peak.fastest
    return {"forward": needed / forward, "both gradients": 2 * needed / (everything - forward)}


SECTIONS: dict[str, Callable[[Effort], list[Section]]] = {
    "batch_lenet": lenet_batches,
    "batch_inference": lenet_predictions,
    "vgg": vgg_steps,
    "batch_convolution": convolution_batch,
    "batch_affine": affine_batches,
    "batch_mlp": mlp_batches,
    "threads": two_threads,
}
