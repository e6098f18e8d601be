"""Depth, breadth and threads: linear work, no call stack, no state shared between graphs."""

import subprocess
import sys
import threading
from itertools import pairwise

import numpy as np
import pytest
from amounts import full
from own_nodes import Recorder

import cgraph as CG
from cgraph._lowering.program import Buffer, FusedGroup

pytestmark = pytest.mark.thread_unsafe(reason="starts processes and threads, and is long")

DEPTH = 20_000
FAN_OUT = 10_000


@pytest.mark.parametrize("depth", [DEPTH, full(5 * DEPTH)])
def test_a_long_chain_goes_forward_backward_and_through_update(depth):
    x = CG.Leaf1(1)
    x.getInput([2.0])
    first = end = CG.Affine(x, [[3.0], [1.0]])
    for _ in range(depth):
        end = CG.ReLU(end)
    x.forwardPropagation()
    end.backwardPropagation()
    assert end.data.tolist() == [7]
    assert x.grad.tolist() == [3]
    end.update(0.5)
    assert first.weight.tolist() == [[2], [0.5]]
    assert len(CG.ancestors(end)) == depth + 2
    assert len(CG.parameters(end)) == 1


def test_a_fan_out_of_10_000_comes_together_again():
    x = CG.Leaf1(1)
    x.getInput([3.0])
    joined = CG.Concatenation([CG.ReLU(x) for _ in range(FAN_OUT)])
    end = CG.Dots(joined, joined)
    x.forwardPropagation()
    end.backwardPropagation()
    end.update(0.1)
    assert end.data.tolist() == [9 * FAN_OUT]
    assert x.grad.tolist() == [6 * FAN_OUT]
    assert (x.f_count, joined.b_count, len(x.forward)) == (0, 0, FAN_OUT)


def test_deep_diamonds_take_work_linear_in_their_depth():
    """2**200 paths lead through this graph; each of its nodes works once a pass."""
    depth, log = 200, []
    x = CG.Leaf1(1)
    x.getInput([1.0])
    end = x
    for _ in range(depth):
        end = Recorder([end, end], log)
    x.forwardPropagation()
    end.backwardPropagation()
    end.update(0.1)
    methods = [entry[0] for entry in log]
    expected = ["calcData", "calcPartialDerivative", "updateParameters"]
    assert methods == [method for method in expected for _ in range(depth)]
    assert end.data.tolist() == x.grad.tolist() == [2.0**depth]
    assert len(CG.ancestors(end)) == depth + 1


def chain(n):
    end = CG.Leaf1(2)
    for _ in range(n):
        end = CG.Tanh(end)
    return end


