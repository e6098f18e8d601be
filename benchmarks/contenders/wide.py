"""Wide layers: convolutions of 16 to 512 channels and affine layers of 64 to 4,096 elements, float32.

A layer takes one sample after the other, as a compiled step alone; or many side by side in lanes, as the step that a
Graph with this layer has, where its rule chooses that.
"""

from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any, NamedTuple

import numpy as np

import cgraph as CG
from benchmarks.contenders.convolution import Layer, torch_part
from benchmarks.measure import one_core
from benchmarks.measure.internals import LayerStep, runs_over_lanes, step_of
from benchmarks.measure.peers import Makers
from benchmarks.measure.timing import Work

CHANNELS = (16, 32, 64, 128, 256, 512)
KERNELS = (1, 3, 5)
IMAGES = (4, 7, 14, 28, 56)
ELEMENTS = (64, 128, 256, 512, 1024, 2048, 4096)
BATCHES = (1, 8, 64)
MOST_FLOP = 1_000_000_000  # of a part of a call; what takes more is left out
FLOP_OF_A_CALL = 10_000_000  # so that the call itself does not count
# What is measured of a step, and which part of the work each one adds to the one before.
FORWARD, WITH_KERNEL, WITH_BOTH = "forward", "with kernel", "with both"
ITEMSIZE = 4


class Affine(NamedTuple):
    """An affine layer of `size` elements to as many."""

    size: int

    @property
    def name(self) -> str:
        return f"Affine {self.size}"

    @property
    def flop(self) -> int:
        """FLOP of each of the three parts."""
        return 2 * self.size**2

    @property
    def elements(self) -> tuple[int, int]:
        """The elements of a sample's input and output, and of the weights."""
        return 2 * self.size, self.size**2

    def graph(self, input_gradient: bool) -> tuple[CG.Graph, CG.Node]:
        """Returns a Graph with a loss behind the layer, and the layer's output."""
        x, t = (CG.Leaf1(self.size, dtype="float32") for _ in range(2))
        weight = np.random.default_rng(1).normal(0, self.size**-0.5, (self.size + 1, self.size))
        y = CG.Affine(x, weight.astype(np.float32))
        return CG.Graph(CG.MSE(y, t), leaf_grads=[x] if input_gradient else False, threads=1), y


class Convolution(Layer):
    """A convolution of `channels` to as many, with stride 1 and as large an output as its input."""

    @property
    def name(self) -> str:
        k, n = self.kernel, self.size
        return f"{self.channels} channels, {k}×{k}, {n}×{n}"

    @property
    def elements(self) -> tuple[int, int]:
        """The elements of a sample's input and output, and of the kernels."""
        return 2 * self.channels * self.size**2, (self.channels * self.kernel) ** 2

    def graph(self, input_gradient: bool) -> tuple[CG.Graph, CG.Node]:
        """Returns a Graph with the layer on another one, which always takes a gradient, and one of its outputs."""
        (_, h), t = self.nodes(), CG.Leaf1(self.channels, dtype="float32")
        ends = [CG.AveragePooling2d(channel, channel.height, channel.width, 1) for channel in h]
        loss = CG.MSE(CG.Concatenation(ends), t)
        return CG.Graph(loss, leaf_grads=False, threads=1), h[0]


WideLayer = Affine | Convolution
CONVOLUTIONS = [
    Convolution(channels, kernel, 1, size)
    for kernel, size, channels in product(KERNELS, IMAGES, CHANNELS)
]
AFFINES = [Affine(size) for size in ELEMENTS]


def one_by_one(layer: Layer | Affine, batch: int) -> Makers:
    """The compiled step alone, one sample after the other; a batch's gradients are added up."""
    if isinstance(layer, Affine):
        return graph_step(layer, batch, run=1)
    times = repeats(layer, batch)

    def work(input_gradient: bool, backward: bool) -> Work:
        return LayerStep(layer.nodes()[1], input_gradient, times).work(backward, batch)

    return makers(work)


def in_lanes(layer: WideLayer, batch: int) -> Makers:
    """The step of a Graph in the layout of the rule for this batch; empty where that is one sample after the other."""
    if not runs_over_lanes(run_graph(layer, batch, True)[0]):
        return {}
    found = graph_step(layer, batch, run=batch)
    if isinstance(
        layer, Convolution
    ):  # on another layer, so its input's gradient is always computed
        return {part: found[part] for part in (FORWARD, WITH_BOTH)}
    return found


def graph_step(layer: WideLayer, batch: int, run: int) -> Makers:
    """The layer's step of a Graph, in the layout for `run` samples, with a batch in a call."""

    def work(input_gradient: bool, backward: bool) -> Work:
        step = step_of(*run_graph(layer, run, input_gradient), repeats(layer, batch))
        return step.work(backward, learn=False, eta=0.0, samples=batch)

    return makers(work)


def repeats(layer: Layer | Affine, batch: int) -> int:
    """How often a step is in a call."""
    return max(FLOP_OF_A_CALL // (layer.flop * batch), 1)


def makers(work: Callable[[bool, bool], Work]) -> Makers:
    return {
        FORWARD: partial(work, False, False),
        WITH_KERNEL: partial(work, False, True),
        WITH_BOTH: partial(work, True, True),
    }


def run_graph(layer: WideLayer, batch: int, input_gradient: bool) -> tuple[CG.Graph, CG.Node]:
    """Returns the layer's Graph, which has computed a batch, and a node of the layer."""
    graph, node = layer.graph(input_gradient)
    rng = np.random.default_rng(1)
    graph.accumulate(
        {x: rng.normal(size=(batch, *x.data.shape)).astype(np.float32) for x in graph.leaves}
    )
    return graph, node


CGRAPH, PYTORCH, JAX = "cgraph", ("PyTorch eager", "PyTorch eager, channels last"), "jax.jit"


def all_parts(layer: Convolution, batch: int) -> Makers:
    """Forward and both gradients of a layer on a batch, by the compiled step and by the peers."""
    return {
        CGRAPH: one_by_one(layer, batch)[WITH_BOTH],
        PYTORCH[0]: partial(torch_parts, layer, batch, False),
        PYTORCH[1]: partial(torch_parts, layer, batch, True),
        JAX: partial(jax_parts, layer, batch),
    }


def torch_parts(layer: Convolution, batch: int, channels_last: bool) -> Work:
    forward = torch_part(layer, "forward", channels_last, batch)
    gradients = torch_part(layer, "both", channels_last, batch)
    return Work(lambda: (forward.call(), gradients.call()), batch)


def jax_parts(layer: Convolution, batch: int) -> Work:
    """jax.jit computes all parts in a call, channels last, which is the faster format there."""
    jax = one_core.jax_module()
    c, k, n = layer.channels, layer.kernel, layer.size
    rng = np.random.default_rng(1)
    x, w, g = (
        jax.numpy.asarray(rng.normal(size=shape).astype(np.float32))
        for shape in ((batch, n, n, c), (k, k, c, c), (batch, n, n, c))
    )

    def forward(x: Any, w: Any) -> Any:
        return jax.lax.conv_general_dilated(
            x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    def parts(x: Any, w: Any, g: Any) -> Any:
        y, gradients = jax.vjp(forward, x, w)
        return y, gradients(g)

    compiled = jax.jit(parts)
    return Work(lambda: jax.block_until_ready(compiled(x, w, g)), batch)
