"""Stretches: functions of equally many elements that run as one step, a tile of elements at a time."""

import numpy as np
import pytest
from amounts import some_of
from batch_settings import some_batches
from batch_twins import BatchTwins
from graph_twins import TOLERANCE, assert_same

import cgraph as CG
from cgraph._lowering.buffers import Allocator
from cgraph._lowering.fusion import fuse
from cgraph._lowering.lane_steps import LaneBuilder
from cgraph._lowering.stretches import (
    MAX_PLACES,
    Tiles,
    order_stretches,
    shared_buffers,
    stretches,
)
from cgraph._subclassing.order import topological_order

pytestmark = pytest.mark.usefixtures("guard_pages")
UNARY = [
    CG.Tanh,
    CG.Sigmoid,
    CG.SiLU,
    CG.ReLU,
    lambda x: CG.Scale(x, -0.5, 0.25),
    lambda x: CG.Clip(x, -0.5, 0.5),
]
BINARY = [CG.Add, CG.Sub, CG.Mul, CG.Minimum, CG.Maximum]


def gelu(x):
    return 0.5 * x * (1 + CG.Tanh(0.79788456 * (x + 0.044715 * (x * x * x))))


def log_probability(x, mean, deviation):
    return -0.5 * CG.Square((x - mean) / deviation) - CG.Log(deviation)


def clipped(new, old, advantage):
    ratio = CG.Exp(new - old)
    return CG.Minimum(ratio * advantage, CG.Clip(ratio, 0.8, 1.2) * advantage)


def of_leaves(function, inputs, size, dtype):
    """Builds a loss of a function of leaves, the first of which passes through a layer with parameters."""
    leaves = [CG.Leaf1(size, dtype=dtype) for _ in range(inputs)]
    weight = np.eye(size + 1, size) + 0.01
    return CG.Sum(function(CG.Affine(leaves[0], weight), *leaves[1:]))


def random_stretch(seed, size, dtype):
    """Builds a loss of functions that read each other at random: some twice, some by a node of another kind."""
    rng = np.random.default_rng(seed)
    nodes = [CG.Leaf1(size, dtype=dtype) for _ in range(2)]
    nodes.append(CG.Affine(nodes[0], rng.normal(size=(size + 1, size)) / size))
    for _ in range(rng.integers(3, 14)):
        recent = nodes[-4:]
        if rng.random() < 0.5:
            nodes.append(rng.choice(UNARY)(rng.choice(recent)))
        else:
            nodes.append(rng.choice(BINARY)(*rng.choice(recent, 2)))
    ends = [node for node in nodes if not node.forward]
    reads = CG.Slice(rng.choice(nodes[3:]), 0, 1)
    return CG.Sum(CG.Concatenation([*ends, reads, CG.Tanh(reads)]))


def channels(seed, size, dtype):
    """Builds functions on channels of convolutions, of which one is also read alone."""
    rng = np.random.default_rng(seed)
    x = CG.Leaf2(5, size, dtype=dtype)
    kernels = rng.normal(size=(3, 1, 2, 2))
    found = [CG.Convolution2d([x], kernel, 0.5) for kernel in kernels]
    found = [CG.Square(CG.Tanh(channel)) for channel in found]
    alone = CG.Scale(CG.Sigmoid(found[1]), 2.0)
    return CG.Sum(CG.Concatenation([*found, alone]))


CASES = {
    "gelu": lambda size, dtype: of_leaves(gelu, 1, size, dtype),
    "log_probability": lambda size, dtype: of_leaves(log_probability, 3, size, dtype),
    "clipped": lambda size, dtype: of_leaves(clipped, 3, size, dtype),
    "channels": lambda size, dtype: channels(1, size, dtype),
} | {
    f"random_{seed}": lambda size, dtype, seed=seed: random_stretch(seed, size, dtype)
    for seed in range(12)
}
every_case = pytest.mark.parametrize("case", CASES)


