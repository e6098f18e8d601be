"""The tables about an affine layer, on one sample and on a batch, and about a chain of nodes."""

from functools import partial

from benchmarks.contenders import affine, chain
from benchmarks.measure.peers import Makers
from benchmarks.measure.record import Record
from benchmarks.measure.tables import Ask, Goals, Section, share, times_table
from benchmarks.measure.timing import Times
from benchmarks.measure.traffic import TRAFFIC, traffic_loop
from benchmarks.pages.sections import title, unit


def affine_layer(record: Record) -> list[Section]:
    return [affine_sample(record), affine_batch(64, record)]


def affine_sample(record: Record) -> Section:
    """With one sample, memory is the limit: a loop that only moves the weights takes part."""
    makers = {**affine.contenders(1), TRAFFIC: partial(traffic_loop, affine.SIZE**2)}
    section, times, _ = affine_section(1, makers, record)
    section.text += " The last line reads the weights twice and writes as much once."
    peers = (affine.AUTOGRAD, "jax.jit", "NumPy by hand")
    by_hand = Ask("PyTorch by hand", 1.5, [affine.BY_HAND])
    section.ask_ratios(times, [Ask("the fastest peer", 1.5, peers), by_hand])
    return section


def affine_batch(batch: int, record: Record) -> Section:
    section, times, peak = affine_section(batch, affine.contenders(batch), record)
    reached = share(affine.FLOP, next(iter(times.values())), peak)
    section.ask("{} % of the peak", Goals(75, 70), 100 * reached)
    section.ask_ratios(times, [Ask("PyTorch", 1, affine.PYTORCH), Ask("NumPy by hand", 1)])
    return section


def affine_section(
    batch: int, makers: Makers, record: Record
) -> tuple[Section, dict[str, Times], Times]:
    """Returns the table without its asks, the times, and those of the peak."""
    heading = title("Affine 1024→1024, forward and both gradients", batch, "float32")
    times, peak = record.with_peak(heading, makers)
    section = record.section(
        heading,
        f"{unit(batch)} `Graph.accumulate` with a loss behind the layer; it adds to the gradient sums, unless an "
        "update came before. The peers overwrite their gradients, by hand in arrays that are there.",
        times_table(times, affine.FLOP, peak, no_flop=[TRAFFIC], peak_name=record.peak_name),
    )
    section.compare(times, [*affine.OURS, TRAFFIC])
    return section, times, peak


def tiny_nodes(record: Record) -> list[Section]:
    fixed: Makers = {"Graph": chain.graph_passes, "jax.jit": chain.jax_jit}
    anew: Makers = {"Node path": chain.node_path, "PyTorch eager": chain.torch_eager}
    sections = []
    for kind, makers in {"a fixed graph": fixed, "built anew each time": anew}.items():
        heading = f"A chain of 1,000 nodes of length 4, forward and backward, float32: {kind}"
        times = record.times(heading, makers)
        section = record.section(heading, "Microseconds of a node.", times_table(times))
        section.compare(times, [])
        if makers is fixed:
            section.ask("{} µs a node", 0.025, times["Graph"].median, at_most=True)
        section.ask_ratios(times, [Ask("PyTorch eager", 1)])
        sections.append(section)
    return sections
