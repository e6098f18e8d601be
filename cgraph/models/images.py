"""Networks that classify images: lenet5, vgg and residual.

Their outputs are logits, one for each class: `SoftmaxCEE` is the loss, and `Softmax` makes probabilities of them. Sizes
that are halved are rounded up, so that images of any size will do.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from cgraph._validation import as_size
from cgraph.init import zeros
from cgraph.layers import average_pool2d, flatten, max_pool2d
from cgraph.layers.activations import Activation, activated
from cgraph.layers.arguments import Initializer, as_table
from cgraph.models.builder import Builder, Layers, as_banks, as_builder, as_sizes
from cgraph.models.network import Network
from cgraph.node import Node
from cgraph.nodes.elementwise import Add
from cgraph.nodes.leaf import Leaf2

#: The maps of S2 that each of the sixteen maps of C3 reads in LeNet-5 (LeCun et al. 1998, table I).
LENET5_TABLE: tuple[tuple[int, ...], ...] = (
    (0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5),
    (0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5),
    (0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5),
    (0, 1, 2, 3, 4, 5),
)  # fmt: skip


def lenet5(
    height: int = 28,
    width: int = 28,
    classes: int = 10,
    *,
    table: Iterable[Iterable[int]] | None = LENET5_TABLE,
    activation: str | Activation | None = "relu",
    initializer: str | Initializer = "he_normal",
    rng: np.random.Generator | int | None = None,
    dtype: npt.DTypeLike | None = None,
) -> Network:
    """Builds LeNet-5, with the sparse connections of its layer C3 unless told otherwise.

    As is usual today, it has ReLU, max-pooling and logits where the paper has a scaled tanh, poolings that learn, and
    radial basis functions. The first convolution keeps the size, so that images of 28 × 28 serve as those of 32 × 32 do
    in the paper.

    Parameters
    ----------
    height, width : int, optional
        Size of the images, at least 9.
    classes : int, optional
        Number of classes.
    table : sequence of 16 sequences of int, or None, optional
        The maps of S2 that each map of C3 reads; None for all, as is usual today, which makes 61,706 parameters.
    activation : str, callable or None, optional
        The activation of all layers but the last one.
    initializer, rng, dtype
        As in `mlp`.

    Returns
    -------
    Network
        The layers ``image``, ``c1``, ``s2``, ``c3``, ``s4``, ``c5``, ``f6`` and ``output``, named as in the paper.

    References
    ----------
    Y. LeCun, L. Bottou, Y. Bengio, P. Haffner: Gradient-based learning applied to document recognition, Proceedings of
    the IEEE 86 (1998).

    Examples
    --------
    >>> import cgraph as CG
    >>> print(CG.models.lenet5(dtype="float32", rng=0))
    layer   nodes                               shape  parameters
    image   Leaf2                             28 × 28           0
    c1      6 Convolution2d, 6 ReLU       6 × 28 × 28         156
    s2      6 MaxPooling2d                6 × 14 × 14           0
    c3      16 Convolution2d, 16 ReLU    16 × 10 × 10       1,516
    s4      16 MaxPooling2d                16 × 5 × 5           0
    c5      Concatenation, Affine, ReLU       120 × 1      48,120
    f6      Affine, ReLU                       84 × 1      10,164
    output  Affine                             10 × 1         850
    73 nodes, 60,806 parameters, float32
    """
    owner = "lenet5"
    rows = as_size(owner, "height", height, minimum=9)
    columns = as_size(owner, "width", width, minimum=9)
    count = as_size(owner, "classes", classes)
    connections = None if table is None else as_table(owner, table, 16, 6)
    build = as_builder(owner, activation, initializer, rng, dtype, of_channels=True)

    image = Leaf2(rows, columns, dtype=build.dtype)
    c1 = build.conv2d(image, 6, 5)
    s2 = max_pool2d(c1, 2, padding="same")
    c3 = build.conv2d(s2, 16, 5, padding="valid", table=connections)
    s4 = max_pool2d(c3, 2, padding="same")
    c5 = build.output(flatten(s4), 120, build.activation)
    f6 = build.output(c5, 84, build.activation)
    layers: Layers = {"image": image, "c1": c1, "s2": s2, "c3": c3, "s4": s4, "c5": c5, "f6": f6}
    layers["output"] = build.output(f6, count)
    return Network(layers, inputs=["image"], outputs=["output"])


def vgg(
    height: int,
    width: int,
    classes: int,
    *,
    channels: int = 1,
    blocks: Iterable[Iterable[int]] = ((8, 8), (16, 16)),
    hidden: Iterable[int] = (64,),
    activation: str | Activation | None = "relu",
    initializer: str | Initializer = "he_normal",
    rng: np.random.Generator | int | None = None,
    dtype: npt.DTypeLike | None = None,
) -> Network:
    """Builds a small VGG: blocks of 3 × 3 convolutions that keep the size and a max-pooling, then dense layers.

    Parameters
    ----------
    height, width : int
        Size of the images.
    classes : int
        Number of classes.
    channels : int, optional
        Number of channels of the images, which are leaves: ``network.image`` is one, or a tuple of several.
    blocks : sequence of sequences of int, optional
        The number of filters of each convolution of each block.
    hidden : sequence of int, optional
        The number of units of each dense layer before the last one.
    activation : str, callable or None, optional
        The activation of all layers but the last one.
    initializer, rng, dtype
        As in `mlp`.

    Returns
    -------
    Network
        The layers ``image``, ``conv1_1``, ``conv1_2``, …, ``pool1``, ``conv2_1``, …, ``hidden1``, … and ``output``.

    References
    ----------
    K. Simonyan, A. Zisserman: Very deep convolutional networks for large-scale image recognition, ICLR 2015,
    arXiv:1409.1556.

    Examples
    --------
    >>> import cgraph as CG
    >>> [*CG.models.vgg(8, 8, 10, rng=0)]
    ['image', 'conv1_1', 'conv1_2', 'pool1', 'conv2_1', 'conv2_2', 'pool2', 'hidden1', 'output']
    """
    owner = "vgg"
    rows, columns = as_size(owner, "height", height), as_size(owner, "width", width)
    count, depth = as_size(owner, "classes", classes), as_size(owner, "channels", channels)
    banks = as_banks(owner, blocks)
    units = as_sizes(owner, "hidden", hidden, minimum=0)
    build = as_builder(owner, activation, initializer, rng, dtype, of_channels=True)
    layer: list[Node] = [Leaf2(rows, columns, dtype=build.dtype) for _ in range(depth)]
    layers: Layers = {"image": layer}
    for number, bank in enumerate(banks, 1):
        for index, filters in enumerate(bank, 1):
            layer = build.conv2d(layer, filters, 3)
            layers[f"conv{number}_{index}"] = layer
        layer = max_pool2d(layer, 2, padding="same")
        layers[f"pool{number}"] = layer
    node = build.hidden(layers, "hidden", flatten(layer), units)
    layers["output"] = build.output(node, count)
    return Network(layers, inputs=["image"], outputs=["output"])


def residual(
    height: int,
    width: int,
    classes: int,
    *,
    channels: int = 1,
    filters: Iterable[int] = (8, 16),
    blocks: int = 1,
    activation: str | Activation | None = "relu",
    initializer: str | Initializer = "he_normal",
    rng: np.random.Generator | int | None = None,
    dtype: npt.DTypeLike | None = None,
) -> Network:
    """Builds a small residual network: y = f(x + conv(f(conv(x)))) in each block, of 3 × 3 convolutions.

    The second convolution of a block begins with zeros, so that the block begins as f(x), and no normalisation is
    needed. The first block of all stages but the first halves the size, and its x goes through a 1 × 1 convolution.

    Parameters
    ----------
    height, width : int
        Size of the images.
    classes : int
        Number of classes.
    channels : int, optional
        Number of channels of the images, which are leaves: ``network.image`` is one, or a tuple of several.
    filters : sequence of int, optional
        The number of filters of each stage.
    blocks : int, optional
        The number of blocks of each stage.
    activation : str, callable or None, optional
        f, of all layers but the last one.
    initializer, rng, dtype
        As in `mlp`.

    Returns
    -------
    Network
        The layers ``image``, ``stem``, ``block1``, …, ``pool`` (the mean of each channel) and ``output``.

    References
    ----------
    K. He, X. Zhang, S. Ren, J. Sun: Deep residual learning for image recognition, CVPR 2016, arXiv:1512.03385.
    H. Zhang, Y. Dauphin, T. Ma: Fixup initialization, ICLR 2019, arXiv:1901.09321 (the zeros).

    Examples
    --------
    >>> import cgraph as CG
    >>> network = CG.models.residual(8, 8, 10, rng=0)
    >>> [*network]
    ['image', 'stem', 'block1', 'block2', 'pool', 'output']
    >>> len(network.block2), network.block2[0].height
    (16, 4)
    """
    owner = "residual"
    rows, columns = as_size(owner, "height", height), as_size(owner, "width", width)
    count, depth = as_size(owner, "classes", classes), as_size(owner, "channels", channels)
    stages = as_sizes(owner, "filters", filters)
    repeats = as_size(owner, "blocks", blocks)
    build = as_builder(owner, activation, initializer, rng, dtype, of_channels=True)

    image = [Leaf2(rows, columns, dtype=build.dtype) for _ in range(depth)]
    layer = build.conv2d(image, stages[0], 3)
    layers: Layers = {"image": image, "stem": layer}
    number = 0
    for stage, size in enumerate(stages):
        for repeat in range(repeats):
            layer = _block(build, layer, size, 2 if stage > 0 and repeat == 0 else 1)
            number += 1
            layers[f"block{number}"] = layer
    pooled = average_pool2d(layer, (layer[0].height, layer[0].width), 1)
    layers["pool"] = pooled
    layers["output"] = build.output(flatten(pooled), count)
    return Network(layers, inputs=["image"], outputs=["output"])


def _block(build: Builder, nodes: list[Node], filters: int, stride: int) -> list[Node]:
    """Makes a residual block; its input is projected where the shape or the number of channels changes."""
    straight = nodes
    if stride > 1 or len(nodes) != filters:
        straight = build.conv2d(nodes, filters, 1, strides=stride, activation=None)
    inner = build.conv2d(nodes, filters, 3, strides=stride)
    change = build.conv2d(inner, filters, 3, activation=None, initializer=zeros)
    sums = [Add(x, y) for x, y in zip(straight, change, strict=True)]
    return activated("residual", sums, build.activation)