@some_of(2, ("case", "dtype", "size"), CASES, ["float32", "float64"], [3, 41])
def test_batches_give_what_the_nodes_give(case, dtype, size):
    """41 elements of 16 samples are several tiles, the last of them not full."""

    def make():
        return topological_order([CASES[case](size, dtype)])

    nodes = make()
    leaves = [number for number, node in enumerate(nodes) if not node.backward]

    def draw(rng):
        return {k: rng.uniform(0.5, 1.5, nodes[k].size).astype(dtype) for k in leaves}

    for setting, count in some_batches(size, 40)[::2]:
        twins = BatchTwins(make, len(nodes) - 1, draw, count)
        twins.check_sums(setting, count, max(count // 2, 1))
        twins.check_step(setting, count)
        twins.check_predictions(setting, count, range(len(nodes)))
        twins.check_samples(setting, count, (0, count - 1))


@every_case
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", [9, 600])
def test_the_nodes_show_data_and_gradients_of_one_sample(case, dtype, size):
    """Forward and backward of a Graph, and a batch of one sample, leave in all nodes what their own passes do."""
    size = 9 if case == "channels" else size
    ours, theirs = (topological_order([CASES[case](size, dtype)]) for _ in range(2))
    rng = np.random.default_rng(size)
    leaves = [k for k, node in enumerate(ours) if not node.backward]
    rows = {k: rng.uniform(0.5, 1.5, (1, ours[k].size)).astype(dtype) for k in leaves}
    for k, row in rows.items():
        theirs[k].data = row[0]
    for k in leaves:
        theirs[k].forwardPropagation()
    theirs[-1].backwardPropagation()
    graph = CG.Graph(ours[-1], leaf_grads=True)

    def check():
        for a, b in zip(ours, theirs, strict=True):
            assert_same(a.data, b.data, TOLERANCE[dtype], 10)
            assert_same(a.grad, b.grad, TOLERANCE[dtype], 10)

    graph.accumulate({ours[k]: row for k, row in rows.items()})
    check()
    graph.forward()
    graph.backward()
    check()


def lengths(loss):
    program = fuse([loss])
    order_stretches(program)
    return [len(part) for part in stretches(program.groups) if len(part) > 1]


def test_functions_of_equally_many_elements_follow_each_other():
    """A chain of three levels is not interrupted by the layers of another branch."""
    x, y = CG.Leaf1(4), CG.Leaf1(4)
    chain = CG.Tanh(CG.Scale(CG.Tanh(x), 2.0))
    layers = CG.Affine(CG.Affine(CG.Affine(y, np.ones((5, 3))), np.ones((4, 3))), np.ones((4, 4)))
    assert lengths(CG.Sum(chain + layers)) == [3]
    assert lengths(CG.Sum(gelu(CG.Leaf1(3)))) == [9]


def test_functions_of_other_sizes_are_other_stretches():
    x = CG.Leaf1(4)
    part = CG.Slice(CG.Tanh(CG.Tanh(x)), 0, 2)
    assert lengths(CG.Sum(CG.Tanh(CG.Tanh(part)))) == [2, 2]


def test_only_what_no_other_step_reads_is_kept_in_tiles():
    x = CG.Leaf1(4)
    first = CG.Tanh(x)
    second, third = CG.Tanh(first), CG.Scale(first, 2.0)
    last = CG.Mul(second, third)
    program = fuse([CG.Sum(CG.Concatenation([last, CG.Slice(second, 0, 1)]))])
    order_stretches(program)
    parts = [*stretches(program.groups)]
    assert [len(part) for part in parts if len(part) > 1] == [4]
    shared = shared_buffers(program, parts)
    buffers = {node: program.channel_of[node][0] for node in (first, second, third, last)}
    assert {node for node, buffer in buffers.items() if buffer not in shared} == {first, third}


def test_what_is_alive_at_once_has_different_places():
    x = CG.Leaf1(4)
    many = [CG.Scale(x, float(factor)) for factor in range(MAX_PLACES + 3)]
    program = fuse([CG.Sum(sum(many[1:], start=many[0]))])
    order_stretches(program)
    parts = [*stretches(program.groups)]
    part = max(parts, key=len)
    places = Tiles(Allocator(x.dtype)).assign(program, part, shared_buffers(program, parts))
    scales = [program.channel_of[node][0] for node in many]
    found = [places[buffer] for buffer in scales if buffer in places]
    assert len(found) == len(set(found)) > 1


def test_a_long_chain_needs_two_places():
    x = CG.Leaf1(4)
    node = x
    for _ in range(3 * MAX_PLACES):
        node = CG.Scale(node, 0.5)
    program = fuse([CG.Sum(node)])
    parts = [*stretches(program.groups)]
    tiles = Tiles(Allocator(x.dtype))
    places = tiles.assign(program, parts[0], shared_buffers(program, parts))
    assert len(places) == 3 * MAX_PLACES - 1
    assert len(set(places.values())) == 2


def test_buffers_over_lanes_do_not_share_sets_of_the_nearest_cache():
    """Buffers of multiples of 4 KiB do not begin multiples of 4 KiB apart."""
    program = fuse([CG.Sum(gelu(CG.Leaf1(1024)))])
    kernels, dtype = program.kernels, program.outputs[0].dtype
    builder = LaneBuilder(kernels, dtype, 16, {})
    buffers = [group.buffer for group in program.groups]
    for buffer in buffers:
        builder.allocate(buffer)
    starts = [builder.offsets[buffer] * dtype.itemsize % 4096 for buffer in buffers]
    assert len({*starts[:-1]}) > len(starts) // 3


def test_the_summary_names_stretches(capsys):
    CG.Graph(CG.Sum(gelu(CG.Leaf1(3)))).summary()
    assert "; in one pass over memory: steps 1 to 9\n" in capsys.readouterr().out
    CG.Graph(CG.Sum(CG.Tanh(CG.Leaf1(3)))).summary()
    assert "one pass" not in capsys.readouterr().out


def test_a_stretch_ends_at_a_view_of_other_elements():
    """A Slice across two parts of a Concatenation is a view whose element i is another element of its buffer."""
    rng = np.random.default_rng(5)
    leaves = [CG.Leaf1(64) for _ in range(2)]
    joined = CG.Concatenation([CG.Tanh(leaves[0]), CG.Exp(leaves[1])])
    middle = CG.Slice(joined, 31, 95)
    end = CG.Sum(CG.Sigmoid(CG.Square(middle)))
    samples = rng.normal(size=(2, 96, 64))
    feed = dict(zip(leaves, samples, strict=True))
    inner = np.concatenate([np.tanh(samples[0]), np.exp(samples[1])], axis=1)[:, 31:95]
    expected = (1 / (1 + np.exp(-(inner**2)))).sum(1)
    graph = CG.Graph(end, layout="lanes", threads=1)
    np.testing.assert_allclose(graph.predict(feed)[:, 0], expected, rtol=1e-12)
    np.testing.assert_allclose(graph.accumulate(feed), expected, rtol=1e-12)
