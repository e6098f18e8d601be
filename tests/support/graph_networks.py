"""Networks, and the steps that each must become: (number of nodes, class) in order, without the leaves."""

import numpy as np

import cgraph as CG

# Which of the six maps of S2 each of the sixteen maps of C3 reads (LeCun et al. 1998, table I).
TABLE = [
    *[(k, (k + 1) % 6, (k + 2) % 6) for k in range(6)],
    *[tuple((k + i) % 6 for i in range(4)) for k in range(6)],
    (0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5),
    tuple(range(6)),
]  # fmt: skip


class Maker:
    """Builds nodes with parameters drawn in order."""

    def __init__(self, dtype):
        self.rng, self.dtype = np.random.default_rng(3), dtype
        self.nodes = []

    def add(self, node):
        self.nodes.append(node)
        return node

    def image(self, height, width):
        return self.add(CG.Leaf2(height, width, dtype=self.dtype))

    def vector(self, size):
        return self.add(CG.Leaf1(size, dtype=self.dtype))

    def convolution(self, inputs, k, *args):
        kernel = self.rng.uniform(-1, 1, (len(inputs), k, k)) / (k * len(inputs) ** 0.5)
        return self.add(CG.Convolution2d(inputs, kernel, self.rng.uniform(-0.5, 0.5), *args))

    def bank(self, inputs, count, k, *args):
        return [self.convolution(inputs, k, *args) for _ in range(count)]

    def each(self, op, nodes, *args):
        return [self.add(op(node, *args)) for node in nodes]

    def affine(self, node, n):
        weight = self.rng.uniform(-1, 1, (node.size + 1, n)) / node.size**0.5
        return self.add(CG.Affine(node, weight))

    def cell(self, op, x, state):
        gates, units = (3, state.size) if op is CG.GRUCell else (4, state.size // 2)
        shapes = (gates * units, x.size), (gates * units, units), (gates * units,), (gates * units,)
        return self.add(op(x, state, *(self.rng.uniform(-0.7, 0.7, shape) for shape in shapes)))

    def classified(self, nodes, classes=3):
        """Concatenation, Affine, Softmax and CEE with a target."""
        scores = self.affine(self.add(CG.Concatenation(nodes)), classes)
        return self.add(CG.CEE(self.add(CG.Softmax(scores)), self.vector(classes)))

    def squared(self, nodes):
        """Concatenation and Norm2."""
        return self.add(CG.Norm2(self.add(CG.Concatenation(nodes))))


CLASSIFIED = [(1, "Concatenation"), (1, "Affine"), (1, "Softmax"), (1, "CEE")]
SQUARED = [(1, "Concatenation"), (1, "Norm2")]


def lenet(make, sparse):
    pooled = make.each(
        CG.MaxPooling2d,
        make.each(CG.ReLU, make.bank([make.image(28, 28)], 6, 5, 28, 28)),
        2, 2, 2,
    )  # fmt: skip
    tables = TABLE if sparse else [range(6)] * 16
    third = [make.convolution([pooled[k] for k in table], 5) for table in tables]
    pooled = make.each(CG.MaxPooling2d, make.each(CG.ReLU, third), 2, 2, 2)
    h = make.add(CG.Concatenation(pooled))
    for n in (120, 84):
        h = make.add(CG.ReLU(make.affine(h, n)))
    prediction = make.add(CG.Softmax(make.affine(h, 10)))
    make.add(CG.CEE(prediction, make.vector(10)))


LENET = [
    (6, "Convolution2d"), (6, "ReLU"), (6, "MaxPooling2d"),
    (16, "Convolution2d"), (16, "ReLU"), (16, "MaxPooling2d"),
    (1, "Concatenation"), (1, "Affine"), (1, "ReLU"), (1, "Affine"), (1, "ReLU"),
    (1, "Affine"), (1, "Softmax"), (1, "CEE"),
]  # fmt: skip


def dense_lenet(make):
    lenet(make, sparse=False)


def sparse_lenet(make):
    lenet(make, sparse=True)


def strides_of_two(make):
    first = make.bank([make.image(11, 9)], 5, 3, 2)
    make.classified(make.bank(make.each(CG.ReLU, first), 3, 3, 2))


def kernels_of_one(make):
    first = make.bank([make.image(5, 4)], 8, 3, 5, 4)
    make.classified(make.bank(make.bank(first, 3, 1), 8, 1))


def tanh_and_average_pooling(make):
    first = make.each(CG.Tanh, make.bank([make.image(9, 8)], 6, 3, 9, 8))
    make.classified(make.each(CG.AveragePooling2d, first, 2, 2, 2))


def residual(make):
    """Add and Sub of two groups, and of a group with itself."""
    image = make.image(6, 7)
    first = make.bank([image], 5, 3, 6, 7)
    second = make.bank(make.each(CG.ReLU, first), 5, 3, 6, 7)
    joined = [make.add(CG.Add(a, b)) for a, b in zip(first, second, strict=True)]
    apart = [make.add(CG.Sub(a, b)) for a, b in zip(joined, second, strict=True)]
    make.squared([make.add(CG.Add(a, a)) for a in apart])


def crossed_residual(make):
    """Builds an Add of channels of different numbers, which is not a group."""
    first = make.bank([make.image(5, 5)], 3, 2)
    second = make.bank([make.image(5, 5)], 3, 2)
    sums = [make.add(CG.Add(first[k], second[(k + 1) % 3])) for k in range(3)]
    make.squared([*first, *second, *sums])


def paired_residual(make):
    """The channels of a group are numbered as they are first reached, so that these fit after all."""
    first = make.bank([make.image(5, 5)], 3, 2)
    second = make.bank([make.image(5, 5)], 3, 2)
    make.squared([make.add(CG.Add(first[k], second[(k + 1) % 3])) for k in range(3)])


def two_towers(make):
    """Two images of one geometry do not mix; their first layers have the same depth."""
    towers = []
    for _ in range(2):
        first = make.each(CG.ReLU, make.bank([make.image(7, 7)], 4, 3))
        towers += make.bank(first, 2, 3)
    make.classified(towers)


def one_image_with_two_kernels(make):
    """Kernels of two sizes on one image: inception."""
    image = make.image(6, 6)
    narrow = make.bank([image], 3, 1)
    broad = make.bank([image], 4, 3, 6, 6)
    make.classified(make.each(CG.ReLU, narrow) + make.each(CG.ReLU, broad))


def some_channels_activated(make):
    """Builds ReLUs on some channels of a group, each of which is a step of its own."""
    first = make.bank([make.image(6, 5)], 4, 3)
    make.classified([*make.each(CG.ReLU, first[:3]), first[3]])


def activated_twice(make):
    """Two sets of ReLUs, and a third one of one channel."""
    first = make.bank([make.image(6, 5)], 3, 3)
    make.squared(
        make.each(CG.ReLU, first) + make.each(CG.ReLU, first) + make.each(CG.ReLU, first[:1])
    )


def different_poolings(make):
    """Two channels are pooled by the maximum, two by the mean."""
    first = make.bank([make.image(8, 8)], 4, 3)
    pooled = make.each(CG.MaxPooling2d, first[:2], 2, 2, 2)
    make.squared([*pooled, *make.each(CG.AveragePooling2d, first[2:], 2, 2, 2)])


def one_node_twice(make):
    """A convolution whose channels are one node, with siblings and alone."""
    image = make.image(5, 6)
    group = make.bank([image, image], 3, 2)
    alone = make.convolution([group[0], group[0]], 2)
    make.squared([*group, alone])


def channels_in_another_order(make):
    """Siblings that name the channels of a group in different orders are still siblings."""
    first = make.bank([make.image(6, 6)], 3, 3)
    a, b, c = first
    make.squared([make.convolution(some, 2) for some in ((a, b, c), (c, a, b), (b, a))])


def single_convolution(make):
    make.classified(make.each(CG.Sigmoid, [make.convolution([make.image(6, 6)], 3)]))


def leaves_as_channels(make):
    """Three leaves: those siblings that read the same ones in the same order are one step."""
    colours = [make.image(6, 6) for _ in range(3)]
    make.classified([*make.bank(colours, 4, 3), make.convolution(colours[::-1], 3)])


def convolution_of_several_groups(make):
    """Builds a convolution of channels of two groups, whose inputs are therefore read one by one."""
    image = make.image(6, 6)
    first, second = make.bank([image], 3, 3), make.bank([image], 2, 5, 4, 4)
    make.classified(make.bank([*first, *second], 4, 3))


def channels_as_wide_as_the_groups_pitch(make):
    """Eight channels, of two groups that are filled up to eight elements a position in float32, to four in float64."""
    image = make.image(5, 5)
    first, second = make.bank([image], 4, 3, 5, 5), make.bank([image], 4, 1)
    some = [first[0], second[1], first[2], second[3]]
    make.squared([*make.bank([*first, *second], 2, 3), *make.bank(some, 3, 3)])


def siblings_of_other_geometry(make):
    """Kernels and outputs of one size; stride, top and left padding differ, one at a time."""
    image = make.image(6, 6)
    geometries = [(2, 0, 0), (3, 0, 0), (3, 1, 0), (3, 0, 1)]
    banks = [make.bank([image], 2, 2, *geometry, 3, 3) for geometry in geometries]
    make.squared([node for bank in banks for node in bank])


def poolings_that_pad_differently(make):
    """Builds one pooling for each channel, of different geometries."""
    first = make.bank([make.image(5, 5)], 4, 2)
    pooled = make.each(CG.MaxPooling2d, first[:2], 2, 2, 3, 1, 1, 2, 2)
    for node in first[2:]:
        pooled.append(make.add(CG.MaxPooling2d(node, 2, 2, 3, 1, 1, 2, 2, pad_value=9.0)))
    make.squared(pooled)


def activations_in_another_order(make):
    """Builds ReLUs that are found in another order than their channels."""
    a, b, c = make.bank([make.image(4, 4)], 3, 2)
    make.squared([a, b, c, *make.each(CG.Tanh, [c, a, b])])


def sum_of_unequal_groups(make):
    """Eight channels and the first eight of nine, whose positions lie further apart."""
    image = make.image(4, 4)
    eight, nine = make.bank([image], 8, 2), make.bank([image], 9, 2, 2, 0, 0, 3, 3)
    make.squared([make.add(CG.Add(x, y)) for x, y in zip(eight, nine[:8], strict=True)] + nine)


def one_group_with_two_kernels(make):
    """The gradient of a group that two steps read in place: the second adds."""
    first = make.bank([make.image(5, 5)], 8, 2)
    make.squared([*make.bank(first, 2, 1), *make.bank(first, 3, 3)])


def depthwise(make):
    """Builds siblings with one connection of eight for each channel, so that the other seven need no multiplication."""
    first = make.bank([make.image(6, 6)], 8, 3)
    make.squared([make.convolution([x], 3) for x in first])


def few_connections(make):
    """Pairs of siblings, each with two channels of their own out of ten."""
    first = make.bank([make.image(6, 6)], 10, 3)
    pairs = [first[i : i + 2] for i in range(0, 10, 2)]
    make.squared([make.convolution(pair, 2) for pair in pairs for _ in range(2)])


def wide(make):
    """Builds more channels than any vector has elements, one more than whole vectors, and one less."""
    first = make.bank([make.image(4, 4)], 17, 3, 4, 4)
    make.classified(make.bank(make.each(CG.ReLU, first), 15, 3))


def windows_in_the_padding_alone(make):
    """Builds windows none of which reaches the input, over more channels than two vectors hold."""
    first = make.bank([make.image(1, 1)], 40, 1)
    make.squared(make.bank(first, 3, 1, 4, 2, 2, 2, 2))


def matrices(make):
    """Builds matrices with so many more elements than the nodes that blocks of lanes are wide."""
    h = make.add(CG.Tanh(make.affine(make.vector(96), 96)))
    make.add(CG.CEE(make.add(CG.Softmax(make.affine(h, 96))), make.vector(96)))


NETWORKS = {
    dense_lenet: LENET,
    sparse_lenet: LENET,
    strides_of_two: [(5, "Convolution2d"), (5, "ReLU"), (3, "Convolution2d"), *CLASSIFIED],
    kernels_of_one: [(8, "Convolution2d"), (3, "Convolution2d"), (8, "Convolution2d"), *CLASSIFIED],
    tanh_and_average_pooling: [
        (6, "Convolution2d"), (6, "Tanh"), (6, "AveragePooling2d"), *CLASSIFIED,
    ],
    residual: [
        (5, "Convolution2d"), (5, "ReLU"), (5, "Convolution2d"), (5, "Add"), (5, "Sub"),
        (5, "Add"), *SQUARED,
    ],
    crossed_residual: [*[(3, "Convolution2d")] * 2, *[(1, "Add")] * 3, *SQUARED],
    paired_residual: [*[(3, "Convolution2d")] * 2, (3, "Add"), *SQUARED],
    two_towers: [
        *[(4, "Convolution2d")] * 2, *[(4, "ReLU")] * 2, *[(2, "Convolution2d")] * 2, *CLASSIFIED,
    ],
    one_image_with_two_kernels: [
        (3, "Convolution2d"), (4, "Convolution2d"), (3, "ReLU"), (4, "ReLU"), *CLASSIFIED,
    ],
    some_channels_activated: [(4, "Convolution2d"), *[(1, "ReLU")] * 3, *CLASSIFIED],
    activated_twice: [(3, "Convolution2d"), (3, "ReLU"), (3, "ReLU"), (1, "ReLU"), *SQUARED],
    different_poolings: [
        (4, "Convolution2d"), *[(1, "MaxPooling2d")] * 2, *[(1, "AveragePooling2d")] * 2, *SQUARED,
    ],
    one_node_twice: [(3, "Convolution2d"), (1, "Convolution2d"), *SQUARED],
    channels_in_another_order: [(3, "Convolution2d"), (3, "Convolution2d"), *SQUARED],
    single_convolution: [(1, "Convolution2d"), (1, "Sigmoid"), *CLASSIFIED],
    leaves_as_channels: [(4, "Convolution2d"), (1, "Convolution2d"), *CLASSIFIED],
    convolution_of_several_groups: [
        (3, "Convolution2d"), (2, "Convolution2d"), (4, "Convolution2d"), *CLASSIFIED,
    ],
    channels_as_wide_as_the_groups_pitch: [
        *[(4, "Convolution2d")] * 2, (2, "Convolution2d"), (3, "Convolution2d"), *SQUARED,
    ],
    siblings_of_other_geometry: [*[(2, "Convolution2d")] * 4, *SQUARED],
    poolings_that_pad_differently: [
        (4, "Convolution2d"), *[(1, "MaxPooling2d")] * 4, *SQUARED,
    ],
    activations_in_another_order: [(3, "Convolution2d"), (3, "Tanh"), *SQUARED],
    sum_of_unequal_groups: [
        (8, "Convolution2d"), (9, "Convolution2d"), *[(1, "Add")] * 8, *SQUARED,
    ],
    one_group_with_two_kernels: [
        (8, "Convolution2d"), (2, "Convolution2d"), (3, "Convolution2d"), *SQUARED,
    ],
    depthwise: [(8, "Convolution2d"), *[(1, "Convolution2d")] * 8, *SQUARED],
    few_connections: [(10, "Convolution2d"), *[(2, "Convolution2d")] * 5, *SQUARED],
    wide: [(17, "Convolution2d"), (17, "ReLU"), (15, "Convolution2d"), *CLASSIFIED],
    windows_in_the_padding_alone: [(40, "Convolution2d"), (3, "Convolution2d"), *SQUARED],
    matrices: [(1, "Affine"), (1, "Tanh"), (1, "Affine"), (1, "Softmax"), (1, "CEE")],
}  # fmt: skip


def nodes_of(network, dtype):
    """Returns the nodes of a network, the loss last."""
    make = Maker(dtype)
    network(make)
    return make.nodes


# One network for each kind of step and of fusion.
SOME_NETWORKS = (
    channels_in_another_order, convolution_of_several_groups, one_node_twice, residual,
    some_channels_activated, sparse_lenet, strides_of_two, tanh_and_average_pooling, wide,
)  # fmt: skip
