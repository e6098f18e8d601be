"""A training step on one sample or on a batch: forward, backward, update. A contender for each way to run it.

The peers take the mean of the losses of a batch; cgraph takes their sum, and divides the rate.
"""

from functools import partial
from typing import Any

import numpy as np

import cgraph as CG
from benchmarks.contenders import mlp_peers
from benchmarks.contenders.mlp_peers import flat
from benchmarks.measure import one_core
from benchmarks.measure.peers import Makers
from benchmarks.measure.timing import Work
from benchmarks.networks.mlp import MLP, MLP_LAYERS
from benchmarks.networks.network import ETA, Network

GRAPH_STEP, GRAPH_TRAIN, NODE_PATH = OURS = ("`Graph.step`", "`Graph.train`", "Node path")
PYTORCH = ("PyTorch eager", "PyTorch eager, channels last", "torch.compile, channels last")
SCAN = ("jax.lax.scan", "jax.lax.scan, one vector")  # many batches in a call, as in Graph.train
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
        "NumPy by hand": partial(mlp_peers.numpy_step, MLP_LAYERS, dtype, batch),
        "scikit-learn": partial(mlp_peers.sklearn_step, MLP_LAYERS, dtype, batch),
    }


def node_path(network: Network, dtype: str) -> Work:
    """A step is made of the nodes' own passes."""
    leaves, t, _, loss = network.nodes(dtype)
    inputs, targets = network.samples(1, dtype)
    channels, target = inputs[0], network.rows(targets, dtype)[0]

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
    inputs, targets = network.samples(samples, dtype)
    feed = {**nodes.feed(inputs), nodes.t: network.rows(targets, dtype)}
    return CG.Graph(nodes.loss, threads=threads), feed


def graph_step(network: Network, dtype: str, batch: int = 1, threads: int = 1) -> Work:
    """Graph.step is called for each batch."""
    graph, feed = graph_and_feed(network, dtype, batch, threads)
    return Work(lambda: graph.step(feed, ETA / batch), batch, partial(graph_values, graph))


def graph_train(network: Network, dtype: str, samples: int = SAMPLES, batch: int = 1) -> Work:
    """Graph.train is called once for many samples."""
    graph, feed = graph_and_feed(network, dtype, samples)
    learned = partial(graph_values, graph)
    return Work(lambda: graph.train(feed, ETA / batch, batch), samples, learned)


def graph_accumulate(network: Network, dtype: str, batch: int) -> Work:
    """Graph.accumulate adds to the gradient sums; the result is the gradient of the mean loss."""
    graph, feed = graph_and_feed(network, dtype, batch)

    def gradient() -> np.ndarray:
        graph.zero_grad()
        graph.accumulate(feed)
        return flat(parameter.grad for parameter in graph.parameters) / batch

    return Work(lambda: graph.accumulate(feed), batch, gradient)


def graph_values(graph: CG.Graph) -> np.ndarray:
    return flat(parameter.value for parameter in graph.parameters)


def torch_step(
    network: Network,
    dtype: str,
    batch: int = 1,
    channels_last: bool = False,
    compiled: bool = False,
    **options: bool,
) -> Work:
    """PyTorch makes a step eagerly, or with the loss and the update compiled; options are those of its optimiser."""
    torch = one_core.torch_module()
    form = torch.channels_last if channels_last else torch.contiguous_format
    forward, model = torch_loss(network, dtype, batch, form)
    optimiser = torch.optim.SGD(model.parameters(), lr=ETA, **options)

    update = optimiser.step
    if compiled:
        forward = torch.compile(forward, dynamic=False)
        update = torch.compile(update, dynamic=False)

    def step() -> None:
        optimiser.zero_grad()
        forward().backward()
        update()

    return Work(step, batch, lambda: torch_flat(model.parameters()))


def torch_gradient(network: Network, dtype: str, batch: int) -> Work:
    """PyTorch computes the gradient of the mean loss, in new tensors each time."""
    torch = one_core.torch_module()
    forward, model = torch_loss(network, dtype, batch, torch.contiguous_format)
    parameters = list(model.parameters())

    def gradient() -> Any:
        return torch.autograd.grad(forward(), parameters)

    return Work(gradient, batch, lambda: torch_flat(gradient()))


def torch_loss(network: Network, dtype: str, batch: int, form: Any) -> tuple[Any, Any]:
    """Returns the function that computes the mean loss of a batch, and the model in it."""
    torch = one_core.torch_module()
    model = network.torch_model().to(getattr(torch, dtype)).to(memory_format=form)
    inputs, targets = network.samples(batch, dtype)
    x = torch.from_numpy(network.torch_inputs(inputs)).to(memory_format=form)
    t = torch.from_numpy(targets)
    criterion = network.loss.torch_loss()

    def forward() -> Any:
        return criterion(model(x), t)

    return forward, model


