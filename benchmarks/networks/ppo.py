"""Proximal policy optimisation: a Gaussian policy 17-64-64-6 and values 17-64-64-1, with Tanh, and their loss."""

from typing import Any, NamedTuple

import numpy as np

import cgraph as CG
from benchmarks.measure import one_core
from benchmarks.networks.mlp import Layers, weights
from benchmarks.networks.tanh import POLICY

VALUES = Layers((17, 64, 64, 1), POLICY.function)
STATE, ACTION = POLICY.sizes[0], POLICY.sizes[-1]
CLIP, VALUE_COST = 0.2, 0.5


class Samples(NamedTuple):
    """What a step learns from; old is the logarithm of the probability of the action when it was taken."""

    state: Any
    action: Any
    old: Any
    advantage: Any
    gain: Any


def samples(count: int, dtype: str) -> Samples:
    """Returns random samples, in arrays of two dimensions."""
    rng = np.random.default_rng(0)
    action = rng.normal(size=(count, ACTION))
    old = rng.normal(-6, 0.3, size=(count, 1))
    others = (rng.normal(size=(count, size)) for size in (STATE, 1, 1))
    state, advantage, gain = others
    return Samples(*(x.astype(dtype) for x in (state, action, old, advantage, gain)))


def nodes(dtype: str) -> tuple[CG.Node, Samples]:
    """Returns the loss, and its leaves. The biases behind an input of 0 are the logarithms of the deviations."""
    leaves = Samples(*(CG.Leaf1(n, dtype=dtype) for n in (STATE, ACTION, 1, 1, 1)))

    def network(layers: Layers) -> CG.Node:
        h: CG.Node = leaves.state
        *hidden, last = map(np.vstack, weights(layers.sizes, dtype))
        for weight in hidden:
            h = CG.Tanh(CG.Affine(h, weight))
        return CG.Affine(h, last)

    zero = CG.Leaf1(1, dtype=dtype)
    zero.getInput([0.0])
    log_deviation = CG.Affine(zero, np.zeros((2, ACTION)))
    z = (leaves.action - network(POLICY)) * CG.Exp(-log_deviation)
    log_probability = -0.5 * CG.Dots(z, z) - CG.Sum(log_deviation)
    ratio = CG.Exp(log_probability - leaves.old)
    clipped = CG.Clip(ratio, 1 - CLIP, 1 + CLIP)
    gain = CG.Minimum(ratio * leaves.advantage, clipped * leaves.advantage)
    value_loss = VALUE_COST * CG.Square(network(VALUES) - leaves.gain)
    return value_loss - gain, leaves


def torch_parameters() -> tuple[Any, Any, Any]:
    """Returns the policy, the values and the logarithms of the deviations."""
    torch = one_core.torch_module()
    policy, values = (layers.torch_model().float() for layers in (POLICY, VALUES))
    return policy, values, torch.zeros(ACTION, requires_grad=True)


def torch_loss(policy: Any, values: Any, log_deviation: Any, x: Samples) -> Any:
    torch = one_core.torch_module()
    z = (x.action - policy(x.state)) * torch.exp(-log_deviation)
    log_probability = -0.5 * (z * z).sum(1, keepdim=True) - log_deviation.sum()
    ratio = torch.exp(log_probability - x.old)
    clipped = torch.clamp(ratio, 1 - CLIP, 1 + CLIP)
    gain = torch.min(ratio * x.advantage, clipped * x.advantage)
    return (VALUE_COST * (values(x.state) - x.gain) ** 2 - gain).mean()


def jax_parameters_and_loss(dtype: str) -> tuple[Any, Any]:
    """Returns the parameters, and the mean loss as a function of these and of a batch."""
    jax = one_core.jax_module()
    jnp = jax.numpy
    (policy, apply_policy), (values, apply_values) = (
        layers.jax_model(dtype) for layers in (POLICY, VALUES)
    )

    def loss(parameters: Any, x: Samples) -> Any:
        own_policy, own_values, log_deviation = parameters
        mean = jax.vmap(apply_policy, (None, 0))(own_policy, x.state)
        value = jax.vmap(apply_values, (None, 0))(own_values, x.state)
        z = (x.action - mean) * jnp.exp(-log_deviation)
        log_probability = -0.5 * (z * z).sum(1, keepdims=True) - log_deviation.sum()
        ratio = jnp.exp(log_probability - x.old)
        clipped = jnp.clip(ratio, 1 - CLIP, 1 + CLIP)
        gain = jnp.minimum(ratio * x.advantage, clipped * x.advantage)
        return (VALUE_COST * (value - x.gain) ** 2 - gain).mean()

    return (policy, values, jnp.zeros(ACTION, dtype)), loss
