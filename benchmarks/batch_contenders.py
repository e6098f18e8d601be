"""Who takes part where batches are trained on: cgraph first, then its peers."""

from functools import partial

import mlp_peers
import training
from mlp import network
from network import Network
from timing import Work

MLP_SIZES = (784, 64, 64, 10)
CGRAPH, CGRAPH_MANY = "`Graph.step`", "`Graph.train`"
PYTORCH = ("PyTorch eager", "PyTorch eager, channels last", "torch.compile, channels last")


def image_contenders(
    net: Network, dtype: str, batch: int, threads: int = 1, compiled: bool = False
) -> dict[str, Work]:
    """For networks that begin with convolutions; torch.compile takes long, and is slower than eager on LeNet-5."""
    torch_step = partial(training.torch_step, net, dtype, batch)
    plain, last, fused = PYTORCH
    contenders = {
        CGRAPH: training.graph_step(net, dtype, batch, threads),
        plain: torch_step(),
        last: torch_step(channels_last=True),
        "jax.jit": training.jax_step(net, dtype, batch),
    }
    if compiled:
        contenders[fused] = torch_step(channels_last=True, compiled=True)
    return contenders


def mlp_contenders(batch: int) -> dict[str, Work]:
    """For the MLP, in float32."""
    net, dtype = network(*MLP_SIZES), "float32"
    many = max(training.BATCHES * batch, training.SAMPLES)
    return {
        CGRAPH: training.graph_step(net, dtype, batch),
        CGRAPH_MANY: training.graph_train(net, dtype, many, batch),
        "PyTorch eager": training.torch_step(net, dtype, batch),
        "jax.jit": training.jax_step(net, dtype, batch),
        "jax.lax.scan": training.jax_scan(net, dtype, many, batch),
        "NumPy by hand": mlp_peers.numpy_step(MLP_SIZES, dtype, batch),
        "scikit-learn": mlp_peers.sklearn_step(MLP_SIZES, dtype, batch),
    }
