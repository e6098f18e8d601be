"""The tables about training steps with Adam, each with its asks."""

from functools import partial
from typing import NamedTuple

from benchmarks.contenders import optimizers
from benchmarks.contenders.optimizers import ADAM, DESCENT, EAGER, JIT, LOOP, UNFUSED
from benchmarks.measure.parity import checked
from benchmarks.measure.peak import gflops
from benchmarks.measure.peers import Makers
from benchmarks.measure.record import Record
from benchmarks.measure.tables import Ask, Goals, Section, number, percent, thirds_table
from benchmarks.measure.timing import Times
from benchmarks.networks.lenet import LENET_WITHOUT_PADDING
from benchmarks.networks.network import Network, training_flop
from benchmarks.networks.tanh import SURROGATE, name
from benchmarks.pages.sections import title, unit

SURROGATE_BATCH, LENET_BATCH = 10_000, 128


class Case(NamedTuple):
    """The size of a batch and the contenders; the network, where the time is compared with the floor."""

    batch: int
    makers: Makers
    network: Network | None = None


CASES = {
    title("MLP 784-64-64-10, Adam", 1, "float32"): Case(1, optimizers.sample_steps()),
    title("PPO, 17-64-64-6 and 17-64-64-1, Tanh, Adam, clipped", 64, "float32"): Case(
        optimizers.PPO_BATCH,
        optimizers.ppo_steps(),
    ),
    title(f"{name(SURROGATE)}, Adam", SURROGATE_BATCH, "float32"): Case(
        SURROGATE_BATCH,
        optimizers.batch_steps(SURROGATE.network, SURROGATE_BATCH, 1e-3),
        SURROGATE.network,
    ),
    title("LeNet-5 without padding, Adam", LENET_BATCH, "float32"): Case(
        LENET_BATCH,
        optimizers.batch_steps(LENET_WITHOUT_PADDING, LENET_BATCH, 3e-4, jax=False),
        LENET_WITHOUT_PADDING,
    ),
}


def adam_steps(record: Record) -> list[Section]:
    """Ratios are those of medians; times, and a step beside the sum of two others, those of the fastest thirds."""
    found = [compared(heading, record) for heading in CASES]
    (mlp, mlp_times), (ppo, ppo_times), (surrogate, surrogate_times), (lenet, lenet_times) = found
    bound = mlp_times[UNFUSED].fastest + 1.2 * mlp_times[LOOP].fastest
    mlp.ask("{} × unfused descent and 1.2 loops", 1, mlp_times[ADAM].fastest / bound, at_most=True)
    mlp.ask_ratios(mlp_times, [Ask("PyTorch's fused Adam", Goals(7, 9), EAGER[2:])])
    ppo.ask_ratios(ppo_times, [Ask("PyTorch eager", 5, EAGER), Ask("jax.jit", 1.2, JIT)])
    surrogate.ask(
        "{} ns a sample", Goals(95, 60), 1000 * surrogate_times[ADAM].fastest, at_most=True
    )
    lenet.ask("{} µs a sample", Goals(16, 10), lenet_times[ADAM].fastest, at_most=True)
    return [section for section, _ in found]


def compared(heading: str, record: Record) -> tuple[Section, dict[str, Times]]:
    """The table of contenders whose losses are the same after some steps, without its asks, and their times."""
    batch, makers, network = CASES[heading]
    text = f"{unit(batch)} {record.note(heading, partial(checked, makers, 'float32'))}"
    times, peak = record.with_peak(heading, makers)
    if network is not None:
        floor = training_flop(network, batch) / 1000 * peak.fastest
        share = percent(floor / times[ADAM].fastest)
        text += (
            f" At the peak of {gflops(peak):.1f} GFLOP/s, the multiply-adds of descent take {number(floor)} µs, "
            f"{share} of the time of Adam's step."
        )
    section = record.section(heading, text, thirds_table(times))
    section.compare(times, [UNFUSED, DESCENT, LOOP])
    return section, times
