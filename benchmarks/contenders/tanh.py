"""Networks with Tanh: a training step, the gradient alone, a prediction; a contender for each way to run them."""

from collections.abc import Callable
from functools import partial

from benchmarks.contenders import inference, mlp_peers, training
from benchmarks.contenders.training import BATCHES, GRAPH_STEP, GRAPH_TRAIN, SAMPLES, SCAN
from benchmarks.measure.peers import Makers
from benchmarks.measure.timing import Work
from benchmarks.networks.mlp import Layers

GRAPH_ACCUMULATE, GRAPH_PREDICT = "`Graph.accumulate`", "`Graph.predict`"
EAGER = ("PyTorch eager", "PyTorch eager, foreach", "PyTorch eager, fused")
BY_HAND, COMPILED = "PyTorch by hand, without autograd", "torch.compile"
JIT = ("jax.jit", "jax.jit, one vector")
FROZEN = "PyTorch, traced and frozen"
NUMPY = "NumPy by hand"


def steps(layers: Layers, dtype: str, batch: int) -> Makers:
    """Training steps; `Graph.train` and jax.lax.scan have many in a call."""
    net, many = layers.network, max(BATCHES * batch, SAMPLES)
    torch_step = partial(training.torch_step, net, dtype, batch)
    return {
        GRAPH_STEP: partial(training.graph_step, net, dtype, batch),
        EAGER[0]: torch_step,
        EAGER[1]: partial(torch_step, foreach=True),
        EAGER[2]: partial(torch_step, fused=True),
        BY_HAND: partial(mlp_peers.torch_by_hand, layers, dtype, batch),
        JIT[0]: partial(training.jax_step, net, dtype, batch),
        JIT[1]: partial(training.jax_step, net, dtype, batch, one_vector=True),
        NUMPY: partial(mlp_peers.numpy_step, layers, dtype, batch),
        GRAPH_TRAIN: partial(training.graph_train, net, dtype, many, batch),
        SCAN[0]: partial(training.jax_scan, net, dtype, many, batch),
        SCAN[1]: partial(training.jax_scan, net, dtype, many, batch, one_vector=True),
    }


def compiled_step(layers: Layers, dtype: str, batch: int) -> Callable[[], Work]:
    return partial(training.torch_step, layers.network, dtype, batch, compiled=True)


def gradients(layers: Layers, dtype: str, batch: int) -> Makers:
    """The losses or their mean, and the gradient."""
    net = layers.network
    return {
        GRAPH_ACCUMULATE: partial(training.graph_accumulate, net, dtype, batch),
        EAGER[0]: partial(training.torch_gradient, net, dtype, batch),
        JIT[0]: partial(training.jax_gradient, net, dtype, batch),
        JIT[1]: partial(training.jax_gradient, net, dtype, batch, one_vector=True),
        NUMPY: partial(mlp_peers.numpy_gradient, layers, dtype, batch),
    }


def predictions(layers: Layers, dtype: str, batch: int) -> Makers:
    net = layers.network
    return {
        GRAPH_PREDICT: partial(inference.graph_predict, net, dtype, batch),
        "`Graph.predict`, out": partial(inference.graph_predict, net, dtype, batch, into=True),
        inference.PYTORCH: partial(inference.torch_predict, net, dtype, batch),
        FROZEN: partial(inference.torch_predict, net, dtype, batch, frozen=True),
        JIT[0]: partial(inference.jax_predict, net, dtype, batch),
        NUMPY: partial(mlp_peers.numpy_predict, layers, dtype, batch),
    }
