"""The tables about moving averages of parameters, beside a loop that reads two arrays and writes one."""

from functools import partial

from benchmarks.contenders.averages import GRAPHS, LOOP, NODES, averages
from benchmarks.measure.parity import checked
from benchmarks.measure.record import Record
from benchmarks.measure.tables import Section, thirds_table

# The sizes of the layers, and the microseconds that an update between Graphs may take, or how many times a loop in C.
SMALL, MOST = (17, 64, 64, 6), 5
LARGE, RATIO = ((256, 256, 128), (1024, 1024, 10)), 1.5


def moving_averages(record: Record) -> list[Section]:
    found = []
    for sizes in (SMALL, *LARGE):
        heading = f"A moving average of {'-'.join(map(str, sizes))}, float32"
        makers = averages(sizes)
        text = f"Microseconds of an update. {record.note(heading, partial(checked, makers, 'float32'))}"
        times = record.times(heading, makers)
        section = record.section(heading, text, thirds_table(times))
        if sizes == SMALL:
            section.ask("{} µs", MOST, times[GRAPHS].median, at_most=True)
        else:
            ratio = times[GRAPHS].median / times[LOOP].median
            section.ask("{} × a loop in C", RATIO, ratio, at_most=True)
        section.compare(times, [NODES, LOOP])
        found.append(section)
    return found
