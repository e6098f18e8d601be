"""The picture of wide layers: the time of a convolution against its channels, beside PyTorch and JAX."""

from pathlib import Path

from benchmarks.contenders.wide import CHANNELS, Convolution, all_parts
from benchmarks.measure.record import Record
from benchmarks.measure.tables import Section
from benchmarks.pages.plots import Row, curves, panels
from benchmarks.pages.scaling import medians, sizes_table

KERNEL, SIZE = 3, 14
BATCHES = (1, 8)


def channel_rows(record: Record) -> dict[int, dict[int, Row]]:
    """For each batch and number of channels the medians; of PyTorch's memory formats, that of the faster one."""
    return {
        batch: {channels: channel_row(channels, batch, record) for channels in CHANNELS}
        for batch in BATCHES
    }


def channel_row(channels: int, batch: int, record: Record) -> Row:
    layer = Convolution(channels, KERNEL, 1, SIZE)
    title = f"forward and both gradients, {layer.name}, B = {batch}"
    return medians(title, all_parts(layer, batch), record)


def beside_peers(record: Record) -> list[Section]:
    return [
        record.section(
            f"Channels beside peers, {KERNEL}×{KERNEL}, {SIZE}×{SIZE}, B = {batch}, float32",
            "Microseconds of a sample, forward and both gradients, medians; PyTorch in the faster of its two memory "
            "formats; cgraph's compiled step alone, one sample after the other.",
            sizes_table(rows),
        )
        for batch, rows in channel_rows(record).items()
    ]


def draw_channels(path: Path, record: Record) -> None:
    heading = f"Convolutions {KERNEL}×{KERNEL} on {SIZE}×{SIZE}, forward and both gradients, float32, one thread"
    with panels(path, heading, sharey=True) as axes:
        for own, (batch, rows) in zip(axes, channel_rows(record).items(), strict=True):
            curves(own, list(rows), list(rows.values()), f"channels, B = {batch}")
        axes[0].legend(frameon=False)
