"""The tables about Jacobians, each with its asks."""

from functools import partial
from itertools import product

from benchmarks.contenders.jacobians import JACREV, JIT, jacobians
from benchmarks.measure.parity import checked
from benchmarks.measure.record import Record
from benchmarks.measure.tables import Ask, Goals, Section, thirds_table
from benchmarks.networks.tanh import DYNAMICS, name
from benchmarks.pages.sections import title

BATCHES, DTYPES = (128, 1), ("float32", "float64")


def by_inputs(record: Record) -> list[Section]:
    """A table for each batch and dtype; the asks are about the larger batch. Ratios are those of medians."""
    return [compared(record, batch, dtype) for batch, dtype in product(BATCHES, DTYPES)]


def compared(record: Record, batch: int, dtype: str) -> Section:
    heading = title(f"{name(DYNAMICS)}, Jacobian by the inputs", batch, dtype)
    makers = jacobians(DYNAMICS, dtype, batch)
    text = f"Microseconds of a call. {record.note(heading, partial(checked, makers, dtype))}"
    times = record.times(heading, makers)
    section = record.section(heading, text, thirds_table(times))
    section.compare(times, [])
    if batch == BATCHES[0]:
        section.ask_ratios(times, [Ask(JACREV, 8), Ask(JIT, Goals(1, 1.5))])
    return section
