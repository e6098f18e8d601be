"""A convolution layer: forward, input gradient and kernel gradient, each by itself.

Of cgraph, the compiled step of the layer is driven alone, without a Graph. It computes the kernel gradient always and
the input gradient where that is wanted: each is what a call takes longer with it. In a Graph, forward and both
gradients are what its calls take longer with the layer.
"""

from typing import Any, NamedTuple

import numpy as np
import one_core
from timing import Work

import cgraph as CG
from cgraph import _kernels
from cgraph._kernels.runtime import plan
from cgraph._kernels.runtime.step import RowPort
from cgraph._lowering.buffers import Access, place_blocks
from cgraph._lowering.fusion import fuse
from cgraph._lowering.sample_steps import Builder

FLOP_OF_A_CALL = 10_000_000  # so that the call itself does not count


class Layer(NamedTuple):
    """`channels` to as many, square kernels and images, padded by half a kernel."""

    channels: int
    kernel: int
    stride: int
    size: int

    @property
    def padding(self) -> int:
        return self.kernel // 2

    @property
    def output(self) -> int:
        """As with as much padding on all sides; or one more, where windows would not reach the last element."""
        symmetric = (self.size + 2 * self.padding - self.kernel) // self.stride
        reaching = -(-(self.size + self.padding - self.kernel) // self.stride)
        return max(symmetric, reaching) + 1

    @property
    def flop(self) -> int:
        """Of each of the three."""
        return 2 * (self.output * self.kernel * self.channels) ** 2

    def nodes(self, inputs: list[CG.Node]) -> list[CG.Node]:
        rng = np.random.default_rng(1)
        kernels = rng.normal(0, 0.1, (self.channels, self.channels, self.kernel, self.kernel))
        p, n = self.padding, self.output
        return [CG.Convolution2d(inputs, k, 0.0, self.stride, p, p, n, n) for k in kernels]


class StepAlone:
    """The step of a layer on another one, many times in a call, with an arena of its own full of random numbers."""

    def __init__(self, layer: Layer, input_gradient: bool) -> None:
        x = CG.Leaf2(layer.size, layer.size, dtype="float32")
        below = [CG.Convolution2d([x], [[[1.0]]], 0.0) for _ in range(layer.channels)]
        program = fuse(layer.nodes(below))
        data = place_blocks(program, x.dtype)
        unit = program.units[-1]
        inputs, unit.block.wanted = unit.blocks[0], (True, True)
        inputs.wanted = (input_gradient, input_gradient)
        builder = Builder(_kernels.build(x.dtype), x.dtype)
        step = builder.step(unit, [Access(inputs, 0, add=False)])
        regions = (data, data, builder.values, builder.values, builder.scratch)
        self.arrays = [region.allocate() for region in regions]
        for array in self.arrays[:3]:
            array[...] = np.random.default_rng(1).normal(size=array.shape)
        self.memory = plan.Memory(*(a.__array_interface__["data"][0] for a in self.arrays))
        self.times = max(FLOP_OF_A_CALL // layer.flop, 1)
        self.steps, self.learners = plan.Steps([step] * self.times), plan.Steps([])

    def work(self, backward: bool) -> Work:
        """Forward passes, and then as many backward passes that overwrite what they compute."""
        route = plan.Route(self.steps, self.memory, 1, [], RowPort(0, 4), [], self.memory)
        out = np.empty(1, np.float32)
        task = {"backward": backward, "lean": False, "fresh": True, "batch": 0, "eta": 0.0}

        def passes() -> None:  # which keeps `self`, and with it the arrays, alive
            plan.run(plan.prepare(route, route, 1, self.learners, [], out, 1, 1, **task))

        return Work(passes, self.times)


def graph_parts(layer: Layer) -> dict[str, Work]:
    """Forward; with the kernel gradient; with both gradients."""
    kernel, both = (StepAlone(layer, input_gradient) for input_gradient in (False, True))
    return {
        "forward": both.work(backward=False),
        "with kernel": kernel.work(backward=True),
        "with both": both.work(backward=True),
    }


def graph_calls(layer: Layer, batch: int, included: bool) -> dict[str, Work]:
    """Forward, and all of a training step but the update, of a Graph with the layer or of the same one without it."""
    size = layer.size
    x, t = CG.Leaf2(size, size, dtype="float32"), CG.Leaf1(layer.channels, dtype="float32")
    h: list[CG.Node] = [CG.Convolution2d([x], [[[1.0]]], 0.0) for _ in range(layer.channels)]
    if included:
        h = layer.nodes(h)
    ends = [CG.AveragePooling2d(channel, channel.height, channel.width, 1) for channel in h]
    loss = CG.MSE(CG.Concatenation(ends), t)
    graph = CG.Graph(loss, leaf_grads=False, threads=1)
    rng = np.random.default_rng(1)
    shapes = {x: (batch, size, size), t: (batch, layer.channels)}
    feed = {leaf: rng.normal(size=shape).astype(np.float32) for leaf, shape in shapes.items()}
    return {
        "forward": Work(lambda: graph.predict(feed), batch),
        "all": Work(lambda: graph.accumulate(feed), batch),
    }


def torch_parts(layer: Layer, channels_last: bool, batch: int = 1) -> dict[str, Work]:
    torch = one_core.torch_module()
    size = max(layer.size, (layer.output - 1) * layer.stride + layer.kernel - 2 * layer.padding)
    c, k, p, stride = layer.channels, layer.kernel, [layer.padding] * 2, [layer.stride] * 2
    form = torch.channels_last if channels_last else torch.contiguous_format
    shapes = [(batch, c, size, size), (c, c, k, k), (batch, c, layer.output, layer.output)]
    x, w, g = (torch.randn(shape).to(memory_format=form) for shape in shapes)
    bias = torch.zeros(c)

    def gradient(*wanted: bool) -> Any:
        backward = torch.ops.aten.convolution_backward
        return backward(g, x, w, [c], stride, p, [1, 1], False, [0, 0], 1, wanted)

    calls = {
        "forward": lambda: torch.nn.functional.conv2d(x, w, bias, stride, p),
        "input": lambda: gradient(True, False, False),
        "kernel": lambda: gradient(False, True, True),
    }
    return {part: Work(torch.inference_mode()(call), batch) for part, call in calls.items()}
