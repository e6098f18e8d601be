"""A convolution layer: forward, input gradient and kernel gradient.

PyTorch computes each by itself. For a Graph, each is the time that its calls take longer with the layer.
The compiled step of the layer alone, without a Graph, is in benchmarks/measure/internals.py.
"""

from typing import Any, NamedTuple

import numpy as np

import cgraph as CG
from benchmarks.measure import one_core
from benchmarks.measure.timing import Work


class Layer(NamedTuple):
    """A convolution of `channels` to as many, with square kernels and images, padded by half a kernel."""

    channels: int
    kernel: int
    stride: int
    size: int

    @property
    def padding(self) -> int:
        return self.kernel // 2

    @property
    def output(self) -> int:
        """The size of the output with equal padding on all sides, or one more where windows would not reach the end."""
        symmetric = (self.size + 2 * self.padding - self.kernel) // self.stride
        reaching = -(-(self.size + self.padding - self.kernel) // self.stride)
        return max(symmetric, reaching) + 1

    @property
    def flop(self) -> int:
        """FLOP of each of the three parts."""
        return 2 * (self.output * self.kernel * self.channels) ** 2

    @property
    def name(self) -> str:
        n, k = self.channels, self.kernel
        return f"{n} channels, {k}×{k}, stride {self.stride}, {self.size}×{self.size}"

    def nodes(self, included: bool = True) -> tuple[CG.Node, list[CG.Node]]:
        """A leaf, and the layer's outputs on channels that a 1×1 convolution makes of it; or these channels."""
        x = CG.Leaf2(self.size, self.size, dtype="float32")
        h: list[CG.Node] = [CG.Convolution2d([x], [[[1.0]]], 0.0) for _ in range(self.channels)]
        if not included:
            return x, h
        rng = np.random.default_rng(1)
        kernels = rng.normal(0, 0.1, (self.channels, self.channels, self.kernel, self.kernel))
        p, n = self.padding, self.output
        return x, [CG.Convolution2d(h, kernel, 0.0, self.stride, p, p, n, n) for kernel in kernels]


def graph_call(layer: Layer, batch: int, learn: bool, included: bool = True) -> Work:
    """A forward pass, or all of a training step but the update, of a Graph with the layer or without it."""
    (x, h), t = layer.nodes(included), CG.Leaf1(layer.channels, dtype="float32")
    ends = [CG.AveragePooling2d(channel, channel.height, channel.width, 1) for channel in h]
    loss = CG.MSE(CG.Concatenation(ends), t)
    graph = CG.Graph(loss, leaf_grads=False, threads=1)
    rng = np.random.default_rng(1)
    shapes = {x: (batch, layer.size, layer.size), t: (batch, layer.channels)}
    feed = {leaf: rng.normal(size=shape).astype(np.float32) for leaf, shape in shapes.items()}
    call = graph.accumulate if learn else graph.predict
    return Work(lambda: call(feed), batch)


def torch_part(layer: Layer, part: str, channels_last: bool, batch: int = 1) -> Work:
    """PyTorch computes a part: the output, the gradient of the input or of the kernels, or both."""
    torch = one_core.torch_module()
    size = max(layer.size, (layer.output - 1) * layer.stride + layer.kernel - 2 * layer.padding)
    c, k, p, stride = layer.channels, layer.kernel, [layer.padding] * 2, [layer.stride] * 2
    form = torch.channels_last if channels_last else torch.contiguous_format
    shapes = [(batch, c, size, size), (c, c, k, k), (batch, c, layer.output, layer.output)]
    x, w, g = (torch.randn(shape).to(memory_format=form) for shape in shapes)
    bias = torch.zeros(c)

    def gradient(*requires_grad: bool) -> Any:
        backward = torch.ops.aten.convolution_backward
        return backward(g, x, w, [c], stride, p, [1, 1], False, [0, 0], 1, requires_grad)

    calls = {
        "forward": lambda: torch.nn.functional.conv2d(x, w, bias, stride, p),
        "input": lambda: gradient(True, False, False),
        "kernel": lambda: gradient(False, True, True),
        "both": lambda: gradient(True, True, True),
    }
    return Work(torch.inference_mode()(calls[part]), batch)
