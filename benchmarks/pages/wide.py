"""Wide layers, as percentages of the peak: which ones fall behind although they have arithmetic enough."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from benchmarks.contenders import wide
from benchmarks.contenders.wide import (
    AFFINES,
    BATCHES,
    CHANNELS,
    CONVOLUTIONS,
    ELEMENTS,
    FORWARD,
    IMAGES,
    ITEMSIZE,
    KERNELS,
    MOST_FLOP,
    WITH_BOTH,
    WITH_KERNEL,
    Affine,
    Convolution,
    WideLayer,
)
from benchmarks.measure.bandwidth import bandwidth, traffic_makers
from benchmarks.measure.peers import Makers
from benchmarks.measure.record import Record
from benchmarks.measure.tables import Goals, Section, share_of_all, table
from benchmarks.measure.timing import Times

# A part has arithmetic enough if moving its bytes once takes at most half as long as its FLOP at the peak: then it can
# reach two thirds of the peak even if it does one after the other.
MOVING, LEAST = 0.5, 0.6
TRAFFIC = "memory traffic"
PARTS = ("forward", "input gradient", "kernel gradient")


class Cell(NamedTuple):
    """A layer on a batch, whose samples are in lanes or come one after the other."""

    layer: WideLayer
    batch: int
    lanes: bool = False

    @property
    def title(self) -> str:
        return f"{self.layer.name}, B = {self.batch}{', lanes' if self.lanes else ''}"

    def makers(self) -> Makers:
        return (wide.in_lanes if self.lanes else wide.one_by_one)(self.layer, self.batch)

    def nbytes(self, side_by_side: int) -> int:
        """The bytes that each part of the work reads or writes at least once, for the samples that share weights."""
        data, weights = self.layer.elements
        return ITEMSIZE * (data * side_by_side + weights)


class Result(NamedTuple):
    """The shares of the peak of each part of a cell, and whether it has arithmetic enough."""

    shares: Mapping[str, float]
    enough: bool

    @property
    def parts(self) -> Iterable[str]:
        """The parts of which there are shares, each as small as can be."""
        return PARTS if PARTS[1] in self.shares else ("forward", "both gradients")

    @property
    def together(self) -> float:
        """The share of the peak that a forward pass and both gradients reach."""
        return share_of_all({part: self.shares[part] for part in self.parts})

    def behind(self, part: str) -> bool:
        return self.enough and self.shares[part] < LEAST

    def text(self) -> str:
        """The shares of all parts in percent, those that are behind in bold letters."""
        shown = {part: f"{100 * self.shares[part]:.0f}" for part in self.parts}
        return " / ".join(
            f"**{value}**" if self.behind(part) else value for part, value in shown.items()
        )


def cells() -> Iterable[Cell]:
    """All cells that are not too large; of convolutions over lanes, those for which a Graph may choose that."""
    for layer in CONVOLUTIONS:
        for batch in BATCHES:
            if layer.flop * batch <= MOST_FLOP:
                yield Cell(layer, batch)
                if batch > 1:
                    yield Cell(layer, batch, lanes=True)
    for affine in AFFINES:
        for batch in BATCHES:
            yield Cell(affine, batch, lanes=batch > 1)


def results(record: Record) -> dict[Cell, Result]:
    """The shares of all cells."""
    moved = record.times(TRAFFIC, traffic_makers())
    found = {}
    for cell in cells():
        makers = {} if record.replays else cell.makers()
        if makers or record.has(cell.title):
            times, peak = record.with_peak(cell.title, makers)
            found[cell] = result(cell, times, peak, moved)
    return found


def result(
    cell: Cell, times: Mapping[str, Times], peak: Times, moved: Mapping[str, Times]
) -> Result:
    own = {part: each.fastest for part, each in times.items()}
    arithmetic = cell.layer.flop / 1000 * peak.fastest
    shares = {
        "forward": arithmetic / own[FORWARD],
        "both gradients": 2 * arithmetic / (own[WITH_BOTH] - own[FORWARD]),
    }
    if WITH_KERNEL in own:
        shares["input gradient"] = arithmetic / (own[WITH_BOTH] - own[WITH_KERNEL])
        shares["kernel gradient"] = arithmetic / (own[WITH_KERNEL] - own[FORWARD])
    together = cell.batch if cell.lanes else 1
    nbytes = cell.nbytes(together)
    moving = nbytes / together / 1000 / bandwidth(moved, nbytes)
    return Result(shares, moving <= MOVING * arithmetic)


def wide_layers(record: Record) -> list[Section]:
    """The tables of all layers, with their goals."""
    found = results(record)
    behind = [(cell, part) for cell, own in found.items() for part in own.parts if own.behind(part)]
    counted = sum(len(list(own.parts)) for own in found.values() if own.enough)
    first = convolution_section(found, 1, record)
    first.text = (
        f"Percentages of the {record.peak_name}: forward / input gradient / kernel gradient. Bold: below "
        f"{100 * LEAST:.0f} % although there is arithmetic enough, which is so where moving the bytes of input, output "
        f"and weights once takes at most half as long as the FLOP at the peak. {len(behind)} of {counted} figures with "
        "arithmetic enough, on this page and in the raw results, are below that. Bandwidth by working set: "
        f"{bandwidths(record)}. FLOP include products with the padding. No cell: more than "
        f"{MOST_FLOP / 1e9:.0f} GFLOP in a part of a call. The compiled step takes one sample after the other."
    )
    first.ask("{} % of the peak", Goals(75, 65), *lowest_of_channels(found))
    if behind:
        cell, part = min(behind, key=lambda each: found[each[0]].shares[each[1]])
        work = f"wide layers with arithmetic enough, the lowest ({cell.title}, {part})"
        first.ask("{} % of the peak", 100 * LEAST, 100 * found[cell].shares[part], work=work)
    return [
        first,
        convolution_section(found, 8, record),
        lanes_section(found, record),
        affine_section(found, record),
    ]


def lowest_of_channels(found: Mapping[Cell, Result]) -> tuple[float, bool, str]:
    """The arguments of Section.ask about 3×3 kernels on one image of 14×14, over 32 to 512 channels."""
    asked = {channels: found[Cell(Convolution(channels, 3, 1, 14), 1)] for channels in CHANNELS[1:]}
    channels = min(asked, key=lambda channels: asked[channels].together)
    work = f"32 to 512 channels, 3×3, 14×14, forward and both gradients, the lowest ({channels} channels)"
    return 100 * asked[channels].together, False, work


def bandwidths(record: Record) -> str:
    return ", ".join(
        f"{int(size) // 1024:,} kB {1 / own.fastest:.0f} GB/s"
        for size, own in record.times(TRAFFIC).items()
    )


def convolution_section(found: Mapping[Cell, Result], batch: int, record: Record) -> Section:
    rows = []
    for kernel in KERNELS:
        for size in IMAGES:
            row = [
                found.get(Cell(Convolution(channels, kernel, 1, size), batch))
                for channels in CHANNELS
            ]
            cells = ["" if own is None else own.text() for own in row]
            rows.append([f"{kernel}×{kernel}, {size}×{size}", *cells])
    return record.section(
        f"Convolutions of 16 to 512 channels, B = {batch}, float32",
        "As above; gradients of the kernels are added up after the first sample.",
        table(["channels", *map(str, CHANNELS)], rows),
    )


def lanes_section(found: Mapping[Cell, Result], record: Record) -> Section:
    """Only layers for which a Graph chooses lanes."""
    shown = [
        [cell.title.removesuffix(", lanes"), own.text()]
        for cell, own in found.items()
        if cell.lanes and isinstance(cell.layer, Convolution)
    ]
    return record.section(
        "Convolutions over lanes, float32",
        "Percentages of the peak: forward / both gradients, of the layers that a Graph computes with samples side by "
        "side. These leave products with the padding out, so that they may be above 100 %.",
        table(["", "forward / both gradients"], shown),
    )


def affine_section(found: Mapping[Cell, Result], record: Record) -> Section:
    rows = [
        [
            str(size),
            *(found[Cell(Affine(size), batch, lanes=batch > 1)].text() for batch in BATCHES),
        ]
        for size in ELEMENTS
    ]
    return record.section(
        "Affine layers of 64 to 4,096 elements, float32",
        "Percentages of the peak: forward / input gradient / kernel gradient of the step of a Graph; over lanes for 8 "
        "and 64 samples.",
        table(["elements", *(f"B = {batch}" for batch in BATCHES)], rows),
    )
