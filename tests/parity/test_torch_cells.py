"""Recurrent cells are those of PyTorch, alone and unrolled over time with shared parameters, where it is installed."""

import numpy as np
import pytest

import cgraph as CG

torch = pytest.importorskip("torch")

# The largest difference from PyTorch, beside the largest element.
TOLERANCE = {"float64": 1e-10, "float32": 1e-5}
LAYOUTS = ["nodes", "samples", "lanes"]
B = 21  # samples: more than a vector, and no multiple of one


def parameters_of(layer):
    return [p.detach().numpy() for p in layer.parameters()]


def assert_alike(ours, theirs, dtype):
    theirs = theirs.detach().numpy()
    difference = np.abs(ours - theirs.reshape(ours.shape)).max()
    assert difference <= TOLERANCE[dtype] * np.abs(theirs).max()


def gradients(loss, outputs, leaves, feed, layout):
    """Returns data of nodes and gradients of leaves, samples by rows, and accumulates those of parameters."""
    count = len(next(iter(feed.values())))
    data = [np.empty((count, node.size), loss.dtype) for node in outputs]
    grads = [np.empty((count, leaf.size), loss.dtype) for leaf in leaves]
    if layout != "nodes":
        graph = CG.Graph(loss, layout=layout)
        data = [graph.predict(feed, node) for node in outputs]
        grads = [graph.input_gradients(feed, leaf) for leaf in leaves]
        graph.accumulate(feed)
        return data, grads
    for k in range(count):
        for leaf, values in feed.items():
            leaf.getInput(values[k])
            leaf.forwardPropagation()
        loss.backwardPropagation()
        for rows, node in zip(data, outputs, strict=True):
            rows[k] = node.data
        for rows, leaf in zip(grads, leaves, strict=True):
            rows[k] = leaf.grad
    return data, grads


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("kind", ["GRU", "LSTM"])
def test_a_cell_is_that_of_pytorch(kind, dtype, layout, build_name):
    torch.manual_seed(0)
    rng, m, n = np.random.default_rng(1), 7, 18
    layer = getattr(torch.nn, f"{kind}Cell")(m, n, dtype=getattr(torch, dtype))
    states = 1 if kind == "GRU" else 2
    x, h, w = (rng.normal(size=(B, size)).astype(dtype) for size in (m, states * n, states * n))
    tx, th = (torch.tensor(each, requires_grad=True) for each in (x, h))
    theirs = layer(tx, th) if kind == "GRU" else torch.cat(layer(tx, th.chunk(2, 1)), 1)
    (theirs * torch.tensor(w)).sum().backward()
    leaves = [CG.Leaf1(size, dtype=dtype) for size in (m, states * n, states * n)]
    cell = getattr(CG, f"{kind}Cell")(*leaves[:2], *parameters_of(layer))
    feed = dict(zip(leaves, (x, h, w), strict=True))
    loss = CG.Dots(cell, leaves[2])
    (data,), grads = gradients(loss, [cell], leaves[:2], feed, layout)
    assert_alike(data, theirs, dtype)
    for ours, tensor in zip(grads, (tx, th), strict=True):
        assert_alike(ours, tensor.grad, dtype)
    for p, tensor in zip(CG.parameters(cell), layer.parameters(), strict=True):
        assert_alike(p.grad, tensor.grad, dtype)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("kind", ["GRU", "LSTM"])
def test_shared_cells_are_a_layer_of_pytorch_over_time(kind, dtype, layout):
    torch.manual_seed(0)
    rng, steps, m, n = np.random.default_rng(1), 9, 3, 16
    layer = getattr(torch.nn, kind)(m, n, batch_first=True, dtype=getattr(torch, dtype))
    states = 1 if kind == "GRU" else 2
    x, w = (rng.normal(size=(B, steps, size)).astype(dtype) for size in (m, n))
    tx = torch.tensor(x, requires_grad=True)
    theirs = layer(tx)[0]
    (theirs * torch.tensor(w)).sum().backward()
    inputs, weights = ([CG.Leaf1(size, dtype=dtype) for _ in range(steps)] for size in (m, n))
    state = CG.Leaf1(states * n, dtype=dtype)
    state.getInput(np.zeros(state.size))
    first = getattr(CG, f"{kind}Cell")(inputs[0], state, *parameters_of(layer))
    cells = [first]
    for each in inputs[1:]:
        cells.append(first.share(each, cells[-1]))
    outputs = [CG.Slice(cell, 0, n) for cell in cells]
    loss = CG.Sum(CG.Concatenation([CG.Dots(*pair) for pair in zip(outputs, weights, strict=True)]))
    feed = {leaf: x[:, t] for t, leaf in enumerate(inputs)}
    feed |= {leaf: w[:, t] for t, leaf in enumerate(weights)} | {state: np.zeros((B, state.size))}
    data, grads = gradients(loss, outputs, inputs, feed, layout)
    assert_alike(np.stack(data, 1), theirs, dtype)
    assert_alike(np.stack(grads, 1), tx.grad, dtype)
    for p, tensor in zip(CG.parameters(loss), layer.parameters(), strict=True):
        assert_alike(p.grad, tensor.grad, dtype)
