"""The table of a Graph's steps."""

from __future__ import annotations

from cgraph._steps import multiply_adds
from cgraph.lowering import Kind, Program, Unit

HEADER = ("step", "computes", "shape", "reads", "parameters", "multiply-adds")


def summary(program: Program, nbytes: int) -> str:
    """A line for each step, and one for the whole."""
    units = [unit for unit in program.units if unit.kind is not Kind.LEAF]
    learnt = [sum(node._parameter_count() for node in unit.nodes) for unit in units]
    rows: list[tuple[str, ...]] = [HEADER]
    rows += [_row(i, u, n) for i, (u, n) in enumerate(zip(units, learnt, strict=True), 1)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if column in (1, 2, 3) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    lines.append(
        f"{len(units)} steps for {len(program.order)} nodes, "
        f"{sum(learnt):,} parameters, {nbytes:,} bytes, "
        f"{sum(map(multiply_adds, units)):,} multiply-adds"
    )
    return "\n".join(lines)


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
