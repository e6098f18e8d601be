"""Layers: functions from nodes to nodes, with the names of arguments that Keras has.

A layer makes nodes of `cgraph` and their initial parameters, no more: what comes out is a node, or a list of nodes, one
for each channel. So layers and nodes of other origin mix as they like. The dtype is that of the input.

``rng`` is a `numpy.random.Generator`, a seed, or None for numbers that are others each time. Pass one generator to all
layers of a network: layers with one seed and one shape would begin with the same numbers.
"""

from cgraph.layers.activations import ACTIVATIONS
from cgraph.layers.connected import dense, dropout, flatten, layer_norm
from cgraph.layers.filters import average_pool2d, conv2d, max_pool2d
from cgraph.layers.recurrent import gru_cell, lstm_cell, simple_rnn_cell
from cgraph.layers.unrolling import rnn

__all__ = [
    "ACTIVATIONS",
    "average_pool2d",
    "conv2d",
    "dense",
    "dropout",
    "flatten",
    "gru_cell",
    "layer_norm",
    "lstm_cell",
    "max_pool2d",
    "rnn",
    "simple_rnn_cell",
]
