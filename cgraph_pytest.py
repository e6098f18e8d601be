"""pytest plugin: the fixture `gradcheck`, for suites that check the gradients of graphs and of a user's node classes.

The plugin imports cgraph when a test first requests the fixture, so suites that do not use it pay no import.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from cgraph import GradientReport


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("cgraph")
    group.addoption(
        "--gradcheck-eps",
        type=float,
        default=None,
        metavar="STEP",
        help="step of the fixture gradcheck's differences, relative to max(1, abs(u))",
    )
    group.addoption(
        "--gradcheck-mode",
        choices=("full", "projection"),
        default="full",
        help="whether the fixture gradcheck moves every element (the default) or random directions",
    )


@pytest.fixture(scope="session")
def gradcheck(pytestconfig: pytest.Config) -> Callable[..., GradientReport]:
    """`cgraph.gradcheck`, with eps and mode from the command line by default."""
    from cgraph import gradcheck

    return partial(
        gradcheck,
        eps=pytestconfig.getoption("--gradcheck-eps"),
        mode=pytestconfig.getoption("--gradcheck-mode"),
    )
