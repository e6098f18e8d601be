"""The probabilities of one image, by LeNet-5 in float32. A contender for each way to run it."""

import one_core
from lenet import LENET, onnx_model
from timing import Work

import cgraph as CG

DTYPE = "float32"


def graph_predict() -> Work:
    x, _, y, loss = LENET.nodes(DTYPE)
    graph = CG.Graph(loss)
    feed = {x: LENET.samples(1, DTYPE)[0]}
    return Work(lambda: graph.predict(feed, y))


def torch_predict(frozen: bool = False) -> Work:
    """In inference_mode; or traced and frozen."""
    torch = one_core.torch_module()
    model = torch.nn.Sequential(LENET.torch_model(), torch.nn.Softmax(1)).eval()
    x = torch.from_numpy(LENET.samples(1, DTYPE)[0])[None]
    if frozen:
        model = torch.jit.freeze(torch.jit.trace(model, x))

    def predict() -> None:
        with torch.inference_mode():
            model(x)

    return Work(predict)


def onnx_predict(bound: bool = False) -> Work:
    """From a NumPy array to one; or with both bound beforehand."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(onnx_model(), options, ["CPUExecutionProvider"])
    feed = {"x": LENET.samples(1, DTYPE)[0][None]}
    if bound:
        binding = session.io_binding()
        binding.bind_cpu_input("x", feed["x"])
        binding.bind_output(session.get_outputs()[0].name)
        return Work(lambda: session.run_with_iobinding(binding))
    return Work(lambda: session.run(None, feed))
