"""The probabilities of an image or of a batch, by LeNet-5 in float32. A contender for each way to run it."""

from typing import Any

import one_core
from lenet import LENET, onnx_model
from timing import Work
from training import jax_samples

import cgraph as CG

DTYPE = "float32"


def graph_predict(batch: int = 1) -> Work:
    nodes = LENET.nodes(DTYPE)
    graph = CG.Graph(nodes.loss, threads=1)
    feed = nodes.feed(LENET.samples(batch, DTYPE)[0])
    return Work(lambda: graph.predict(feed, nodes.y), batch)


def torch_predict(batch: int = 1, frozen: bool = False, channels_last: bool = False) -> Work:
    """In inference_mode; or traced and frozen."""
    torch = one_core.torch_module()
    form = torch.channels_last if channels_last else torch.contiguous_format
    model = torch.nn.Sequential(LENET.torch_model(), torch.nn.Softmax(1)).eval()
    model = model.to(memory_format=form)
    x = torch.from_numpy(LENET.samples(batch, DTYPE)[0]).to(memory_format=form)
    if frozen:
        model = torch.jit.freeze(torch.jit.trace(model, x))

    def predict() -> None:
        with torch.inference_mode():
            model(x)

    return Work(predict, batch)


def onnx_predict(batch: int = 1, bound: bool = False) -> Work:
    """From a NumPy array to one; or with both bound beforehand."""
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


def jax_predict(batch: int) -> Work:
    """jax.jit."""
    jax = one_core.jax_module()
    parameters, apply = LENET.jax_model(DTYPE)
    x, _ = jax_samples(LENET, DTYPE, batch)

    def predict(parameters: Any, x: Any) -> Any:
        return jax.nn.softmax(jax.vmap(apply, (None, 0))(parameters, x))

    compiled = jax.jit(predict)
    return Work(lambda: compiled(parameters, x).block_until_ready(), batch)
