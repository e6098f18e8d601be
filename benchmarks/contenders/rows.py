"""The rows by which two builds of cgraph are compared: its own contenders, by its public names alone."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

import cgraph as CG
from benchmarks.contenders import affine, calls, chain, functions, inference, training
from benchmarks.contenders.convolution import Layer, graph_call
from benchmarks.measure.timing import Work
from benchmarks.networks.functions import SIGMOID, SOFTMAX, TANH
from benchmarks.networks.lenet import LENET
from benchmarks.networks.mlp import MLP
from benchmarks.networks.network import Network
from benchmarks.networks.tanh import CURVE, POLICY, SURROGATE, name
from benchmarks.networks.vgg import VGG

THREADS = 2  # in the rows with more than one thread


class Row(NamedTuple):
    """A call of cgraph on a network; `make` builds the graph."""

    network: str
    call: str
    batch: int
    dtype: str
    make: Callable[[], Work]
    threads: int = 1


def network_rows(
    name: str, network: Network, dtype: str, batches: list[int], many: int
) -> list[Row]:
    """Training and inference of a network, on one sample and on batches; Graph.train has many samples in a call."""
    rows = []
    for batch in batches:
        step = partial(training.graph_step, network, dtype, batch)
        predict = partial(inference.graph_predict, network, dtype, batch)
        rows.append(Row(name, "Graph.step", batch, dtype, step))
        rows.append(Row(name, "Graph.predict", batch, dtype, predict))
    for batch in (1, batches[-1]):
        train = partial(training.graph_train, network, dtype, many, batch)
        rows.append(Row(name, "Graph.train", batch, dtype, train))
    rows.append(Row(name, "node by node", 1, dtype, partial(training.node_path, network, dtype)))
    return rows


def layer_rows() -> list[Row]:
    """An affine layer, a convolution layer and a chain of tiny nodes."""
    layer, float32 = Layer(32, 3, 1, 56), "float32"
    rows = [
        Row(
            "Affine 1024→1024",
            "Graph.accumulate",
            batch,
            float32,
            partial(affine.graph_passes, batch),
        )
        for batch in (1, 64)
    ]
    rows += [
        Row(f"convolutions, {layer.name}", call, 8, float32, partial(graph_call, layer, 8, learn))
        for call, learn in (("Graph.predict", False), ("Graph.accumulate", True))
    ]
    return [
        *rows,
        Row("chain, a node", "forward and backward", 1, float32, chain.graph_passes),
        Row("chain, a node", "node by node, built anew", 1, float32, chain.node_path),
    ]


def call_rows() -> list[Row]:
    """Calls with one sample, which cost more than the steps of these networks."""
    return [
        Row(network, call, 1, calls.DTYPE, partial(calls.graph_call, network, call))
        for network in calls.NETWORKS
        for call in calls.CALLS
    ]


def kernel_rows() -> list[Row]:
    """Single passes of nodes that are too small for anything but the call itself to count."""
    x, y = CG.Leaf1(4), CG.Leaf1(4)
    nodes = {"Add, 4 elements": CG.Add(x, y), "Affine, 4 to 4": CG.Affine(x, np.ones((5, 4)))}
    return [
        Row(name, call, 1, "float64", partial(Work, getattr(node, call)))
        for name, node in nodes.items()
        for call in ("calcData", "calcPartialDerivative")
    ]


def tanh_rows() -> list[Row]:
    """Networks with Tanh on batches, and chains of the functions that are not linear in pieces."""
    float32, float64, length = "float32", "float64", 8
    rows = [
        Row(name(layers), "Graph.step", batch, float32, step)
        for layers, batch in ((SURROGATE, 10_000), (POLICY, 64))
        for step in [partial(training.graph_step, layers.network, float32, batch)]
    ]
    accumulate = partial(training.graph_accumulate, CURVE.network, float64, 200)
    rows.append(Row(name(CURVE), "Graph.accumulate", 200, float64, accumulate))
    return rows + [
        Row(
            f"{length} × {function.node.__name__}, an element",
            call,
            functions.SAMPLES,
            dtype,
            chain_of,
        )
        for function in (TANH, SIGMOID, SOFTMAX)
        for dtype in (float32, float64)
        for call, backward in (("Graph.predict", False), ("Graph.accumulate", True))
        for chain_of in [partial(functions.graph_chain, function, length, dtype, backward)]
    ]


def thread_rows() -> list[Row]:
    """LeNet-5 with the samples of a batch shared by threads."""
    return [
        Row("LeNet-5", f"Graph.step, {THREADS} threads", batch, dtype, make, THREADS)
        for dtype in ("float32", "float64")
        for batch in (32, 128)
        for make in [partial(training.graph_step, LENET, dtype, batch, THREADS)]
    ]


def all_rows() -> list[Row]:
    rows = []
    for dtype in ("float32", "float64"):
        rows += network_rows("LeNet-5", LENET, dtype, [1, 32, 128], 256)
        rows += network_rows("MLP 784-64-64-10", MLP, dtype, [1, 32, 128], 1024)
    rows += network_rows("VGG-like block", VGG, "float32", [1, 32], 32)
    return [*rows, *layer_rows(), *tanh_rows(), *call_rows(), *kernel_rows(), *thread_rows()]
