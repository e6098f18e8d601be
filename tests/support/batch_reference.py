"""A reference for batches: the results of the nodes' own passes for each sample, and sums over any number of them."""

from typing import NamedTuple

import numpy as np
from graph_twins import TOLERANCE, largest, parameters_of

import cgraph as CG

TRIES = 50  # for a steady sample


class Pass(NamedTuple):
    """A run with updates: samples by number of leaf, losses, the largest magnitude of data, final parameters."""

    samples: dict
    losses: np.ndarray
    scale: float
    values: list


def is_steady(nodes):
    """Whether rounding cannot move an element across a kink: neither ReLUs nor maxima are close to a decision.

    An element exactly at a kink has been put there by a test, and counts as steady.
    """
    return not any(
        ((gap > 0) & (gap < TOLERANCE[node.dtype.name] * scale)).any()
        for node in nodes
        for gap, scale in gaps(node)
    )


def gaps(node):
    """Returns the distance of each element of a node from a decision, and the scale of its input."""
    if type(node) not in (CG.ReLU, CG.MaxPooling2d):
        return
    x = node.backward[0].data
    if type(node) is CG.ReLU:
        yield np.abs(x), largest([x])
    else:
        windows = windows_of(node)
        with np.errstate(invalid="ignore"):
            yield windows.max(axis=(2, 3), keepdims=True) - windows, largest([x])


def windows_of(node):
    """Returns the elements of each window, padding included; shape (n_h, n_w, k_h, k_w)."""
    w = node._geometry
    x = node.backward[0].data.reshape(w.m_h, w.m_w)
    after = [
        max(w.s * (n - 1) + k - m - p, 0)
        for n, k, m, p in ((w.n_h, w.k_h, w.m_h, w.p), (w.n_w, w.k_w, w.m_w, w.q))
    ]
    padding = (w.p, after[0]), (w.q, after[1])
    padded = np.pad(x, padding, constant_values=max(node._pad_value, np.finfo(x.dtype).min))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (w.k_h, w.k_w))
    return windows[:: w.s, :: w.s][: w.n_h, : w.n_w]


def count_from(nodes, number):
    """Makes a number that of the next sample of each Dropout; returns whether there is one."""
    counting = [node for node in nodes if isinstance(node, CG.Dropout)]
    for node in counting:
        node.samples = number
    return bool(counting)


class Reference:
    """Passes over `nodes`, of which number `end` is the loss, for `count` samples that `draw` draws.

    Attributes
    ----------
    samples : dict
        Arrays of samples by number of leaf; the other leaves keep what they hold.
    losses : ndarray, shape (count,)
    data, grads, predictions : list of ndarray, shape (count, size)
        Of each node.
    scales : ndarray, shape (count,)
        The largest finite magnitude in each sample's data, at least 1.
    maxima : dict
        Arrays of maxCount by number of node.
    totals : list of ndarray, shape (count + 1, ...)
        For each parameter the sums of its gradients over the first samples.
    spreads : ndarray, shape (count + 1,)
        The largest sums of their magnitudes, which is what rounding is relative to.
    """

    def __init__(self, nodes, end, draw, count, specials=None, seed=0):
        self.nodes, self.end, self.draw = nodes, end, draw
        self.rng = np.random.default_rng(seed)
        self.values = [value.copy() for value, _ in parameters_of(nodes)]
        self.updated = {}
        self.run(count, specials or {})

    def run(self, count, specials):
        """Runs each sample alone; those in `specials`, by index, are given instead of drawn."""
        samples, data, grads, predictions, maxima, shares = [], [], [], [], [], []
        for i in range(count):
            samples.append(self.forward(i, specials.get(i)))
            data.append([node.data.copy() for node in self.nodes])
            maxima.append({k: np.array(node.maxCount) for k, node in enumerate(self.nodes)
                           if type(node) is CG.MaxPooling2d})  # fmt: skip
            self.nodes[self.end].backwardPropagation()
            grads.append([node.grad.copy() for node in self.nodes])
            shares.append([total.copy() for _, total in parameters_of(self.nodes)])
            self.clear()
            if count_from(self.nodes, 0):
                CG.evaluate(self.nodes[self.end])
            predictions.append([node.data.copy() for node in self.nodes])
        self.samples, self.maxima = by_number(samples), by_number(maxima)
        self.data = [np.array(rows) for rows in zip(*data, strict=True)]
        self.grads = [np.array(rows) for rows in zip(*grads, strict=True)]
        self.predictions = [np.array(rows) for rows in zip(*predictions, strict=True)]
        self.losses = self.data[self.end][:, 0]
        finite = (np.where(np.isfinite(rows), np.abs(rows), 1) for rows in self.data)
        self.scales = np.maximum.reduce([rows.max(axis=1, initial=1.0) for rows in finite])
        self.sum_up(count, [np.array(rows, np.float64) for rows in zip(*shares, strict=True)])

    def sum_up(self, count, shares):
        """Computes the gradient sums over the first samples, for every number of samples."""
        self.totals, self.spreads = [], np.ones(count + 1)
        for rows in shares:
            total, magnitude = np.zeros((2, count + 1, *rows.shape[1:]))
            with np.errstate(invalid="ignore"):
                np.cumsum(rows, axis=0, out=total[1:])
            np.cumsum(np.where(np.isfinite(rows), np.abs(rows), 0), axis=0, out=magnitude[1:])
            self.totals.append(total)
            largest = magnitude.reshape(count + 1, -1).max(axis=1)
            self.spreads = np.maximum(self.spreads, largest)

    def forward(self, number, given=None):
        """Draws the sample of this number, unless it is given, and computes all nodes from it; returns the sample."""
        for _ in range(TRIES):
            count_from(self.nodes, number)
            sample = self.draw(self.rng) if given is None else given
            for k, value in sample.items():
                self.nodes[k].data[...] = np.ravel(value)
            for node in self.nodes:
                if not node.backward:
                    node.forwardPropagation()
            if given is not None or is_steady(self.nodes):
                break
        return {k: self.nodes[k].data.copy() for k in sample}

    def clear(self):
        """Sets all gradient sums to 0."""
        for node in self.nodes:
            node.zero_grad()

    def train(self, count, batch, eta):
        """Returns the Pass of a run with updates; the nodes then have their initial parameters again."""
        if (count, batch) not in self.updated:
            self.updated[count, batch] = self.run_updated(count, batch, eta)
            for (value, _), first in zip(parameters_of(self.nodes), self.values, strict=True):
                value[...] = first
        return self.updated[count, batch]

    def run_updated(self, count, batch, eta):
        samples, losses, scale = [], [], 1.0
        for i in range(count):
            samples.append(self.forward(i))
            scale = max(scale, largest([node.data for node in self.nodes]))
            losses.append(self.nodes[self.end].data[0])
            self.nodes[self.end].backwardPropagation()
            if (i + 1) % batch == 0 or i + 1 == count:
                self.nodes[self.end].update(eta)
        values = [value.copy() for value, _ in parameters_of(self.nodes)]
        return Pass(by_number(samples), np.array(losses), scale, values)


def by_number(rows):
    """Turns a list of dicts into a dict of arrays."""
    return {k: np.array([row[k] for row in rows]) for k in rows[0]}
