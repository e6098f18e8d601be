"""The memory that batches take does not grow, neither with their size nor with their number."""

import gc
import os
import sys
import tracemalloc

import numpy as np
import pytest
from batch_settings import every_setting
from graph_networks import nodes_of, sparse_lenet
from threaded_graphs import small_problem

import cgraph as CG

pytestmark = [
    pytest.mark.thread_unsafe(reason="watches the memory of the process"),
    pytest.mark.usefixtures("eager_threads"),
]


def resident():
    """Returns the resident memory in bytes; 0 where the system does not report it."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


@every_setting
def test_memory_does_not_grow_with_the_number_of_samples(setting):
    """Memory of Python, of NumPy and of the process: each thread has the same blocks for any number of samples."""
    nodes = nodes_of(sparse_lenet, "float32")
    graph = CG.Graph(nodes[-1], **setting._asdict())
    most = 5128
    rng = np.random.default_rng(0)
    feed = {x: rng.uniform(-1, 1, (most, x.size)).astype("float32") for x in graph.leaves}
    # Behind the full blocks of each thread the same number of samples remains, 0 or 8.
    few = {leaf: rows[:1032] for leaf, rows in feed.items()}
    out = np.empty((most, 1), "float32")
    graph.predict(few, out=out[:1032])
    before, graph_bytes = resident(), graph._executable.arena.nbytes
    tracemalloc.start()
    try:
        graph.predict(feed, out=out)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 100_000
    assert resident() - before < 2_000_000
    assert graph._executable.arena.nbytes == graph_bytes


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

    work(500)  # until Python's free lists are full
    blocks, before = work(10)
    blocks_after, after = work(200)
    assert blocks_after - blocks < 100
    assert after - before < 1_000_000


def many_groups(channels):
    """(Graph over lanes, feed): convolutions each of which reads about half of the channels."""
    rng = np.random.default_rng(0)
    x = CG.Leaf2(12, 12, dtype="f4")
    kernels = rng.normal(size=(channels, 1, 3, 3))
    read = [CG.Convolution2d([x], k, 0.0, 1, 1, 1, 12, 12) for k in kernels]
    last = []
    for _ in range(channels):
        inputs = [c for c in read if rng.random() < 0.5]
        kernel = rng.normal(size=(len(inputs), 5, 5))
        last.append(CG.Convolution2d(inputs, kernel, 0.0, 1, 2, 2, 12, 12))
    loss = CG.Norm2(CG.Concatenation(last))
    return CG.Graph(loss, layout="lanes", threads=1), {x: rng.normal(size=(16, 12, 12))}


def test_the_tables_of_steps_are_counted_and_small():
    """A term for each group, tap and area would be 10 MB, and ten times as much while the table is made."""
    graph, feed = many_groups(40)
    tracemalloc.start()
    try:
        graph.step(feed, 0.0)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    tables = sum(graph._executable.executors.table_bytes)
    assert 40 * 16 * 20 < tables < 1_000_000  # at least an entry for each connection
    assert peak < graph._executable.executors.nbytes + 2_000_000


FORMS = {
    "another dtype": lambda a: a.astype("f4"),
    "strided": lambda a: np.repeat(a, 2, axis=0)[::2],
    "unaligned": lambda a: np.frombuffer(b"x" + a.tobytes(), a.dtype, offset=1).reshape(a.shape),
    "list": lambda a: a.tolist(),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_copy_of_a_feed_does_not_outlive_its_call(form):
    x = CG.Leaf1(100)
    graph = CG.Graph(CG.Norm2(x))
    feed = {x: FORMS[form](np.arange(1e5).reshape(1000, 100))}
    graph.predict({x: np.ones((1000, 100))})
    tracemalloc.start()
    try:
        graph.predict(feed)
        assert tracemalloc.get_traced_memory()[0] < 100_000  # the copy has eight times as many
        tracemalloc.reset_peak()
        graph.sample(7)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()
    assert x.data.tolist() == list(range(700, 800))
