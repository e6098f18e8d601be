"""The memory that batches take does not grow, neither with their size nor with their number."""

import gc
import os
import sys
import tracemalloc

import numpy as np
import pytest
from batch_problems import small_problem
from batch_ways import every_way
from graph_networks import nodes_of, sparse_lenet

import cgraph as CG

pytestmark = [
    pytest.mark.thread_unsafe(reason="watches the memory of the process"),
    pytest.mark.usefixtures("eager_threads"),
]


def resident():
    """In bytes; 0 where the system does not tell."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


@every_way
def test_memory_does_not_grow_with_the_number_of_samples(way):
    """Of Python and NumPy, and of the process: blocks of samples are as many as threads, however many samples."""
    nodes = nodes_of(sparse_lenet, "float32")
    graph = CG.Graph(nodes[-1], **way._asdict())
    most = 5000
    rng = np.random.default_rng(0)
    feed = {x: rng.uniform(-1, 1, (most, x.size)).astype("float32") for x in graph.leaves}
    few = {leaf: rows[:1000] for leaf, rows in feed.items()}  # as many are left over
    out = np.empty((most, 1), "float32")
    graph.predict(few, out=out[:1000])
    before, graph_bytes = resident(), graph._arena.nbytes
    tracemalloc.start()
    try:
        graph.predict(feed, out=out)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 100_000
    assert resident() - before < 2_000_000
    assert graph._arena.nbytes == graph_bytes


def test_batches_leave_nothing_behind():
    graph, feed = small_problem()
    few = {leaf: rows[:34] for leaf, rows in feed.items()}

    def work(rounds):
        for _ in range(rounds):
            graph.accumulate(few)
            graph.train(few, 1e-3, batch=16)
            graph.predict(few)
        gc.collect()
        return sys.getallocatedblocks(), resident()

    work(500)  # until Python's own stores of freed objects are full
    blocks, before = work(10)
    blocks_after, after = work(200)
    assert blocks_after - blocks < 100
    assert after - before < 1_000_000
