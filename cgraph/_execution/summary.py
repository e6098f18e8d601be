"""The table of the steps of a Graph, which `Graph.summary` prints."""

from __future__ import annotations

from cgraph._execution.batches import Batches
from cgraph._lowering.cost import multiply_adds
from cgraph._lowering.program import FusedGroup, Kind, Program

HEADER = ("step", "computes", "shape", "reads", "parameters", "multiply-adds", "batches")


def summary(program: Program, nbytes: int, batches: Batches) -> str:
    """Returns the table: a line for each step, one for the whole Graph, and one for batches."""
    groups = [group for group in program.groups if group.kind is not Kind.LEAF]
    parameters = [sum(node._parameter_count() for node in group.nodes) for group in groups]
    rows: list[tuple[str, ...]] = [HEADER]
    layout = "lanes" if batches.layout_plan.lanes > 1 else "samples"
    rows += [
        (*_step_row(number, group, count), layout)
        for number, (group, count) in enumerate(zip(groups, parameters, strict=True), 1)
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
        f"{len(groups)} steps for {len(program.order)} nodes, "
        f"{sum(parameters):,} parameters, {nbytes:,} bytes, "
        f"{sum(map(multiply_adds, groups)):,} multiply-adds"
    )
    lines.append(_batches_line(batches))
    return "\n".join(lines)


def _batches_line(batches: Batches) -> str:
    """Returns the line about batches: their layout, and the memory of a thread."""
    layout_plan = batches.layout_plan
    samples = "one sample at a time"
    if layout_plan.lanes > 1:
        samples = f"up to {layout_plan.lanes} samples at a time"
        if layout_plan.min_samples > 1:
            samples += f", from {layout_plan.min_samples} samples on"
    tables = f", {batches.table_bytes[1]:,} for all" if layout_plan.lanes > 1 else ""
    return f"batches: {samples}; {batches.nbytes:,} bytes for each thread{tables}"


def _step_row(number: int, group: FusedGroup, parameters: int) -> tuple[str, ...]:
    node = group.nodes[0]
    count = len(group.nodes)
    name = type(node).__name__
    return (
        str(number),
        f"{count} × {name}" if count > 1 else name,
        f"{node.height} × {node.width}",
        f"{len(group.inputs)} nodes" if len(group.inputs) != 1 else "1 node",
        f"{parameters:,}",
        f"{multiply_adds(group):,}",
    )
