"""The tables about whole networks, on one sample and on batches: training, and inference."""

from functools import partial
from itertools import pairwise
from typing import NamedTuple

from benchmarks.contenders import inference, training
from benchmarks.contenders.training import GRAPH_STEP, GRAPH_TRAIN, OURS, PYTORCH, SCAN
from benchmarks.measure.peak import gflops
from benchmarks.measure.peers import Makers
from benchmarks.measure.record import Record
from benchmarks.measure.tables import Ask, Goals, Section, number, times_table
from benchmarks.measure.timing import Times
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


class StepAsks(NamedTuple):
    """The goals of Graph.step: to be faster than peers, and to take at most some multiple of the floor."""

    peers: list[Ask]
    floor: float | Goals | None = None


def title(work: str, batch: int, dtype: str) -> str:
    return f"{work}, {f'B = {batch}' if batch > 1 else 'one sample'}, {dtype}"


def unit(batch: int) -> str:
    return "Microseconds of one sample" + (f" of {batch}." if batch > 1 else ".")


def training_section(
    case: Case, makers: Makers, asked: StepAsks, record: Record, fewer: int = 1
) -> tuple[Section, dict[str, Times]]:
    """The table of the training of a network, with its goals, and the times."""
    heading = title(f"{case.name}, training", case.batch, case.dtype)
    times, peak = record.with_peak(heading, makers, case.dtype, fewer)
    flop = training_flop(case.network, case.batch)
    floor = flop / 1000 * peak.fastest
    section = record.section(
        heading,
        f"{unit(case.batch)} {flop:,.0f} FLOP for each; at the peak of {gflops(peak):.1f} GFLOP/s, that takes "
        f"{number(floor)} µs.",
        times_table(times, flop, peak, no_flop=[TRAFFIC], peak_name=record.peak_name),
    )
    section.compare(times, [*OURS, TRAFFIC, *SCAN])
    section.ask_ratios(times, asked.peers)
    if asked.floor is not None:
        section.ask("{} × the floor", asked.floor, times[GRAPH_STEP].fastest / floor, at_most=True)
    return section, times


FASTEST_PYTORCH = partial(Ask, "the fastest PyTorch", contenders=PYTORCH)
LENET_ASKS = {
    ("float32", 1): StepAsks([Ask("PyTorch eager", 10), Ask("jax.jit", 8)]),
    ("float64", 1): StepAsks([Ask("PyTorch eager", 8), Ask("jax.jit", 8)]),
    ("float32", 32): StepAsks([FASTEST_PYTORCH(Goals(None, 5))], Goals(1.2, None)),
    ("float32", 128): StepAsks([FASTEST_PYTORCH(Goals(None, 4.5))], Goals(1.2, None)),
    ("float64", 32): StepAsks([FASTEST_PYTORCH(4), Ask("jax.jit", 10)], 1.5),
    ("float64", 128): StepAsks([FASTEST_PYTORCH(4), Ask("jax.jit", 10)], 1.5),
}


def lenet_training(record: Record) -> list[Section]:
    """torch.compile takes seconds for each table, so it is in those of float32 only."""
    sections = []
    for (dtype, batch), asked in LENET_ASKS.items():
        makers = training.image_contenders(LENET, dtype, batch, compiled=dtype == "float32")
        case = Case("LeNet-5", LENET, dtype, batch)
        sections.append(training_section(case, makers, asked, record)[0])
    return sections


def vgg_training(record: Record) -> list[Section]:
    sections = []
    for batch, goal, fewer in ((1, 1.15, 2), (32, 1.1, 4)):
        case = Case("VGG-like block", VGG, "float32", batch)
        makers = training.image_contenders(VGG, "float32", batch, compiled=True)
        asked = StepAsks([fastest_peer(goal, makers)])
        sections.append(training_section(case, makers, asked, record, fewer)[0])
    return sections


def fastest_peer(goal: float, makers: Makers) -> Ask:
    return Ask("the fastest peer", goal, [name for name in makers if name not in OURS])


def mlp_training(record: Record) -> list[Section]:
    return [mlp_sample(record), *(mlp_batch(batch, record) for batch in (32, 128))]


def mlp_sample(record: Record) -> Section:
    """One sample at a time, memory is the limit: a loop that only moves the weights takes part."""
    weights = sum(m * n for m, n in pairwise(MLP_LAYERS.sizes))
    makers = {
        **training.mlp_contenders(1),
        TRAFFIC: partial(traffic_loop, weights, in_place=True),
    }
    case, asked = mlp_case(1), StepAsks([Ask("PyTorch eager", 15)])
    section, times = training_section(case, makers, asked, record)
    section.text += " The last line reads the weights twice and writes them once."
    if "jax.lax.scan" in times:
        scan = times["jax.lax.scan"].median / times[GRAPH_TRAIN].median
        section.ask("{} × jax.lax.scan, Graph.train", 1, scan)
    return section


def mlp_batch(batch: int, record: Record) -> Section:
    makers = training.mlp_contenders(batch)
    asked = StepAsks([fastest_peer(1.15, makers)])
    return training_section(mlp_case(batch), makers, asked, record)[0]


def mlp_case(batch: int) -> Case:
    return Case("MLP 784-64-64-10", MLP, "float32", batch)


INFERENCE_ASKS = {
    1: [Ask("PyTorch", 10, [inference.PYTORCH]), Ask("onnxruntime", 2)],
    128: [
        Ask("PyTorch, frozen", 1.5, inference.FROZEN),
        Ask("onnxruntime", 1.5, inference.ONNXRUNTIME),
    ],
}


def lenet_inference(record: Record) -> list[Section]:
    sections, flop = [], forward_flop(LENET)
    for batch, asks in INFERENCE_ASKS.items():
        heading = title("LeNet-5, inference", batch, "float32")
        times, peak = record.with_peak(heading, inference.lenet_contenders(batch))
        section = record.section(
            heading,
            f"{unit(batch)} {flop:,} FLOP for each, {flop / 1000 * peak.fastest:.1f} µs at the peak.",
            times_table(times, flop, peak, peak_name=record.peak_name),
        )
        section.compare(times, [])
        section.ask_ratios(times, asks)
        sections.append(section)
    return sections
