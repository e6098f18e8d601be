"""Moving averages of the parameters of an MLP: of two Graphs, over nodes, in a plain loop, and PyTorch's foreach."""

import ctypes
from functools import partial
from itertools import pairwise

import numpy as np

import cgraph as CG
from benchmarks.measure import one_core
from benchmarks.measure.compiled import library
from benchmarks.measure.peers import Makers
from benchmarks.measure.timing import Work

GRAPHS, NODES = "`polyak_update`, Graphs", "`polyak_update`, nodes"
LOOP, FOREACH = "a loop in C", "PyTorch, foreach"
TAU = 0.005
Sizes = tuple[int, ...]


def averages(sizes: Sizes) -> Makers:
    return {
        GRAPHS: partial(cgraph, sizes, CG.Graph),
        NODES: partial(cgraph, sizes, None),
        LOOP: partial(loop, sizes),
        FOREACH: partial(foreach, sizes),
    }


def weights(sizes: Sizes) -> list[np.ndarray]:
    """Returns the source's weights of each layer; those of the target are their halves."""
    rng = np.random.default_rng(0)
    return [rng.normal(size=(m + 1, n)).astype(np.float32) for m, n in pairwise(sizes)]


def network(layers: list[np.ndarray]) -> CG.Node:
    node: CG.Node = CG.Leaf1(len(layers[0]) - 1, dtype="float32")
    for layer in layers:
        node = CG.Affine(node, layer)
    return node


def cgraph(sizes: Sizes, compiled: type[CG.Graph] | None) -> Work:
    layers = weights(sizes)
    source, target = network(layers), network([layer / 2 for layer in layers])
    ends = [compiled(node) if compiled else node for node in (source, target)]
    return Work(lambda: CG.polyak_update(*ends, TAU), 1, lambda: parameters(target))


def parameters(node: CG.Node) -> np.ndarray:
    return np.concatenate([p.value.ravel() for p in CG.parameters(node)])


def loop(sizes: Sizes) -> Work:
    """The loop in C, compiled with -O3 and the instructions in use, on one vector of all parameters."""
    function = library("polyak").polyak
    pointer = ctypes.POINTER(ctypes.c_float)
    function.argtypes = [ctypes.c_ssize_t, pointer, pointer, ctypes.c_float]
    function.restype = None
    source = np.concatenate([layer.ravel() for layer in weights(sizes)])
    target = source / 2
    addresses = [array.ctypes.data_as(pointer) for array in (target, source)]
    return Work(lambda: (function(source.size, *addresses, TAU), source), 1, target.copy)


def foreach(sizes: Sizes) -> Work:
    torch = one_core.torch_module()
    source = [torch.from_numpy(layer) for layer in weights(sizes)]
    target = [layer / 2 for layer in source]
    return Work(
        lambda: torch._foreach_lerp_(target, source, TAU),
        1,
        lambda: torch.cat([each.ravel() for each in target]).numpy(),
    )
