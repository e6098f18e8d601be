"""pytest plugin: the fixture `gradcheck`, for suites that check the gradients of graphs and of own node classes.

cgraph itself is imported when the fixture is first asked for, so the plugin costs other suites nothing.
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
    """`cgraph.gradcheck`, with step and mode from the command line where a call does not give them."""
    from cgraph import gradcheck

    return partial(
        gradcheck,
        eps=pytestconfig.getoption("--gradcheck-eps"),
        mode=pytestconfig.getoption("--gradcheck-mode"),
    )
