"""The schedules of learning rates, by their values at ends, middles and beyond."""

import math

import pytest

from cgraph import schedules

CASES = [
    (schedules.constant(0.3), {0: 0.3, 7: 0.3}),
    (schedules.linear(1.0, 0.5, 10), {0: 1.0, 5: 0.75, 10: 0.5, 99: 0.5}),
    (schedules.exponential(2.0, 0.5), {0: 2.0, 1: 1.0, 3: 0.25}),
    (schedules.step(1.0, 0.1, 3), {0: 1.0, 2: 1.0, 3: 0.1, 6: 0.01}),
    (schedules.cosine(1.0, 8), {0: 1.0, 4: 0.5, 8: 0.0, 20: 0.0}),
    (schedules.cosine(1.0, 8, end=0.2), {0: 1.0, 2: 0.6 + 0.4 * math.sqrt(0.5), 8: 0.2}),
    (schedules.warmup(3, 0.4), {0: 0.1, 1: 0.2, 2: 0.3, 3: 0.4, 50: 0.4}),
    (schedules.warmup(1, schedules.linear(1.0, 0.0, 2)), {0: 0.5, 1: 1.0, 2: 0.5, 3: 0.0}),
    (schedules.one_cycle(1.0, 100), {0: 0.04, 15: 0.52, 30: 1.0, 65: 0.5, 100: 0.0, 101: 0.0}),
    (schedules.piecewise([2, 5], [3.0, 2.0, 1.0]), {0: 3.0, 1: 3.0, 2: 2.0, 4: 2.0, 5: 1.0}),
    (schedules.piecewise([], [3.0]), {0: 3.0, 9: 3.0}),
]


@pytest.mark.parametrize(("schedule", "values"), CASES)
def test_values(schedule, values):
    for update, value in values.items():
        assert schedule(update) == pytest.approx(value, abs=1e-15)
