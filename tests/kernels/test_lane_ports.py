"""Ports copy consecutive samples into lanes and back, and write nothing else."""

import numpy as np
import pytest
from lane_arena import Arena, kernels, lanes_of

from cgraph._kernels.runtime import plan
from cgraph._kernels.runtime.request import Feeds, Request

pytestmark = [
    pytest.mark.usefixtures("build_name"),
    pytest.mark.thread_unsafe(reason="selects kernels for all threads"),
]

NOBODY, OUTSIDE = -7, -8  # the content of an arena, and of the memory around samples
NOTHING = plan.Steps([])
SIZES = [*range(1, 41), 84]
AT = 64  # the node's offset


def arena(size, lanes, dtype):
    return Arena(np.full(AT + size * lanes + 64, NOBODY, dtype), np.zeros(1, dtype))


def rows_of(count, size, dtype):
    """Returns samples whose elements all differ, and the larger array that surrounds them."""
    around = np.full(count * size + 128, OUTSIDE, dtype)
    rows = around[64:-64].reshape(count, size)
    rows[:] = np.arange(1, rows.size + 1).reshape(rows.shape)
    return rows, around


def run(arena, lanes, feed_ports, fetch_port, arrays, out, count, kept=(), origin=None):
    """Runs a pass without steps, which only copies samples."""
    origin = origin or arena
    binding = plan.Binding(
        NOTHING, arena.memory, lanes, feed_ports, fetch_port, list(kept), origin.memory
    )
    request = Request(None, Feeds([], arrays, count), out, parameters_only=True)
    schedule = plan.Schedule(request, [binding], bytes(1), 1000)
    plan.run(plan.prepare(request, schedule, NOTHING, grads_are_zero=False))


def node_lanes(arena, size, lanes):
    """Returns the node's lanes, and asserts that the memory around them is unchanged."""
    assert (arena.data[:AT] == NOBODY).all()
    assert (arena.data[AT + size * lanes :] == NOBODY).all()
    return arena.data[AT : AT + size * lanes].reshape(size, lanes)


def counts(lanes):
    return range(1, lanes + 1) if lanes <= 16 else (1, 17, lanes - 1, lanes)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("multiple", [1, 4])
def test_samples_go_into_lanes_and_come_back(dtype, multiple):
    lanes = lanes_of(dtype) * multiple
    for size in SIZES:
        port = kernels(dtype).lanes_ports.LanePort(AT, size, lanes)
        assert port.nbytes == size * np.dtype(dtype).itemsize
        for count in counts(lanes):
            rows, _ = rows_of(count, size, dtype)
            back, around = rows_of(count, size, dtype)
            back[:] = 0
            inside = arena(size, lanes, dtype)
            run(inside, lanes, [port], port, [rows], back, count)
            node = node_lanes(inside, size, lanes)
            assert (node[:, :count] == rows.T).all()
            assert np.isin(node[:, count:], (NOBODY, 0)).all()
            assert (back == rows).all()
            assert (around[:64] == OUTSIDE).all()
            assert (around[-64:] == OUTSIDE).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_one_sample_may_stand_in_all_lanes(dtype):
    origin = Arena(np.arange(100, dtype=dtype), np.zeros(1, dtype))
    for lanes in (lanes_of(dtype), 4 * lanes_of(dtype)):
        for size in SIZES:
            port = kernels(dtype).lanes_ports.LanePort(AT, size, lanes)
            inside, (back, _) = arena(size, lanes, dtype), rows_of(1, size, dtype)
            kept = [(port, 3 * np.dtype(dtype).itemsize)]
            run(inside, lanes, [], port, [], back, 1, kept, origin)
            expected = np.arange(3, 3 + size)
            assert (node_lanes(inside, size, lanes) == expected[:, None]).all()
            assert (back == expected).all()
