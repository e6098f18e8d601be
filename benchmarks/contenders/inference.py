"""The probabilities of an image or of a batch, by a network in float32. A contender for each way to run it."""

from functools import partial
from typing import Any

import numpy as np

import cgraph as CG
from benchmarks.contenders.training import jax_samples
from benchmarks.measure import one_core
from benchmarks.measure.peers import Makers
from benchmarks.measure.timing import Work
from benchmarks.networks.lenet import LENET, onnx_model
from benchmarks.networks.network import Network

DTYPE = "float32"
PYTORCH = "PyTorch, inference_mode"
FROZEN = ("PyTorch, traced and frozen", "PyTorch, traced and frozen, channels last")
ONNXRUNTIME = ("onnxruntime", "onnxruntime, input and output bound")


def lenet_contenders(batch: int) -> Makers:
    """The contenders for LeNet-5."""
    torch_predict_of = partial(torch_predict, LENET, DTYPE, batch)
    onnx_plain, onnx_bound = ONNXRUNTIME
    return {
        "`Graph.predict`": partial(graph_predict, LENET, DTYPE, batch),
        PYTORCH: torch_predict_of,
        FROZEN[0]: partial(torch_predict_of, frozen=True),
        FROZEN[1]: partial(torch_predict_of, frozen=True, channels_last=True),
        onnx_plain: partial(onnx_predict, batch),
        onnx_bound: partial(onnx_predict, batch, bound=True),
        "jax.jit": partial(jax_predict, LENET, DTYPE, batch),
    }


def graph_predict(network: Network, dtype: str, batch: int = 1, into: bool = False) -> Work:
    """Graph.predict is called for each batch, and returns a new array or writes into one."""
    nodes = network.nodes(dtype)
    graph = CG.Graph(nodes.loss, threads=1)
    feed = nodes.feed(network.samples(batch, dtype)[0])
    out = np.empty((batch, nodes.y.size), dtype) if into else None
    return Work(
        lambda: graph.predict(feed, nodes.y, out),
        batch,
        lambda: graph.predict(feed, nodes.y, out).ravel(),
    )


def torch_predict(
    network: Network,
    dtype: str,
    batch: int = 1,
    frozen: bool = False,
    channels_last: bool = False,
) -> Work:
    """PyTorch predicts in inference_mode; or traced and frozen."""
    torch = one_core.torch_module()
    form = torch.channels_last if channels_last else torch.contiguous_format
    model = network.loss.torch_prediction(network.torch_model()).eval()
    model = model.to(getattr(torch, dtype)).to(memory_format=form)
    inputs, _ = network.samples(batch, dtype)
    x = torch.from_numpy(network.torch_inputs(inputs)).to(memory_format=form)
    if frozen:
        model = torch.jit.freeze(torch.jit.trace(model, x))

    def predict() -> Any:
        with torch.inference_mode():
            return model(x)

    return Work(predict, batch, lambda: predict().numpy().ravel())


def onnx_predict(batch: int = 1, bound: bool = False) -> Work:
    """onnxruntime predicts from one NumPy array to another; or with both bound beforehand."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(onnx_model(batch), options, ["CPUExecutionProvider"])
    feed = {"x": LENET.samples(batch, DTYPE)[0]}
    if bound:
        binding = session.io_binding()
        binding.bind_cpu_input("x", feed["x"])
        binding.bind_output(session.get_outputs()[0].name)
        return Work(lambda: session.run_with_iobinding(binding), batch)
    return Work(lambda: session.run(None, feed), batch)


def jax_predict(network: Network, dtype: str, batch: int) -> Work:
    """jax.jit is called for each batch."""
    jax = one_core.jax_module()
    parameters, apply = network.jax_model(dtype)
    x, _ = jax_samples(network, dtype, batch)

    def predict(parameters: Any, x: Any) -> Any:
        return network.loss.jax_prediction(jax.vmap(apply, (None, 0))(parameters, x))

    compiled = jax.jit(predict)

    def call() -> Any:
        return compiled(parameters, x).block_until_ready()

    return Work(call, batch, lambda: np.ravel(call()))
