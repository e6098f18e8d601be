"""A training step on one sample or on a batch: forward, backward, update. A contender for each way to run it.

The peers take the mean of the losses of a batch; cgraph takes their sum, and divides the rate.
"""

from functools import partial
from typing import Any

import numpy as np
import one_core
from network import ETA, Network
from timing import Work

import cgraph as CG

SAMPLES = 256  # of a call that trains on many, one after the other
BATCHES = 8  # of such a call, at least


def node_path(network: Network, dtype: str) -> Work:
    """The Node API."""
    (x,), t, _, loss = network.nodes(dtype)
    inputs, labels = network.samples(1, dtype)
    sample, target = inputs[0, 0], network.one_hot(labels, dtype)[0]

    def step() -> None:
        x.getInput(sample)
        t.getInput(target)
        x.forwardPropagation()
        t.forwardPropagation()
        loss.backwardPropagation()
        loss.update(ETA)

    return Work(step)


def graph_and_feed(
    network: Network, dtype: str, samples: int, threads: int = 1
) -> tuple[CG.Graph, dict[CG.Node, np.ndarray]]:
    """A Graph, and what it is to learn from."""
    nodes = network.nodes(dtype)
    inputs, labels = network.samples(samples, dtype)
    feed = {**nodes.feed(inputs), nodes.t: network.one_hot(labels, dtype)}
    return CG.Graph(nodes.loss, threads=threads), feed


def graph_step(network: Network, dtype: str, batch: int = 1, threads: int = 1) -> Work:
    """A call of Graph.step for each batch."""
    graph, feed = graph_and_feed(network, dtype, batch, threads)
    return Work(lambda: graph.step(feed, ETA / batch), batch)


def graph_train(network: Network, dtype: str, samples: int = SAMPLES, batch: int = 1) -> Work:
    """One call of Graph.train for many samples."""
    graph, feed = graph_and_feed(network, dtype, samples)
    return Work(lambda: graph.train(feed, ETA / batch, batch), samples)


def torch_step(
    network: Network,
    dtype: str,
    batch: int = 1,
    channels_last: bool = False,
    compiled: bool = False,
) -> Work:
    """Eager; or what computes the loss and the update compiled."""
    torch = one_core.torch_module()
    form = torch.channels_last if channels_last else torch.contiguous_format
    model = network.torch_model().to(getattr(torch, dtype)).to(memory_format=form)
    inputs, labels = network.samples(batch, dtype)
    x, t = torch.from_numpy(inputs).to(memory_format=form), torch.from_numpy(labels)
    optimiser = torch.optim.SGD(model.parameters(), lr=ETA)
    criterion = torch.nn.CrossEntropyLoss()

    def forward() -> Any:
        return criterion(model(x), t)

    update = optimiser.step
    if compiled:
        forward = torch.compile(forward, dynamic=False)
        update = torch.compile(update, dynamic=False)

    def step() -> None:
        optimiser.zero_grad()
        forward().backward()
        update()

    return Work(step, batch)


def jax_samples(network: Network, dtype: str, *shape: int) -> tuple[Any, Any]:
    """Inputs, channels last, and their classes; `shape` says how many, and in which rows."""
    jnp = one_core.jax_module().numpy
    inputs, labels = network.samples(int(np.prod(shape)), dtype)
    inputs = np.moveaxis(inputs, 1, -1)
    return jnp.asarray(inputs.reshape(*shape, *inputs.shape[1:])), jnp.asarray(
        labels.reshape(shape)
    )


def jax_functions(network: Network, dtype: str, batches: bool) -> tuple[Any, Any]:
    """The parameters, and the function (parameters, (x, label)) -> (new parameters, loss), of a sample or a batch."""
    jax = one_core.jax_module()
    parameters, apply = network.jax_model(dtype)

    def sample_loss(parameters: Any, x: Any, label: Any) -> Any:
        return -jax.nn.log_softmax(apply(parameters, x))[label]

    def batch_loss(parameters: Any, x: Any, label: Any) -> Any:
        return jax.vmap(sample_loss, (None, 0, 0))(parameters, x, label).mean()

    loss = batch_loss if batches else sample_loss

    def step(parameters: Any, samples: Any) -> tuple[Any, Any]:
        value, gradients = jax.value_and_grad(loss)(parameters, *samples)
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


def jax_step(network: Network, dtype: str, batch: int = 1) -> Work:
    """jax.jit, a call for each sample or batch."""
    feed = jax_samples(network, dtype, *([batch] if batch > 1 else []))
    parameters, step = jax_functions(network, dtype, batch > 1)
    return jax_work(parameters, step, feed, batch)


def jax_scan(network: Network, dtype: str, samples: int = SAMPLES, batch: int = 1) -> Work:
    """jax.lax.scan: one call for many samples or batches."""
    shape = (samples // batch, batch) if batch > 1 else (samples,)
    feed = jax_samples(network, dtype, *shape)
    parameters, step = jax_functions(network, dtype, batch > 1)
    return jax_work(parameters, partial(one_core.jax_module().lax.scan, step), feed, samples)
