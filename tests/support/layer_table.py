"""Layers of cgraph.layers on images of two channels, a row for each: what is built, and of which shape it is."""

import numpy as np

import cgraph as CG

L = CG.layers
HEIGHT, WIDTH = 6, 7


def channels_first(x, rng):
    """A convolution that pads and skips, with a table, and a pooling behind it."""
    first = L.conv2d(x, 4, 3, 2, "same", activation="tanh", rng=rng)
    second = L.conv2d(first, 3, 2, table=[(0, 1), (1, 2, 3), (0,)], activation="silu", rng=rng)
    return L.max_pool2d(second, 2, 1, "same")


def one_vector(x, rng):
    """All layers of vectors, one behind the other."""
    h = L.dense(L.flatten(x), 8, "gelu", initializer="lecun_normal", rng=rng)
    h = L.dropout(L.layer_norm(h), 0.3, rng)
    return L.dense(h, 5, "log_softmax", initializer="orthogonal", rng=rng)


def cells(x, rng):
    """All recurrent cells, one behind the other; the state of an LSTM is twice as long."""
    h = L.simple_rnn_cell(L.flatten(x), L.dense(x[0], 6, rng=rng), rng=rng)
    return L.gru_cell(L.lstm_cell(x[1], h, rng=rng), h, rng=rng)


def unrolled(x, rng):
    """A GRU over two images, whose state is kept at the second one in part."""
    state, mask = L.dense(x[0], 4, "tanh", rng=rng), L.dense(x[1], 1, "sigmoid", rng=rng)
    one = L.dense(x[0], 1, rng=rng)
    return L.rnn(lambda x, h: L.gru_cell(x, h, rng=rng), x, state, masks=[one, mask])[-1]


# name: (function of channels and a generator, number of channels, height, width)
LAYERS = {
    "dense": (lambda x, rng: L.dense(x[0], 5, "tanh", rng=rng), 1, 5, 1),
    "dense, sparse": (
        lambda x, rng: L.dense(x[1], 9, "elu", initializer="sparse", rng=rng),
        *(1, 9, 1),
    ),
    "conv2d, valid": (lambda x, rng: L.conv2d(x, 3, (2, 4), rng=rng), 3, 5, 4),
    "conv2d, valid, stride": (lambda x, rng: L.conv2d(x, 3, 3, 2, rng=rng), 3, 2, 3),
    "conv2d, same": (lambda x, rng: L.conv2d(x, 3, (4, 3), padding="same", rng=rng), 3, 6, 7),
    "conv2d, same, stride": (lambda x, rng: L.conv2d(x, 3, 3, 2, "same", rng=rng), 3, 3, 4),
    "conv2d, sparse": (
        lambda x, rng: L.conv2d(x, 3, 2, table=[(1,), (0,), (1, 0)], activation="relu", rng=rng),
        *(3, 5, 6),
    ),
    "max_pool2d, valid": (lambda x, rng: L.max_pool2d(x, 2), 2, 3, 3),
    "max_pool2d, same": (lambda x, rng: L.max_pool2d(x, 3, 2, "same"), 2, 3, 4),
    "average_pool2d, valid": (lambda x, rng: L.average_pool2d(x, (3, 2), 2), 2, 2, 3),
    "average_pool2d, same": (lambda x, rng: L.average_pool2d(x, 3, 2, "same"), 2, 3, 4),
    "flatten": (lambda x, rng: L.flatten(x), 1, 2 * HEIGHT * WIDTH, 1),
    "layer_norm": (lambda x, rng: L.layer_norm(x[0], epsilon=1e-3), 1, HEIGHT, WIDTH),
    "dropout": (lambda x, rng: L.dropout(x[0], 0.4, rng), 1, HEIGHT, WIDTH),
    "recurrent cells": (cells, 1, 6, 1),
    "rnn": (unrolled, 1, 4, 1),
    "several, channels": (channels_first, 3, 2, 3),
    "several, a vector": (one_vector, 1, 5, 1),
}


def built(name, dtype="float64", seed=5):
    """Returns the two leaves, the nodes of a layer, and a loss of them."""
    make = LAYERS[name][0]
    x = [CG.Leaf2(HEIGHT, WIDTH, dtype=dtype) for _ in range(2)]
    made = make(x, np.random.default_rng(seed))
    nodes = [made] if isinstance(made, CG.Node) else made
    loss = CG.Mean(CG.Square(CG.Concatenation([*nodes, *x])))  # no leaf is left without a consumer
    return x, nodes, loss


def images(count, seed=8):
    """Returns samples of both leaves."""
    return np.random.default_rng(seed).normal(size=(2, count, HEIGHT, WIDTH))
