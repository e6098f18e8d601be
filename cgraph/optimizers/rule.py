"""Rule: what an optimiser with a compiled rule says of it."""

from __future__ import annotations

from typing import NamedTuple


class Rule(NamedTuple):
    """A compiled rule.

    Attributes
    ----------
    name : str
        One of RULES in cgraph/_kernels/runtime/optimizer_step.pyx.
    states : tuple of str or None
        The names of its arrays of state, as torch.optim calls them; None where it does without one.
    """

    name: str
    states: tuple[str | None, ...]
