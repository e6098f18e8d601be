"""Fixtures that more than one test module uses."""

import pytest

from cgraph import _kernels


@pytest.fixture(params=_kernels.available())
def build_name(request):
    """Nodes made in the test use this SIMD build; one run for each that this CPU has."""
    previous = _kernels.select(request.param)
    yield request.param
    _kernels.select(previous)
