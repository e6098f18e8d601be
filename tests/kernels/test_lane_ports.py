"""Ports copy consecutive samples into lanes and back, and write nothing else."""

import itertools

import numpy as np
import pytest
from guard_pages import EDGES, guarded, needs_guard_pages
from lane_arena import Arena, blocks_of, kernels, lanes_of, vector_of

from cgraph._kernels.runtime import plan
from cgraph._kernels.runtime.request import Feeds, Request
from cgraph._kernels.runtime.step import ChannelPort

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
        NOTHING, arena.memory, lanes, feed_ports, [fetch_port], list(kept), origin.memory
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
@pytest.mark.parametrize("halves", [1, 2, 8])
def test_samples_go_into_lanes_and_come_back(dtype, halves):
    lanes = lanes_of(dtype) * halves // 2
    for size in SIZES:
        port = kernels(dtype, lanes).elementwise.LanePort(AT, size, lanes)
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


def at_edge(region, count, edge):
    """Returns the elements of a guarded region that lie at this end."""
    return region[:count] if edge == "begin" else region[len(region) - count :]


@needs_guard_pages
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("edge", EDGES)
def test_nothing_beside_the_rows_is_read_or_written(dtype, edge):
    """Rows up to two vectors long, in every block, directly behind or in front of guard pages."""
    vector, most = vector_of(dtype), max(blocks_of(dtype))
    fed, fetched = (guarded(most * (2 * vector + 1), dtype, edge) for _ in "12")
    fed[:] = np.arange(1, fed.size + 1)
    for lanes, size in itertools.product(blocks_of(dtype), range(1, 2 * vector + 2)):
        port = kernels(dtype, lanes).elementwise.LanePort(AT, size, lanes)
        for count in range(1, lanes + 1):
            rows, back = (at_edge(x, count * size, edge).reshape(-1, size) for x in (fed, fetched))
            fetched[:] = OUTSIDE
            inside = arena(size, lanes, dtype)
            run(inside, lanes, [port], port, [rows], back, count)
            assert (node_lanes(inside, size, lanes)[:, :count] == rows.T).all()
            assert (back == rows).all()
            assert (fetched != OUTSIDE).sum() == back.size


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_any_part_of_a_square_is_transposed(dtype):
    """Any number of rows of any number of elements up to a vector; lanes behind the last row are set to 0.

    These are the numbers that v_transpose_part is given: rows that begin whole vectors within the array, and the
    others are copied by elements.
    """
    vector, lanes = vector_of(dtype), blocks_of(dtype)[2]
    for whole, size in itertools.product(range(1, vector + 1), repeat=2):
        by_elements = -(-(vector - size) // size)
        count = whole + by_elements
        port = kernels(dtype, lanes).elementwise.LanePort(AT, size, lanes)
        rows, _ = rows_of(count, size, dtype)
        back, around = rows_of(count, size, dtype)
        back[:] = 0
        inside = arena(size, lanes, dtype)
        run(inside, lanes, [port], port, [rows], back, count)
        expected = np.full((size, lanes), NOBODY, dtype)
        expected[:, :vector] = 0
        expected[:, :count] = rows.T
        assert (node_lanes(inside, size, lanes) == expected).all()
        assert (back == rows).all()
        assert (around[:64] == OUTSIDE).all()
        assert (around[-64:] == OUTSIDE).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_one_sample_may_stand_in_all_lanes(dtype):
    origin = Arena(np.arange(100, dtype=dtype), np.zeros(1, dtype))
    for lanes in blocks_of(dtype):
        for size in SIZES:
            port = kernels(dtype, lanes).elementwise.LanePort(AT, size, lanes)
            inside, (back, _) = arena(size, lanes, dtype), rows_of(1, size, dtype)
            kept = [(port, 3 * np.dtype(dtype).itemsize)]
            run(inside, lanes, [], port, [], back, 1, kept, origin)
            expected = np.arange(3, 3 + size)
            assert (node_lanes(inside, size, lanes) == expected[:, None]).all()
            assert (back == expected).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_channel_of_a_group_is_fetched_alone(dtype):
    inside, item = arena(5, 4, dtype), np.dtype(dtype).itemsize
    inside.data[AT : AT + 20] = np.arange(20)
    for channel in range(4):
        port = ChannelPort((AT + channel) * item, 5, 4 * item, item)
        back, around = rows_of(1, 5, dtype)
        run(inside, 1, [], port, [], back, 1)
        assert port.nbytes == 5 * item
        assert back.tolist() == [[channel + 4 * i for i in range(5)]]
        assert (around[:64] == OUTSIDE).all()
        assert (around[-64:] == OUTSIDE).all()
