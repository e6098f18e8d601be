"""A training step on one sample or on a batch: forward, backward, update. A contender for each way to run it.

The peers take the mean of the losses of a batch; cgraph takes their sum, and divides the rate.
"""

from functools import partial
from typing import Any

import numpy as np

import cgraph as CG
from benchmarks.contenders import mlp_peers
from benchmarks.measure import one_core
from benchmarks.measure.peers import Makers
from benchmarks.measure.timing import Work
from benchmarks.networks.mlp import MLP, MLP_SIZES
from benchmarks.networks.network import ETA, Network

GRAPH_STEP, GRAPH_TRAIN, NODE_PATH = OURS = ("`Graph.step`", "`Graph.train`", "Node path")
PYTORCH = ("PyTorch eager", "PyTorch eager, channels last", "torch.compile, channels last")
SAMPLES = 256  # in a call that trains on many samples one after the other
BATCHES = 8  # in such a call, at least


def peer_contenders(net: Network, dtype: str, batch: int) -> Makers:
    """The peers that train any network, with a call for each sample or batch."""
    return {
        PYTORCH[0]: partial(torch_step, net, dtype, batch),
        "jax.jit": partial(jax_step, net, dtype, batch),
    }


def image_contenders(
    net: Network, dtype: str, batch: int, threads: int = 1, compiled: bool = False
) -> Makers:
    """The contenders for networks of convolutions; torch.compile takes seconds, so it has to be asked for."""
    last = partial(torch_step, net, dtype, batch, channels_last=True)
    one = {GRAPH_TRAIN: partial(graph_train, net, dtype), NODE_PATH: partial(node_path, net, dtype)}
    return {
        GRAPH_STEP: partial(graph_step, net, dtype, batch, threads),
        **(one if batch == 1 else {}),
        **peer_contenders(net, dtype, batch),
        PYTORCH[1]: last,
        **({PYTORCH[2]: partial(last, compiled=True)} if compiled else {}),
    }


def mlp_contenders(batch: int) -> Makers:
    """The contenders for the MLP, in float32; `Graph.train` and jax.lax.scan have many batches in a call."""
    dtype, many = "float32", max(BATCHES * batch, SAMPLES)
    return {
        GRAPH_STEP: partial(graph_step, MLP, dtype, batch),
        GRAPH_TRAIN: partial(graph_train, MLP, dtype, many, batch),
        **({NODE_PATH: partial(node_path, MLP, dtype)} if batch == 1 else {}),
        **peer_contenders(MLP, dtype, batch),
        "jax.lax.scan": partial(jax_scan, MLP, dtype, many, batch),
        "NumPy by hand": partial(mlp_peers.numpy_step, MLP_SIZES, dtype, batch),
        "scikit-learn": partial(mlp_peers.sklearn_step, MLP_SIZES, dtype, batch),
    }


def node_path(network: Network, dtype: str) -> Work:
    """A step is made of the nodes' own passes."""
    leaves, t, _, loss = network.nodes(dtype)
    inputs, labels = network.samples(1, dtype)
    channels, target = inputs[0], network.one_hot(labels, dtype)[0]

    def step() -> None:
        for x, channel in zip(leaves, channels, strict=True):
            x.getInput(channel)
        t.getInput(target)
        for leaf in (*leaves, t):
            leaf.forwardPropagation()
        loss.backwardPropagation()
        loss.update(ETA)

    return Work(step)


def graph_and_feed(
    network: Network, dtype: str, samples: int, threads: int = 1
) -> tuple[CG.Graph, dict[CG.Node, np.ndarray]]:
    """Builds a Graph of the network, and its feed of samples and targets."""
    nodes = network.nodes(dtype)
    inputs, labels = network.samples(samples, dtype)
    feed = {**nodes.feed(inputs), nodes.t: network.one_hot(labels, dtype)}
    return CG.Graph(nodes.loss, threads=threads), feed


def graph_step(network: Network, dtype: str, batch: int = 1, threads: int = 1) -> Work:
    """Graph.step is called for each batch."""
    graph, feed = graph_and_feed(network, dtype, batch, threads)
    return Work(lambda: graph.step(feed, ETA / batch), batch)


def graph_train(network: Network, dtype: str, samples: int = SAMPLES, batch: int = 1) -> Work:
    """Graph.train is called once for many samples."""
    graph, feed = graph_and_feed(network, dtype, samples)
    return Work(lambda: graph.train(feed, ETA / batch, batch), samples)


def torch_step(
    network: Network,
    dtype: str,
    batch: int = 1,
    channels_last: bool = False,
    compiled: bool = False,
) -> Work:
    """PyTorch makes a step eagerly; or with the loss and the update compiled."""
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
    """Returns inputs, channels last, and their classes, in arrays whose first dimensions are `shape`."""
    jnp = one_core.jax_module().numpy
    inputs, labels = network.samples(int(np.prod(shape)), dtype)
    inputs = np.moveaxis(inputs, 1, -1)
    inputs = inputs.reshape(*shape, *inputs.shape[1:])
    return jnp.asarray(inputs), jnp.asarray(labels.reshape(shape))


def jax_functions(network: Network, dtype: str, batches: bool) -> tuple[Any, Any]:
    """Returns parameters, and (parameters, (x, label)) -> (new parameters, loss) for a sample or a batch."""
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
    """jax.jit is called for each sample or batch."""
    feed = jax_samples(network, dtype, *([batch] if batch > 1 else []))
    parameters, step = jax_functions(network, dtype, batch > 1)
    return jax_work(parameters, step, feed, batch)


def jax_scan(network: Network, dtype: str, samples: int = SAMPLES, batch: int = 1) -> Work:
    """jax.lax.scan is called once for many samples or batches."""
    shape = (samples // batch, batch) if batch > 1 else (samples,)
    feed = jax_samples(network, dtype, *shape)
    parameters, step = jax_functions(network, dtype, batch > 1)
    return jax_work(parameters, partial(one_core.jax_module().lax.scan, step), feed, samples)
