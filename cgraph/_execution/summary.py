"""The table of the steps of a Graph, which `Graph.summary` prints."""

from __future__ import annotations

from cgraph._execution.choice import Executors
from cgraph._execution.executable import Executable
from cgraph._lowering.cost import multiply_adds
from cgraph._lowering.layout import LayoutPlan, is_repeatable
from cgraph._lowering.program import FusedGroup, Kind
from cgraph._lowering.stretches import stretches

MAX_NAMES = 5  # arrays that are named at most

HEADER = ("step", "computes", "shape", "reads", "parameters", "multiply-adds", "batches")


def summary(executable: Executable) -> str:
    """Returns the table: a line for each step, one for the whole Graph, one for batches, and one for lent arrays."""
    program, executors = executable.program, executable.executors
    groups = [group for group in program.groups if group.kind is not Kind.LEAF]
    parameters = [sum(node._parameter_count() for node in group.nodes) for group in groups]
    rows: list[tuple[str, ...]] = [HEADER]
    layout_plan = executors.layouts[0 if executable.is_loss else 1]
    alone = set(groups if layout_plan.lanes == 1 else layout_plan.per_sample)
    rows += [
        (*_step_row(number, group, count), "samples" if group in alone else "lanes")
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
    once = {node._sharing or node: node._parameter_count() for node in program.order}
    nbytes = executable.arena.nbytes + executors.table_bytes[0]
    lines.append(
        f"{len(groups)} steps for {len(program.order)} nodes, "
        f"{sum(once.values()):,} parameters, {nbytes:,} bytes, "
        f"{sum(map(multiply_adds, groups)):,} multiply-adds{_joined_steps(groups)}"
    )
    lines.append(_batches_line(executors, groups, executable.is_loss))
    lines += _carry_line(executable) + _lent_line(executable)
    return "\n".join(lines)


def _joined_steps(groups: list[FusedGroup]) -> str:
    """Returns which steps run as one, since they are stretches of functions."""
    names, first = [], 1
    for part in stretches(groups):
        last = first + len(part) - 1
        names += [f"{first} to {last}"] * (last > first)
        first = last + 1
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return f"; in one pass over memory: steps {', '.join(names[:MAX_NAMES])}{more}" if names else ""


def _carry_line(executable: Executable) -> list[str]:
    """Returns a line about the samples of calls whose leaves are carried."""
    if executable.carrying is None:
        return []
    count, streams = len(executable.carrying.leaves), executable.streams
    order = f"{streams} streams side by side" if streams else "in order, one at a time"
    return [
        f"carried: {count} {'leaves' if count > 1 else 'leaf'}; the samples of a call go {order}"
    ]


def _lent_line(executable: Executable) -> list[str]:
    """Returns a line about parameters and gradient sums that are referred to, so that calls copy them."""
    lent = {id(mirror.account) for mirror in executable.residency.lent_arrays}
    names = [
        f"{name.removeprefix('_')} of {node!r}"
        for node in executable.program.order
        for name, account in getattr(node, "_loans", {}).items()
        if id(account) in lent
    ]
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return [f"referred to, and copied by each call: {', '.join(names[:MAX_NAMES])}{more}"] * bool(
        names
    )


def _batches_line(executors: Executors, groups: list[FusedGroup], is_loss: bool) -> str:
    """Returns the line about batches: their layouts, why some samples go one by one, and the memory of a thread."""
    backward, forward = executors.layouts
    python = [group for group in groups if group.kind is Kind.PYTHON]
    text = _samples_at_a_time(forward, groups)
    if is_loss and backward.lanes == forward.lanes and backward.has_steps_of(forward):
        text = _samples_at_a_time(backward, groups, forward.min_samples)
    elif is_loss:
        why = _why_one_by_one(backward, python, groups)
        text = f"{_samples_at_a_time(backward, groups)}{why}; without gradients {text}"
    if python:
        names = _class_names(python)
        text += (
            f"; in one thread, since {names} {'are' if ',' in names else 'is'} computed in Python"
        )
    tables = executors.table_bytes[1]
    more = f", {tables:,} for all" if tables or backward.lanes > 1 else ""
    return f"batches: {text}; {executors.nbytes:,} bytes for each thread{more}"


def _why_one_by_one(
    backward: LayoutPlan, python: list[FusedGroup], groups: list[FusedGroup]
) -> str:
    """Returns why what lies behind Python nodes takes one sample at a time in passes with gradients."""
    names = _class_names([group for group in python if not is_repeatable(group)])
    if not names:
        return ""
    lanes, first = backward.lanes > 1, groups[0] is python[0]
    where = "no step lies in front of them, and " if first and not lanes else ""
    return f" ({where}{names} may not compute twice: see _repeatable)"


def _class_names(groups: list[FusedGroup]) -> str:
    """Returns the names of the classes of some groups."""
    return ", ".join(dict.fromkeys(type(group.nodes[0]).__name__ for group in groups))


def _samples_at_a_time(
    layout_plan: LayoutPlan, groups: list[FusedGroup], without_gradients: int = 0
) -> str:
    """Returns how many samples a layout takes at a time, and in which of the steps it takes one.

    `without_gradients` is the least number of samples that go over lanes in forward passes alone.
    """
    if layout_plan.lanes == 1:
        return "one sample at a time"
    text = f"up to {layout_plan.lanes} samples at a time"
    if layout_plan.min_samples > 1:
        text += f", from {layout_plan.min_samples} samples on"
        if without_gradients not in (0, layout_plan.min_samples):
            text += f" ({without_gradients} without gradients)"
    if layout_plan.per_sample:
        first = groups.index(layout_plan.per_sample[0]) + 1
        last = first + len(layout_plan.per_sample) - 1
        steps = f"steps {first} to {last}" if last > first else f"step {first}"
        text += f", but one in {steps}"
    return text


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
