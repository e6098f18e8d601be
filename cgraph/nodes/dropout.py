"""Dropout: random elements of a node are 0 while it learns, lest the nodes behind it rely on single elements."""

from __future__ import annotations

from typing import Any

import numpy as np

from cgraph._kernels.runtime.step import SampleCounter
from cgraph._validation import as_integer, as_number, describe
from cgraph.node import Node, as_node
from cgraph.nodes.elementwise import MtoM

HALVES = 2**16  # the values of half a word of the generator, which decides about an element
SEEDS = 2**64


class Dropout(MtoM):
    """d_i = x_i / (1 − rate) where element i is kept, else 0.

    ∂L/∂x_i = g_i / (1 − rate) where element i is kept, else 0.

    Each element of each sample is dropped with the probability `rate`. Passes for learning are active: `Graph.step`,
    `train`, `accumulate` and `forward`, and forward passes over the nodes. For a prediction, by `Graph.predict` or
    `evaluate`, d is x.

    Parameters
    ----------
    node : Node
        x, of any shape.
    rate : float
        The probability with which an element is dropped, in [0, 1).
    seed : int
        The seed of the masks, in [0, 2**64).

    Raises
    ------
    TypeError
        `node` is not a Node, `rate` not a number, `seed` not an integer.
    ValueError
        `rate` or `seed` are not in these ranges.

    Notes
    -----
    The mask of an element depends on the seed, the number of the sample and the index of the element alone. It is the
    same on the nodes' own path and in a Graph, for any layout, number of threads, dtype and processor, and for all
    nodes of one seed. A Graph counts samples in the order of the feed; `Graph.sample(i)` shows sample i of the last
    call with its mask, or without one after `predict`.

    After an exception in a call of a Graph, those samples have been counted whose gradients are in parameters or in
    gradient sums. In a pass over the nodes, those nodes have counted the sample that were computed.

    In the mask and in the formula, the rate is rounded to a multiple of 2**-16, at most 1 − 2**-16, so that the mean of
    d_i over all masks is x_i. A dropped element is not read: a NaN there does no harm. `gradcheck`
    compares the gradients of one mask, that of the last sample.

    Examples
    --------
    >>> import cgraph as CG
    >>> x = CG.Leaf1(8)
    >>> x.getInput([1, 2, 3, 4, 5, 6, 7, 8])
    >>> d = CG.Dropout(x, 0.5, seed=1)
    >>> x.forwardPropagation()
    >>> d.data
    array([ 2.,  4.,  6.,  0., 10.,  0.,  0.,  0.])
    >>> d.samples
    1
    >>> CG.evaluate(d)
    array([1., 2., 3., 4., 5., 6., 7., 8.])
    """

    _masks: SampleCounter

    def __init__(self, node: Node, rate: float, seed: int) -> None:
        owner = type(self).__name__
        x = as_node(owner, "node", node)
        self._rate = as_number(owner, "rate", rate)
        if not 0 <= self._rate < 1:
            raise ValueError(f"{owner}: rate must be in [0, 1), got {describe(rate)}")
        self._seed = as_integer(owner, "seed", seed)
        if not 0 <= self._seed < SEEDS:
            raise ValueError(f"{owner}: seed must be in [0, 2**64), got {describe(seed)}")
        self._samples = np.zeros(1, np.uint64)
        dropped = min(round(self._rate * HALVES), HALVES - 1)
        factor = 1 / (1 - dropped / HALVES)
        self._masks = SampleCounter(self._samples, self._seed, dropped * HALVES, factor)
        self._sample_counter = self._masks
        super().__init__(x)

    def _config(self) -> dict[str, Any]:
        return {"rate": self._rate, "seed": self._seed}

    @property
    def rate(self) -> float:
        """The probability with which an element is dropped."""
        return self._rate

    @property
    def seed(self) -> int:
        """The seed of the masks."""
        return self._seed

    @property
    def samples(self) -> int:
        """The number of samples in active passes so far, which is the number of the next sample; to be set, too.

        `save_parameters` and `Graph.state_dict` keep it.
        """
        return int(self._samples[0])

    @samples.setter
    def samples(self, value: int) -> None:
        owner = type(self).__name__
        samples = as_integer(owner, "samples", value)
        if not 0 <= samples < SEEDS:
            raise ValueError(f"{owner}: samples must be in [0, 2**64), got {describe(value)}")
        self._samples[0] = samples

    def calcData(self) -> None:
        x = self.backward[0]
        self._kernels.functions.dropout(self._masks, x._data, self._data, False)

    def calcPartialDerivative(self) -> None:
        x = self.backward[0]
        self._kernels.functions.dropout(self._masks, self._grad, x._grad, True)
