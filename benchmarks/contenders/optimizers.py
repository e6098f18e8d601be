"""Training steps with Adam, for each network by a few contenders; the results are losses after some steps.

Adam divides by the size of gradients, so rounding decides where the gradient is next to nothing: parameters part there,
and losses do not.
"""

import ctypes
from collections.abc import Callable
from functools import partial
from itertools import cycle
from typing import Any

import numpy as np

import cgraph as CG
from benchmarks.contenders.training import jax_loss, jax_samples
from benchmarks.measure import one_core
from benchmarks.measure.compiled import library
from benchmarks.measure.peers import Makers
from benchmarks.measure.timing import Work
from benchmarks.networks import ppo
from benchmarks.networks.mlp import MLP
from benchmarks.networks.network import Network

DTYPE = "float32"
ADAM, DESCENT, UNFUSED = (
    "`Graph.step`, Adam",
    "`Graph.step`, descent",
    "`Graph.accumulate`, `Graph.update`",
)
LOOP = "Adam, a loop in C"
EAGER = ("PyTorch eager", "PyTorch eager, foreach", "PyTorch eager, fused")
JIT = ("jax.jit, optax", "jax.jit, optax, one vector")
SAMPLES = 64  # in turn, where a step is that of one sample: parameters that see a single one stop learning
PPO_BATCH, MAX_NORM, PPO_RATE = 64, 0.5, 3e-4


def sample_steps(rate: float = 1e-3) -> Makers:
    """Steps of the MLP, each with one sample; the loop in C updates arrays of the same size."""
    return {
        ADAM: partial(graph_step, MLP, SAMPLES, 1, rate),
        UNFUSED: graph_unfused,
        DESCENT: partial(graph_step, MLP, SAMPLES, 1, None),
        LOOP: adam_loop,
        EAGER[2]: partial(torch_step, MLP, SAMPLES, 1, rate, fused=True),
        EAGER[1]: partial(torch_step, MLP, SAMPLES, 1, rate, foreach=True),
    }


def batch_steps(net: Network, batch: int, rate: float, jax: bool = True) -> Makers:
    """Steps on one batch."""
    torch = partial(torch_step, net, batch, batch, rate)
    vectors = {name: partial(jax_step, net, batch, rate, vector) for name, vector in VECTORS}
    return {
        ADAM: partial(graph_step, net, batch, batch, rate),
        DESCENT: partial(graph_step, net, batch, batch, None),
        EAGER[1]: partial(torch, foreach=True),
        EAGER[2]: partial(torch, fused=True),
        **(vectors if jax else {}),
    }


VECTORS = tuple(zip(JIT, (False, True), strict=True))


def ppo_steps() -> Makers:
    jits = {name: partial(jax_ppo, vector) for name, vector in VECTORS}
    return {
        ADAM: graph_ppo,
        EAGER[1]: partial(torch_ppo, foreach=True),
        EAGER[2]: partial(torch_ppo, fused=True),
        **jits,
    }


def graph_and_batches(
    net: Network, samples: int, batch: int
) -> tuple[CG.Graph, list[dict[CG.Node, np.ndarray]], dict[CG.Node, np.ndarray]]:
    """Builds a Graph of a network, and returns it with the feeds of batches and that of all samples."""
    nodes = net.nodes(DTYPE)
    inputs, targets = net.samples(samples, DTYPE)
    feed = {**nodes.feed(inputs), nodes.t: net.rows(targets, DTYPE)}
    feeds = [
        {leaf: array[i : i + batch] for leaf, array in feed.items()}
        for i in range(0, samples, batch)
    ]
    return CG.Graph(nodes.loss, threads=1), feeds, feed


def graph_step(net: Network, samples: int, batch: int, rate: float | None) -> Work:
    """A step of Adam, or without a rate one of a descent that is too slow to matter."""
    graph, feeds, feed = graph_and_batches(net, samples, batch)
    turn = cycle(feeds)
    if rate is None:
        return Work(lambda: graph.step(next(turn), 1e-6), batch)
    optimizer = CG.Adam(rate)
    return Work(lambda: graph.step(next(turn), optimizer), batch, partial(mean_loss, graph, feed))


def mean_loss(graph: CG.Graph, feed: dict[CG.Node, np.ndarray]) -> np.ndarray:
    return graph.predict(feed).mean().reshape(1)


def graph_unfused() -> Work:
    """The passes and the update of plain descent in two calls, so that sums of gradients are written and read."""
    graph, feeds, _ = graph_and_batches(MLP, SAMPLES, 1)
    turn = cycle(feeds)

    def step() -> None:
        graph.accumulate(next(turn))
        graph.update(1e-6)

    return Work(step)


