"""The tables about networks with Tanh: training steps, the gradient alone, a prediction."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from benchmarks.contenders import tanh
from benchmarks.contenders.tanh import EAGER, JIT
from benchmarks.contenders.training import GRAPH_TRAIN, SCAN
from benchmarks.measure.parity import checked
from benchmarks.measure.peers import Makers
from benchmarks.measure.record import Record
from benchmarks.measure.tables import Ask, Goals, Section, thirds_table
from benchmarks.measure.timing import QUICK, Times
from benchmarks.networks.mlp import Layers
from benchmarks.networks.tanh import CURVE, POLICY, SURROGATE, name
from benchmarks.pages.sections import title, unit


class Case(NamedTuple):
    """What is done with a network on a batch, by which contenders."""

    work: str
    layers: Layers
    dtype: str
    batch: int
    contenders: Callable[[Layers, str, int], Makers]

    @property
    def title(self) -> str:
        return title(f"{name(self.layers)}, {self.work}", self.batch, self.dtype)

    @property
    def makers(self) -> Makers:
        return self.contenders(self.layers, self.dtype, self.batch)


CASES = (
    Case("training step", SURROGATE, "float32", 10_000, tanh.steps),
    Case("loss and gradient", CURVE, "float64", 200, tanh.gradients),
    Case("training step", POLICY, "float32", 64, tanh.steps),
    Case("prediction", POLICY, "float32", 1, tanh.predictions),
    Case("training step", SURROGATE, "float32", 1, tanh.steps),
)


def networks(record: Record) -> list[Section]:
    """A table for each case, with its asks: ratios of medians, and calls by the fastest third of their chunks."""
    sections, times = zip(*(compared(case, record) for case in CASES), strict=True)
    ours = [
        next(iter(own.values())).fastest * case.batch
        for own, case in zip(times, CASES, strict=True)
    ]
    batch, gradient, policy, prediction, sample = sections
    batch.ask("{} ns a sample", Goals(90, 55), 1000 * ours[0] / CASES[0].batch, at_most=True)
    batch.ask_ratios(times[0], [Ask("jax.jit", 1, JIT)])
    gradient.ask("{} µs", Goals(12, 8), ours[1], at_most=True)
    asks = [Ask("PyTorch eager", 5, EAGER), Ask("jax.jit", 1.2, JIT)]
    policy.ask_ratios(times[2], asks)
    prediction.ask("{} µs", 2.5, ours[3], at_most=True)
    sample.ask("{} µs", 2.5, ours[4], at_most=True)
    return list(sections)


def compared(case: Case, record: Record) -> tuple[Section, dict[str, Times]]:
    """The table of contenders that compute the same numbers, without its asks, and their times.

    torch.compile takes seconds for each table, so it takes no part at a glance.
    """
    makers = case.makers
    if case.contenders is tanh.steps and record.effort != QUICK:
        makers = {**makers, tanh.COMPILED: tanh.compiled_step(case.layers, case.dtype, case.batch)}
    text = f"{unit(case.batch)} {record.note(case.title, partial(checked, makers, case.dtype))}"
    times = record.times(case.title, makers)
    scans = [times[scan].median for scan in SCAN if scan in times]
    if scans:
        faster = min(scans) / times[GRAPH_TRAIN].median
        text += f" `Graph.train` is {faster:.2f} times as fast as jax.lax.scan."
    section = record.section(case.title, text, thirds_table(times))
    section.compare(times, [GRAPH_TRAIN, "`Graph.predict`, out", *SCAN])
    return section, times
