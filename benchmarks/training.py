"""A training step on one sample: forward, backward, update. A contender for each way to run it."""

from functools import partial
from typing import Any

import one_core
from network import ETA, Network
from timing import Work

import cgraph as CG

SAMPLES = 256  # of a call that trains on many, one after the other


def node_path(network: Network, dtype: str) -> Work:
    """The Node API."""
    x, t, _, loss = network.nodes(dtype)
    inputs, labels = network.samples(1, dtype)
    sample, target = inputs[0], network.one_hot(labels, dtype)[0]

    def step() -> None:
        x.getInput(sample)
        t.getInput(target)
        x.forwardPropagation()
        t.forwardPropagation()
        loss.backwardPropagation()
        loss.update(ETA)

    return Work(step)


def graph_step(network: Network, dtype: str) -> Work:
    """A call of Graph.step for each sample."""
    x, t, _, loss = network.nodes(dtype)
    graph = CG.Graph(loss)
    inputs, labels = network.samples(1, dtype)
    feed = {x: inputs, t: network.one_hot(labels, dtype)}
    return Work(lambda: graph.step(feed, ETA))


def graph_train(network: Network, dtype: str, samples: int = SAMPLES) -> Work:
    """One call of Graph.train for many samples."""
    x, t, _, loss = network.nodes(dtype)
    graph = CG.Graph(loss)
    inputs, labels = network.samples(samples, dtype)
    feed = {x: inputs, t: network.one_hot(labels, dtype)}
    return Work(lambda: graph.train(feed, ETA), samples)


def torch_step(network: Network, dtype: str, compiled: bool = False) -> Work:
    """Eager; or what computes the loss and the update compiled."""
    torch = one_core.torch_module()
    model = network.torch_model().to(getattr(torch, dtype))
    inputs, labels = network.samples(1, dtype)
    x, t = torch.from_numpy(inputs)[None], torch.from_numpy(labels)
    optimiser = torch.optim.SGD(model.parameters(), lr=ETA)
    criterion = torch.nn.CrossEntropyLoss()

    def forward() -> Any:
        return criterion(model(x), t)

    update = optimiser.step
    if compiled:
        forward, update = torch.compile(forward), torch.compile(update)

    def step() -> None:
        optimiser.zero_grad()
        forward().backward()
        update()

    return Work(step)


def jax_functions(network: Network, dtype: str) -> tuple[Any, Any]:
    """The parameters, and the function (parameters, (x, label)) -> (new parameters, loss)."""
    jax = one_core.jax_module()
    parameters, apply = network.jax_model(dtype)

    def loss(parameters: Any, x: Any, label: Any) -> Any:
        return -jax.nn.log_softmax(apply(parameters, x))[label]

    def step(parameters: Any, sample: Any) -> tuple[Any, Any]:
        value, gradients = jax.value_and_grad(loss)(parameters, *sample)
        return jax.tree.map(lambda p, g: p - ETA * g, parameters, gradients), value

    return parameters, step


def jax_work(parameters: Any, function: Any, feed: Any, samples: int) -> Work:
    """A compiled function that takes the parameters' memory for the new ones."""
    compiled = one_core.jax_module().jit(function, donate_argnums=0)

    def call() -> None:
        nonlocal parameters
        parameters, loss = compiled(parameters, feed)
        loss.block_until_ready()

    return Work(call, samples)


def jax_step(network: Network, dtype: str) -> Work:
    """jax.jit, a call for each sample."""
    inputs, labels = map(one_core.jax_module().numpy.asarray, network.samples(1, dtype))
    parameters, step = jax_functions(network, dtype)
    return jax_work(parameters, step, (inputs[0], labels[0]), 1)


def jax_scan(network: Network, dtype: str, samples: int = SAMPLES) -> Work:
    """jax.lax.scan: one call for many samples."""
    jax = one_core.jax_module()
    feed = tuple(map(jax.numpy.asarray, network.samples(samples, dtype)))
    parameters, step = jax_functions(network, dtype)
    return jax_work(parameters, partial(jax.lax.scan, step), feed, samples)