def adam_loop() -> Work:
    """Adam in C, compiled with -O3 and the instructions in use, over as many parameters as the MLP has."""
    loop = library("adam").adam
    real, pointer = ctypes.c_float, ctypes.POINTER(ctypes.c_float)
    loop.argtypes, loop.restype = [ctypes.c_ssize_t, *[pointer] * 4, *[real] * 5], None
    size = sum(p.value.size for p in CG.parameters(MLP.nodes(DTYPE).loss))
    rng = np.random.default_rng(1)
    arrays = [rng.uniform(0.5, 1, size).astype(DTYPE) for _ in range(4)]
    addresses = [array.ctypes.data_as(pointer) for array in arrays]
    return Work(lambda: (loop(size, *addresses, 0.9, 0.999, 1e-8, 1.0, 1e-6), arrays))


def torch_step(net: Network, samples: int, batch: int, rate: float, **options: bool) -> Work:
    torch = one_core.torch_module()
    model = net.torch_model().float()
    inputs, targets = net.samples(samples, DTYPE)
    x, t = torch.from_numpy(net.torch_inputs(inputs)), torch.from_numpy(targets)
    turn = cycle(list(zip(x.split(batch), t.split(batch), strict=True)))
    criterion = net.loss.torch_loss()

    def loss(x: Any, t: Any) -> Any:
        return criterion(model(x), t)

    def next_loss() -> Any:
        return loss(*next(turn))

    parameters = list(model.parameters())
    step = torch_adam(next_loss, parameters, rate, **options)
    return Work(step, batch, lambda: loss(x, t).detach().numpy().reshape(1))


def torch_adam(
    loss: Callable[[], Any],
    parameters: list[Any],
    rate: float,
    max_norm: float | None = None,
    **options: bool,
) -> Callable[[], None]:
    torch = one_core.torch_module()
    optimiser = torch.optim.Adam(parameters, lr=rate, **options)

    def step() -> None:
        optimiser.zero_grad()
        loss().backward()
        if max_norm is not None:
            torch.nn.utils.clip_grad_norm_(parameters, max_norm)
        optimiser.step()

    return step


def jax_step(net: Network, batch: int, rate: float, one_vector: bool) -> Work:
    parameters, loss = jax_loss(net, DTYPE, True)
    feed = jax_samples(net, DTYPE, batch)
    return jax_adam(parameters, lambda p, x: loss(p, *x), feed, batch, rate, one_vector)


def jax_adam(
    parameters: Any,
    loss: Callable[[Any, Any], Any],
    feed: Any,
    batch: int,
    rate: float,
    one_vector: bool,
    max_norm: float | None = None,
) -> Work:
    """A compiled step, which takes the memory of parameters and state for the new ones."""
    import optax

    jax = one_core.jax_module()
    vector, parts = jax.flatten_util.ravel_pytree(parameters)
    adam = optax.adam(rate)
    chain = adam if max_norm is None else optax.chain(optax.clip_by_global_norm(max_norm), adam)

    def own_loss(parameters: Any, feed: Any) -> Any:
        return loss(parts(parameters) if one_vector else parameters, feed)

    def step(carry: Any, feed: Any) -> tuple[Any, Any]:
        parameters, state = carry
        value, gradients = jax.value_and_grad(own_loss)(parameters, feed)
        updates, state = chain.update(gradients, state, parameters)
        return (optax.apply_updates(parameters, updates), state), value

    compiled, start = jax.jit(step, donate_argnums=0), vector if one_vector else parameters
    carry = (start, chain.init(start))

    def call() -> None:
        nonlocal carry
        carry, value = compiled(carry, feed)
        value.block_until_ready()

    return Work(call, batch, lambda: np.asarray(own_loss(carry[0], feed)).reshape(1))


def graph_ppo() -> Work:
    loss, leaves = ppo.nodes(DTYPE)
    graph = CG.Graph(loss, threads=1)
    feed = dict(zip(leaves, ppo.samples(PPO_BATCH, DTYPE), strict=True))
    optimizer = CG.Adam(PPO_RATE, max_grad_norm=MAX_NORM)
    learned = partial(mean_loss, graph, feed)
    return Work(lambda: graph.step(feed, optimizer), PPO_BATCH, learned)


def torch_ppo(**options: bool) -> Work:
    torch = one_core.torch_module()
    policy, values, log_deviation = ppo.torch_parameters()
    feed = ppo.Samples(*map(torch.from_numpy, ppo.samples(PPO_BATCH, DTYPE)))
    loss = partial(ppo.torch_loss, policy, values, log_deviation, feed)
    parameters = [*policy.parameters(), *values.parameters(), log_deviation]
    step = torch_adam(loss, parameters, PPO_RATE, MAX_NORM, **options)
    return Work(step, PPO_BATCH, lambda: loss().detach().numpy().reshape(1))


def jax_ppo(one_vector: bool) -> Work:
    jnp = one_core.jax_module().numpy
    parameters, loss = ppo.jax_parameters_and_loss(DTYPE)
    feed = ppo.Samples(*map(jnp.asarray, ppo.samples(PPO_BATCH, DTYPE)))
    return jax_adam(parameters, loss, feed, PPO_BATCH, PPO_RATE, one_vector, MAX_NORM)
