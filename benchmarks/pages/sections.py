"""The tables about whole networks, on one sample and on batches: training, and inference."""

from functools import partial
from itertools import pairwise
from typing import NamedTuple

from benchmarks.contenders import inference, training
from benchmarks.contenders.training import GRAPH_STEP, GRAPH_TRAIN, OURS, PYTORCH
from benchmarks.measure.peak import gflops, with_peak
from benchmarks.measure.peers import Makers
from benchmarks.measure.tables import Ask, Section, number, times_table
from benchmarks.measure.timing import Effort, Times
from benchmarks.measure.traffic import TRAFFIC, traffic_loop
from benchmarks.networks.lenet import LENET
from benchmarks.networks.mlp import MLP, MLP_LAYERS
from benchmarks.networks.network import Network, forward_flop, training_flop
from benchmarks.networks.vgg import VGG


class Case(NamedTuple):
    """A network that is trained on one sample or a batch in a dtype."""

    name: str
    network: Network
    dtype: str
    batch: int


class Asked(NamedTuple):
    """The goals of Graph.step: to be faster than peers, and to take at most some multiple of the floor."""

    peers: list[Ask]
    floor: float | None = None


def title(work: str, batch: int, dtype: str) -> str:
    return f"{work}, {f'B = {batch}' if batch > 1 else 'one sample'}, {dtype}"


def unit(batch: int) -> str:
    return "Microseconds of one sample" + (f" of {batch}." if batch > 1 else ".")


def training_section(
    case: Case, makers: Makers, asked: Asked, effort: Effort
) -> tuple[Section, dict[str, Times]]:
    """The table of the training of a network, with its goals, and the times."""
    times, peak = with_peak(makers, effort, case.dtype)
    flop = training_flop(case.network, case.batch)
    floor = flop / 1000 * peak.fastest
    section = Section(
        title(f"{case.name}, training", case.batch, case.dtype),
        f"{unit(case.batch)} {flop:,.0f} FLOP for each; at the peak of {gflops(peak):.1f} GFLOP/s, that takes "
        f"{number(floor)} µs.",
        times_table(times, flop, peak, no_flop=[TRAFFIC]),
    )
    section.ask_ratios(times, asked.peers)
    if asked.floor is not None:
        section.ask("{} × the floor", asked.floor, times[GRAPH_STEP].fastest / floor, at_most=True)
    return section, times


FASTEST_PYTORCH = partial(Ask, "the fastest PyTorch", contenders=PYTORCH)
LENET_ASKS = {
    ("float32", 1): Asked([Ask("PyTorch eager", 12), Ask("jax.jit", 6)], 2.3),
    ("float64", 1): Asked([Ask("PyTorch eager", 8), Ask("jax.jit", 8)]),
    ("float32", 32): Asked([FASTEST_PYTORCH(5), Ask("jax.jit", 8)], 1.4),
    ("float32", 128): Asked([FASTEST_PYTORCH(4.5), Ask("jax.jit", 8)], 1.4),
    ("float64", 32): Asked([FASTEST_PYTORCH(4), Ask("jax.jit", 10)], 1.5),
    ("float64", 128): Asked([FASTEST_PYTORCH(4), Ask("jax.jit", 10)], 1.5),
}


def lenet_training(effort: Effort) -> list[Section]:
    """torch.compile takes seconds for each table, so it is in those of float32 only."""
    sections = []
    for (dtype, batch), asked in LENET_ASKS.items():
        makers = training.image_contenders(LENET, dtype, batch, compiled=dtype == "float32")
        case = Case("LeNet-5", LENET, dtype, batch)
        sections.append(training_section(case, makers, asked, effort)[0])
    return sections


def vgg_training(effort: Effort) -> list[Section]:
    sections = []
    for batch, divisor in ((1, 2), (32, 4)):
        case = Case("VGG-like block", VGG, "float32", batch)
        makers = training.image_contenders(VGG, "float32", batch, compiled=True)
        asked = Asked(
            [Ask("the fastest peer", 1.15, [name for name in makers if name not in OURS])]
        )
        sections.append(training_section(case, makers, asked, effort.fewer(divisor))[0])
    return sections


def mlp_training(effort: Effort) -> list[Section]:
    return [mlp_sample(effort), *(mlp_batch(batch, effort) for batch in (32, 128))]


def mlp_sample(effort: Effort) -> Section:
    """One sample at a time, memory is the limit: a loop that only moves the weights takes part."""
    weights = sum(m * n for m, n in pairwise(MLP_LAYERS.sizes))
    makers = {
        **training.mlp_contenders(1),
        TRAFFIC: partial(traffic_loop, weights, in_place=True),
    }
    case, asked = mlp_case(1), Asked([Ask("PyTorch eager", 15)])
    section, times = training_section(case, makers, asked, effort)
    section.text += " The last line reads the weights twice and writes them once."
    if "jax.lax.scan" in times:
        scan = times["jax.lax.scan"].median / times[GRAPH_TRAIN].median
        section.ask("{} × jax.lax.scan, Graph.train", 1, scan)
    return section


def mlp_batch(batch: int, effort: Effort) -> Section:
    makers = training.mlp_contenders(batch)
    asked = Asked([Ask(name, 1) for name in makers if name not in OURS])
    return training_section(mlp_case(batch), makers, asked, effort)[0]


def mlp_case(batch: int) -> Case:
    return Case("MLP 784-64-64-10", MLP, "float32", batch)


INFERENCE_ASKS = {
    1: [Ask("PyTorch", 10, [inference.PYTORCH]), Ask("onnxruntime", 2)],
    128: [
        Ask("PyTorch, frozen", 1.5, inference.FROZEN),
        Ask("onnxruntime", 1.5, inference.ONNXRUNTIME),
    ],
}


def lenet_inference(effort: Effort) -> list[Section]:
    sections, flop = [], forward_flop(LENET)
    for batch, asks in INFERENCE_ASKS.items():
        times, peak = with_peak(inference.lenet_contenders(batch), effort)
        section = Section(
            title("LeNet-5, inference", batch, "float32"),
            f"{unit(batch)} {flop:,} FLOP for each, {flop / 1000 * peak.fastest:.1f} µs at the peak.",
            times_table(times, flop, peak),
        )
        section.ask_ratios(times, asks)
        sections.append(section)
    return sections
