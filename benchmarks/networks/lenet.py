"""LeNet-5: 28×28; 6@5×5 with padding 2, ReLU, pooling; 16@5×5, ReLU, pooling; 400-120-84-10, Softmax, CEE.

Without the padding, as SimpleChains has it, there are 256 elements instead of 400.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

import cgraph as CG
from benchmarks.measure import one_core
from benchmarks.networks.mlp import Layers, weights
from benchmarks.networks.network import Network, Nodes

CONVOLUTIONS = ((6, 1, 5, 5), (16, 6, 5, 5))
PADDINGS = (2, 0)
AFFINES = Layers((400, 120, 84, 10))
AFFINES_WITHOUT_PADDING = Layers((256, 120, 84, 10))


def nodes(dtype: str, padding: int = 2) -> Nodes:
    rng = np.random.default_rng(1)
    x = CG.Leaf2(28, 28, dtype=dtype)

    def channels(inputs: list[CG.Node], count: int, size: int) -> list[CG.Node]:
        outputs = []
        for _ in range(count):
            kernel = rng.normal(0, 0.1, (len(inputs), 5, 5))
            convolution = CG.Convolution2d(inputs, kernel, 0.0, size, size)
            outputs.append(CG.MaxPooling2d(CG.ReLU(convolution), 2, 2, 2))
        return outputs

    h = CG.Concatenation(channels(channels([x], 6, 24 + 2 * padding), 16, 8 + padding))
    return affines(padding).nodes_on([x], h, dtype)


def affines(padding: int) -> Layers:
    return AFFINES if padding else AFFINES_WITHOUT_PADDING


def torch_model(padding: int = 2) -> Any:
    nn = one_core.torch_module().nn
    return nn.Sequential(
        *(nn.Conv2d(1, 6, 5, padding=padding), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2)),
        nn.Flatten(),
        *affines(padding).torch_layers(),
    )


def torch_model_without_padding() -> Any:
    """Returns the model with the same parameters as cgraph's."""
    torch = one_core.torch_module()
    rng = np.random.default_rng(1)
    model = torch_model(0)
    with torch.no_grad():
        for layer, shape in zip((model[0], model[3]), CONVOLUTIONS, strict=True):
            layer.weight.copy_(torch.from_numpy(rng.normal(0, 0.1, shape)))
            layer.bias.zero_()
        for layer, values in zip(
            model[7::2], weights(AFFINES_WITHOUT_PADDING.sizes, "float64"), strict=True
        ):
            for target, value in zip((layer.weight, layer.bias), values, strict=True):
                target.copy_(torch.from_numpy(value.T.copy()))
    return model


def jax_model(dtype: str, padding: int = 2) -> tuple[Any, Callable[[Any, Any], Any]]:
    """JAX has channels last and pools by reshaping, the fastest method of those tried."""
    jax = one_core.jax_module()
    rng = np.random.default_rng(1)
    filters = [
        (rng.normal(0, 0.1, shape).astype(dtype), np.zeros(shape[0], dtype))
        for shape in CONVOLUTIONS
    ]
    layers, apply_affines = affines(padding).jax_model(dtype)

    def apply(parameters: Any, x: Any) -> Any:
        h = x.reshape(1, 28, 28, 1)
        for layer, own in zip(parameters[0], (padding, 0), strict=True):
            h = jax_pooling(jax_convolution(h, *layer, own))
        return apply_affines(parameters[1], h)

    return jax.tree.map(jax.numpy.asarray, (filters, layers)), apply


def jax_convolution(h: Any, kernel: Any, bias: Any, padding: int) -> Any:
    """A convolution with ReLU."""
    jax = one_core.jax_module()
    form, paddings = ("NHWC", "OIHW", "NHWC"), [(padding, padding)] * 2
    h = jax.lax.conv_general_dilated(h, kernel, (1, 1), paddings, dimension_numbers=form)
    return jax.nn.relu(h + bias)


def jax_pooling(h: Any) -> Any:
    _, height, width, channels = h.shape
    return h.reshape(height // 2, 2, width // 2, 2, channels).max((1, 3))[None]


def onnx_model(batch: int) -> bytes:
    """An ONNX model for inference, from inputs of shape (batch, 1, 28, 28) to probabilities."""
    from onnx import TensorProto, helper, numpy_helper

    state = {name: value.numpy() for name, value in torch_model().state_dict().items()}
    values = [(state[name], state[name.replace("weight", "bias")]) for name in state if "w" in name]
    operations: list[tuple[str, dict[str, Any]]] = []
    for padding in PADDINGS:
        operations += [("Conv", {"pads": [padding] * 4}), ("Relu", {})]
        operations += [("MaxPool", {"kernel_shape": [2, 2], "strides": [2, 2]})]
    operations += [("Flatten", {}), *[("Gemm", {"transB": 1}), ("Relu", {})] * 2]
    operations += [("Gemm", {"transB": 1}), ("Softmax", {"axis": 1})]
    graph, constants, at = [], [], "x"
    for number, (name, attributes) in enumerate(operations):
        inputs, output = [at], f"h{number}"
        if name in ("Conv", "Gemm"):
            for array in values[len(constants) // 2]:
                inputs.append(f"p{len(constants)}")
                constants.append(numpy_helper.from_array(array, inputs[-1]))
        graph.append(helper.make_node(name, inputs, [output], **attributes))
        at = output
    kind = TensorProto.FLOAT
    ends = [
        [helper.make_tensor_value_info(name, kind, shape)]
        for name, shape in (("x", (batch, 1, 28, 28)), (at, (batch, 10)))
    ]
    made = helper.make_graph(graph, "LeNet-5", *ends, constants)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return model.SerializeToString()


LENET = Network((1, 28, 28), 10, nodes, torch_model, jax_model)
LENET_WITHOUT_PADDING = Network(
    (1, 28, 28),
    10,
    partial(nodes, padding=0),
    torch_model_without_padding,
    partial(jax_model, padding=0),
)
