"""The table of a Graph's steps."""

from __future__ import annotations

from cgraph._execution.batches import Batches
from cgraph._lowering.cost import multiply_adds
from cgraph._lowering.program import Kind, Program, Unit

HEADER = ("step", "computes", "shape", "reads", "parameters", "multiply-adds", "batches")


def summary(program: Program, nbytes: int, batches: Batches) -> str:
    """A line for each step, one for the whole, and one for batches."""
    units = [unit for unit in program.units if unit.kind is not Kind.LEAF]
    learnt = [sum(node._parameter_count() for node in unit.nodes) for unit in units]
    rows: list[tuple[str, ...]] = [HEADER]
    layout = "lanes" if batches.choice.lanes > 1 else "samples"
    rows += [
        (*_row(i, u, n), layout) for i, (u, n) in enumerate(zip(units, learnt, strict=True), 1)
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if column in (1, 2, 3, 6) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    nbytes += batches.table_bytes[0]
    lines.append(
        f"{len(units)} steps for {len(program.order)} nodes, "
        f"{sum(learnt):,} parameters, {nbytes:,} bytes, "
        f"{sum(map(multiply_adds, units)):,} multiply-adds"
    )
    lines.append(_batches(batches))
    return "\n".join(lines)


def _batches(batches: Batches) -> str:
    """What becomes of batches."""
    choice = batches.choice
    way = "one sample at a time"
    if choice.lanes > 1:
        way = f"up to {choice.lanes} samples at a time"
        if choice.least > 1:
            way += f", from {choice.least} samples on"
    tables = f", {batches.table_bytes[1]:,} for all" if choice.lanes > 1 else ""
    return f"batches: {way}; {batches.nbytes:,} bytes for each thread{tables}"


def _row(number: int, unit: Unit, learnt: int) -> tuple[str, ...]:
    node = unit.nodes[0]
    count = len(unit.nodes)
    name = type(node).__name__
    return (
        str(number),
        f"{count} × {name}" if count > 1 else name,
        f"{node.height} × {node.width}",
        f"{len(unit.inputs)} nodes" if len(unit.inputs) != 1 else "1 node",
        f"{learnt:,}",
        f"{multiply_adds(unit):,}",
    )