def torch_flat(tensors: Any) -> np.ndarray:
    """Returns the elements of tensors, matrices transposed, as the other frameworks have them."""
    return flat(tensor.detach().numpy().T for tensor in tensors)


def jax_samples(network: Network, dtype: str, *shape: int) -> tuple[Any, Any]:
    """Returns inputs, channels last, and their targets, in arrays whose first dimensions are `shape`."""
    jnp = one_core.jax_module().numpy
    inputs, targets = network.samples(int(np.prod(shape)), dtype)
    inputs = np.moveaxis(inputs, 1, -1)
    inputs = inputs.reshape(*shape, *inputs.shape[1:])
    return jnp.asarray(inputs), jnp.asarray(targets.reshape((*shape, *targets.shape[1:])))


def jax_loss(network: Network, dtype: str, batches: bool) -> tuple[Any, Any]:
    """Returns parameters, and the function of these and of a sample or a batch that returns the (mean) loss."""
    jax = one_core.jax_module()
    parameters, apply = network.jax_model(dtype)

    def sample_loss(parameters: Any, x: Any, target: Any) -> Any:
        return network.loss.jax_loss(apply(parameters, x), target)

    def batch_loss(parameters: Any, x: Any, target: Any) -> Any:
        return jax.vmap(sample_loss, (None, 0, 0))(parameters, x, target).mean()

    return parameters, batch_loss if batches else sample_loss


def jax_functions(
    network: Network, dtype: str, batches: bool, one_vector: bool = False
) -> tuple[Any, Any]:
    """Returns parameters, and (parameters, (x, target)) -> (new parameters, loss) for a sample or a batch.

    With all parameters in one vector, a call hands over fewer arrays, and there is one update.
    """
    jax = one_core.jax_module()
    parameters, loss = jax_loss(network, dtype, batches)
    vector, parts = jax.flatten_util.ravel_pytree(parameters)

    def step(parameters: Any, samples: Any) -> tuple[Any, Any]:
        value, gradients = jax.value_and_grad(loss)(parameters, *samples)
        return jax.tree.map(lambda p, g: p - ETA * g, parameters, gradients), value

    def vector_step(vector: Any, samples: Any) -> tuple[Any, Any]:
        value, gradients = jax.value_and_grad(loss)(parts(vector), *samples)
        return vector - ETA * jax.flatten_util.ravel_pytree(gradients)[0], value

    return (vector, vector_step) if one_vector else (parameters, step)


def jax_work(parameters: Any, function: Any, feed: Any, samples: int) -> Work:
    """A compiled function that takes the parameters' memory for the new ones."""
    jax = one_core.jax_module()
    compiled = jax.jit(function, donate_argnums=0)

    def call() -> None:
        nonlocal parameters
        parameters, loss = compiled(parameters, feed)
        loss.block_until_ready()

    return Work(call, samples, lambda: flat(jax.tree.leaves(parameters)))


def jax_step(network: Network, dtype: str, batch: int = 1, one_vector: bool = False) -> Work:
    """jax.jit is called for each sample or batch."""
    feed = jax_samples(network, dtype, *([batch] if batch > 1 else []))
    parameters, step = jax_functions(network, dtype, batch > 1, one_vector)
    return jax_work(parameters, step, feed, batch)


def jax_scan(
    network: Network,
    dtype: str,
    samples: int = SAMPLES,
    batch: int = 1,
    one_vector: bool = False,
) -> Work:
    """jax.lax.scan is called once for many samples or batches."""
    shape = (samples // batch, batch) if batch > 1 else (samples,)
    feed = jax_samples(network, dtype, *shape)
    parameters, step = jax_functions(network, dtype, batch > 1, one_vector)
    return jax_work(parameters, partial(one_core.jax_module().lax.scan, step), feed, samples)


def jax_gradient(network: Network, dtype: str, batch: int, one_vector: bool = False) -> Work:
    """jax.jit computes the mean loss of a batch and its gradient."""
    jax = one_core.jax_module()
    parameters, loss = jax_loss(network, dtype, True)
    vector, parts = jax.flatten_util.ravel_pytree(parameters)
    feed = jax_samples(network, dtype, batch)

    def vector_loss(vector: Any, *samples: Any) -> Any:
        return loss(parts(vector), *samples)

    at, function = (vector, vector_loss) if one_vector else (parameters, loss)
    compiled = jax.jit(jax.value_and_grad(function))

    def call() -> Any:
        return jax.block_until_ready(compiled(at, *feed))

    return Work(call, batch, lambda: flat(jax.tree.leaves(call()[1])))