def pooled_chain(n):
    """Builds a chain of rectifiers and poolings in turn, which may be fused."""
    end = CG.Leaf2(1, 1)
    for _ in range(n // 2):
        end = CG.MaxPooling2d(CG.ReLU(end), 1, 1, 1)
    return end


def matrices(n):
    end = CG.Leaf1(1)
    for _ in range(n):
        end = CG.Affine(end, [[1.0], [0.0]])
    return end


def filtered(inputs):
    return CG.Convolution2d(inputs, np.ones((len(inputs), 1, 1)), 0.0)


def many_leaves(n):
    return CG.Concatenation([CG.Leaf1(1) for _ in range(n)])


def many_consumers(n):
    x = CG.Leaf1(1)
    return CG.Concatenation([CG.ReLU(x) for _ in range(n)])


def many_outputs(n):
    x = CG.Leaf1(1)
    return [CG.ReLU(x) for _ in range(n)]


def channels(n):
    """Builds the channels of one group."""
    x = CG.Leaf2(1, 1)
    return [filtered([x]) for _ in range(n)]


def rectified_channels(n):
    return CG.Concatenation([CG.ReLU(y) for y in channels(n // 2)])


def channels_read_in_pairs(n):
    read = channels(n // 2)
    return CG.Concatenation([filtered([a, b]) for a, b in pairwise([*read, read[0]])])


def channels_read_by_two(n):
    read = channels(n)
    return CG.Concatenation([filtered(read) for _ in range(2)])


def one_channel_read_by_all(n):
    read = channels(n // 2)
    return CG.Concatenation([*read, *(CG.ReLU(read[0]) for _ in range(n // 2))])


def channels_and_single_nodes(n):
    """Builds sums that each read a pair of buffers of their own."""
    return CG.Concatenation([CG.Add(y, CG.Leaf2(1, 1)) for y in channels(n // 3)])


def many_groups(n):
    leaves = [CG.Leaf2(1, 1) for _ in range(n // 3)]
    return CG.Concatenation([filtered([x]) for x in leaves for _ in range(2)])


def own_nodes(n):
    end = CG.Leaf1(1)
    for _ in range(n):
        end = Recorder([end], [])
    return end


SHAPES = (
    *(chain, pooled_chain, matrices, many_leaves, many_consumers, many_outputs, channels, rectified_channels),
    *(channels_read_in_pairs, channels_read_by_two, one_channel_read_by_all, channels_and_single_nodes),
    *(many_groups, own_nodes),
)  # fmt: skip


class Operations:
    """Counts the lines of Python that run, the elements that built-in reductions visit, and comparisons.

    A test of membership in a list or in the values of a dict compares element by element.
    """

    def __init__(self, monkeypatch):
        self.count = 0
        modules = [m for name, m in sys.modules.items() if name.startswith("cgraph.")]
        for module in modules:
            for reduction in (sum, min, max, any, all, sorted):
                name = reduction.__name__
                monkeypatch.setattr(module, name, self.counted(reduction), raising=False)
        monkeypatch.setattr("cgraph.node.check_identity", lambda cls: None)
        for compared in (CG.Node, FusedGroup, Buffer):
            monkeypatch.setattr(compared, "__eq__", self.equal, raising=False)

    def counted(self, reduction):
        def counting(*arguments, **named):
            if len(arguments) == 1:
                arguments = [list(arguments[0])]
                self.count += len(arguments[0])
            return reduction(*arguments, **named)

        return counting

    def equal(self, other):
        self.count += 1
        return NotImplemented

    def line(self, frame, event, argument):
        self.count += 1
        return self.line

    def of(self, function):
        before, tracer = self.count, sys.gettrace()
        sys.settrace(self.line)
        try:
            function()
        finally:
            sys.settrace(tracer)
        return self.count - before


LAYOUTS = ("auto", "lanes", "samples")
# By default, small graphs of each shape in one layout.
SHAPES_IN_TURN = [
    made if size == 150 and k % 3 == turn else full(made)
    for k, shape in enumerate(SHAPES)
    for turn, layout in enumerate(LAYOUTS)
    for size in (150, 600)
    for made in [pytest.param(shape, layout, size, id=f"{shape.__name__}-{layout}-{size}")]
]


@pytest.mark.parametrize(("shape", "layout", "size"), SHAPES_IN_TURN)
def test_a_graph_takes_work_linear_in_its_nodes(shape, layout, size, monkeypatch):
    operations = Operations(monkeypatch)
    counts = []
    for n in (size, 2 * size):
        ends = shape(n)
        leaves = leaves_of(ends)
        counts.append(operations.of(lambda: CG.Graph(ends, layout=layout, leaf_grads=leaves)))  # noqa: B023
    assert counts[1] < 2.1 * counts[0]


def leaves_of(ends):
    nodes = CG.ancestors(ends) if isinstance(ends, CG.Node) else ends[0].backward
    return [node for node in nodes if not node.backward]


DROPS = {
    "all_at_once": "del x, end; gc.collect()",
    "the_end_first": "del end; gc.collect(); del x; gc.collect()",
    "the_leaf_first": "del x; gc.collect(); del end; gc.collect()",
    "without_a_collection": "gc.disable(); x.forward.clear(); del x, end",
    "unlinked": "[node.forward.clear() for node in CG.ancestors(end)]; del x, end; gc.collect()",
}


@pytest.mark.parametrize("drop", DROPS.values(), ids=DROPS)
def test_dropping_a_long_chain_does_not_overflow_the_stack(drop):
    """The chain is dropped in a process of its own, which an overflow would end, and in a thread with a small stack."""
    code = f"""
import gc, threading
import cgraph as CG
def build_and_drop():
    x = end = CG.Leaf1(1)
    for _ in range({DEPTH}):
        end = CG.ReLU(end)
    {drop}
    print("alive")
threading.stack_size(2**18)
thread = threading.Thread(target=build_and_drop)
thread.start()
thread.join()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout) == (0, "alive\n"), done.stderr


def small_network(seed):
    """(leaf, target, loss) with convolution, pooling and an affine layer."""
    rng = np.random.default_rng(seed)
    x, t = CG.Leaf2(40, 41), CG.Leaf1(4)
    kernels = rng.standard_normal((3, 1, 5, 5))
    filtered = [CG.ReLU(CG.Convolution2d([x], kernel, 0.1, 40, 41)) for kernel in kernels]
    joined = CG.Concatenation([CG.MaxPooling2d(node, 4, 4, 4) for node in filtered])
    scores = CG.Affine(joined, 0.03 * rng.standard_normal((joined.size + 1, 4)))
    return x, t, CG.CEE(CG.Softmax(scores), t)


def train(seed, rounds, results, start=None):
    if start is not None:
        start.wait()
    rng = np.random.default_rng(seed)
    x, t, loss = small_network(seed)
    for _ in range(rounds):
        x.getInput(rng.standard_normal((40, 41)))
        t.getInput(np.eye(4)[rng.integers(4)])
        x.forwardPropagation()
        t.forwardPropagation()
        loss.backwardPropagation()
        loss.update(0.05)
    results[seed] = [p.value.copy() for p in CG.parameters(loss)]


def test_two_graphs_in_two_threads_give_the_serial_results():
    serial, parallel, rounds = {}, {}, 300
    start = threading.Barrier(2)
    for seed in (1, 2):
        train(seed, rounds, serial)
    threads = [
        threading.Thread(target=train, args=(seed, rounds, parallel, start)) for seed in (1, 2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed in (1, 2):
        for ours, theirs in zip(parallel[seed], serial[seed], strict=True):
            np.testing.assert_array_equal(ours, theirs)
