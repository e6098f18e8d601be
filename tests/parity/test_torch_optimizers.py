"""Optimisers against torch.optim: given gradients, and the training of three networks."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import cgraph as CG

torch = pytest.importorskip("torch", reason="compares with PyTorch")
pytestmark = pytest.mark.thread_unsafe(reason="PyTorch has threads of its own")

# For each rule: its name, the keywords of both sides.
RULES: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.05, "momentum": 0.9}),
    ("SGD", {"lr": 0.05, "momentum": 0.8, "nesterov": True, "weight_decay": 0.02}),
    ("Adam", {"lr": 0.01}),
    ("Adam", {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-5, "weight_decay": 0.1}),
    ("AdamW", {"lr": 0.01}),
    ("AdamW", {"lr": 0.03, "betas": (0.7, 0.9), "weight_decay": 0.3}),
    ("RMSprop", {"lr": 0.01}),
    ("RMSprop", {"lr": 0.003, "alpha": 0.9, "momentum": 0.5, "centered": True, "eps": 1e-4}),
    ("RMSprop", {"lr": 0.003, "weight_decay": 0.05, "momentum": 0.3}),
]
NAMES = [f"{name}-{number}" for number, (name, _) in enumerate(RULES)]
UPDATES = 200


def networks(seed: int, dtype: type) -> tuple[CG.Node, CG.Node, CG.Node, Any]:
    """Returns input, target and loss of a small network, and the same network in PyTorch."""
    rng = np.random.default_rng(seed)
    sizes = [(5, 7, 3), (4, 16, 16, 1), (9, 1)][seed % 3]
    x, t = CG.Leaf1(sizes[0], dtype=dtype), CG.Leaf1(sizes[-1], dtype=dtype)
    node: CG.Node = x
    layers: list[Any] = []
    for m, n in pairwise(sizes):
        weight = rng.normal(0, m**-0.5, (m + 1, n))
        node = CG.Affine(node, weight)
        linear = torch.nn.Linear(
            m, n, dtype=torch.float64 if dtype is np.float64 else torch.float32
        )
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(weight[:-1].T.copy()))
            linear.bias.copy_(torch.from_numpy(weight[-1].copy()))
        layers.append(linear)
        if n != sizes[-1]:
            node = CG.Tanh(node)
            layers.append(torch.nn.Tanh())
    return x, t, CG.MSE(node, t), torch.nn.Sequential(*layers)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(("name", "options"), RULES, ids=NAMES)
@pytest.mark.parametrize("max_norm", [None, 0.7])
def test_given_gradients(
    name: str, options: dict[str, Any], max_norm: float | None, dtype: type
) -> None:
    """200 updates by one sequence of gradients end at the same weights: float64 1e-12, float32 1e-6 of the largest."""
    rng = np.random.default_rng(3)
    x = CG.Leaf1(12, dtype=dtype)
    y = CG.Affine(x, rng.normal(size=(13, 5)))
    graph = CG.Graph(CG.Sum(y))
    weight = torch.nn.Parameter(torch.from_numpy(y.weight.copy()))
    ours = getattr(CG, name)(**options, max_grad_norm=max_norm)
    theirs = getattr(torch.optim, name)([weight], **options)
    for _ in range(UPDATES):
        gradient = (rng.normal(size=(13, 5)) * rng.choice([1e-3, 1, 10])).astype(dtype)
        y.gradWeight[...] = gradient
        graph.update(ours)
        weight.grad = torch.from_numpy(gradient.copy())
        if max_norm is not None:
            torch.nn.utils.clip_grad_norm_([weight], max_norm)
        theirs.step()
    expected = weight.detach().numpy()
    tolerance = 1e-12 if dtype is np.float64 else 1e-6
    assert np.abs(y.weight - expected).max() <= tolerance * np.abs(expected).max()
    assert ours.updates == UPDATES


def train_torch(model: Any, optimizer: Any, samples: Any, targets: Any, batch: int) -> Any:
    losses = []
    for first in range(0, len(samples), batch):
        optimizer.zero_grad()
        part = slice(first, first + batch)
        each = ((model(samples[part]) - targets[part]) ** 2).mean(1)
        each.mean().backward()
        losses.append(each.detach().numpy())
        optimizer.step()
    return np.concatenate(losses)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("name", "options"), RULES, ids=NAMES)
def test_training(name: str, options: dict[str, Any], seed: int) -> None:
    """Losses and weights after 50 updates of a network agree to 1e-8 in float64."""
    x, t, loss, model = networks(seed, np.float64)
    rng = np.random.default_rng(seed)
    samples, targets = rng.normal(size=(400, x.size)), rng.normal(size=(400, t.size))
    graph = CG.Graph(loss)
    losses = graph.train({x: samples, t: targets}, getattr(CG, name)(**options), batch=8)
    theirs = getattr(torch.optim, name)(model.parameters(), **options)
    expected = train_torch(model, theirs, torch.from_numpy(samples), torch.from_numpy(targets), 8)
    np.testing.assert_allclose(losses, expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("seed", range(3))
def test_curves_in_float32(seed: int) -> None:
    """Adam's loss curves agree in float32, though single weights part where gradients vanish."""
    x, t, loss, model = networks(seed, np.float32)
    rng = np.random.default_rng(seed)
    samples = rng.normal(size=(1600, x.size)).astype(np.float32)
    targets = np.tanh(samples[:, : t.size]) + 0.5
    losses = CG.Graph(loss).train({x: samples, t: targets}, CG.Adam(0.005), batch=16)
    theirs = torch.optim.Adam(model.parameters(), lr=0.005)
    expected = train_torch(model, theirs, torch.from_numpy(samples), torch.from_numpy(targets), 16)
    curve, expected_curve = (x.reshape(-1, 160).mean(1) for x in (losses, expected))
    np.testing.assert_allclose(curve, expected_curve, rtol=1e-3)
