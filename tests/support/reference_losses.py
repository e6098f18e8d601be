"""Losses, sums and parts of vectors in plain NumPy, as in reference.py."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from reference import scalar, wide


def softplus(x):
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def sigmoid(x):
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e / (1 + e), 1 / (1 + e))


def log_softmax(x):
    below = x - np.max(x)
    return below - np.log(np.sum(np.exp(below)))


@dataclass(frozen=True)
class Slice:
    start: int
    stop: int

    def forward(self, xs, params):
        (x,) = wide(xs)
        return x.reshape(-1, 1)[self.start : self.stop]

    def backward(self, xs, params, g):
        dx = np.zeros(xs[0].size)
        dx[self.start : self.stop] = np.ravel(g)
        return [dx.reshape(xs[0].shape)], []


@dataclass(frozen=True)
class Expand:
    height: int
    width: int

    def forward(self, xs, params):
        (x,) = wide(xs)
        return np.full((self.height, self.width), x.item())

    def backward(self, xs, params, g):
        return [scalar(np.sum(g))], []


@dataclass(frozen=True)
class Sum:
    def forward(self, xs, params):
        (x,) = wide(xs)
        return scalar(np.sum(x))

    def backward(self, xs, params, g):
        return [np.full(xs[0].shape, g.item())], []


@dataclass(frozen=True)
class Mean:
    def forward(self, xs, params):
        (x,) = wide(xs)
        return scalar(np.sum(x) / x.size)

    def backward(self, xs, params, g):
        return [np.full(xs[0].shape, g.item() / xs[0].size)], []


@dataclass(frozen=True)
class LogSoftmax:
    def forward(self, xs, params):
        (x,) = wide(xs)
        return log_softmax(x)

    def backward(self, xs, params, g):
        return [g - np.exp(self.forward(xs, params)) * np.sum(g)], []


@dataclass(frozen=True)
class SoftmaxCEE:
    """Of an infinite target at the largest logit, the formula makes NaN, as it does of one at an infinite logit."""

    def forward(self, xs, params):
        x, y = wide(xs)
        below = np.max(x) - x
        log_total = np.log(np.sum(np.exp(-below)))
        return scalar(np.sum((y * below)[y != 0]) + log_total * np.sum(y))

    def backward(self, xs, params, g):
        x, y = wide(xs)
        logs = log_softmax(x)
        return [g.item() * (np.exp(logs) * np.sum(y) - y), -g.item() * logs], []


@dataclass(frozen=True)
class BCE:
    def forward(self, xs, params):
        x, y = wide(xs)
        weight = np.where(x > 0, 1 - y, y)
        linear = np.where(weight == 0, 0.0, np.abs(x) * weight)
        return scalar(np.sum(softplus(-np.abs(x)) + linear) / x.size)

    def backward(self, xs, params, g):
        x, y = wide(xs)
        factor = g.item() / x.size
        return [(sigmoid(x) - y) * factor, -x * factor], []


@dataclass(frozen=True)
class Huber:
    delta: float

    def forward(self, xs, params):
        x, y = wide(xs)
        r = np.abs(x - y)
        terms = np.where(r > self.delta, self.delta * (r - self.delta / 2), r * r / 2)
        return scalar(np.sum(terms) / x.size)

    def backward(self, xs, params, g):
        x, y = wide(xs)
        dx = np.clip(x - y, -self.delta, self.delta) * (g.item() / x.size)
        return [dx, -dx], []


@dataclass(frozen=True)
class GaussianNLL:
    def forward(self, xs, params):
        mean, v, target = wide(xs)
        return scalar(np.sum(v + (mean - target) ** 2 * np.exp(-v)) / (2 * v.size))

    def backward(self, xs, params, g):
        mean, v, target = wide(xs)
        factor = g.item() / v.size
        dmean = (mean - target) * np.exp(-v) * factor
        dv = 0.5 * (factor - (mean - target) ** 2 * np.exp(-v) * factor)
        return [dmean, dv, -dmean], []


@dataclass(frozen=True)
class LayerNorm:
    eps: float

    def normal(self, x):
        centred = x - np.sum(x) / x.size
        root = 1 / np.sqrt(np.sum(centred**2) / x.size + self.eps)
        return centred * root, root

    def forward(self, xs, params):
        (x,), (gain, bias) = wide(xs), wide(params)
        return gain.reshape(x.shape) * self.normal(x)[0] + bias.reshape(x.shape)

    def backward(self, xs, params, g):
        (x,), (gain, _) = wide(xs), wide(params)
        normal, root = self.normal(x)
        h = gain.reshape(x.shape) * g
        dx = root * (h - np.sum(h) / x.size - normal * (np.sum(h * normal) / x.size))
        return [dx], [np.ravel(g * normal), np.ravel(1.0 * g)]
