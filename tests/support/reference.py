"""Every op of the specification in plain NumPy, written from its formulas alone.

An op is a small frozen dataclass with two methods. ``xs`` are the inputs' data as 2-D arrays
(height, width), ``params`` the parameter arrays, ``g`` the gradient of the output:

    forward(xs, params)      -> the output, (height, width)
    backward(xs, params, g)  -> (gradients of xs, gradients of params), two lists

Everything is computed in float64, whatever the dtype of the inputs. Padding is explicit index
arithmetic: an element outside the domain is never read, so nothing leaks through a 0 * inf.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


def wide(arrays):
    return [np.asarray(array, dtype=np.float64) for array in arrays]


def scalar(value):
    return np.full((1, 1), value, dtype=np.float64)


@dataclass(frozen=True)
class Constant:
    """A leaf, or an abstract class: data that no calculation touches."""

    value: np.ndarray

    def forward(self, xs, params):
        return np.asarray(self.value, dtype=np.float64)

    def backward(self, xs, params, g):
        return [np.zeros(x.shape) for x in xs], []


@dataclass(frozen=True)
class Concatenation:
    def forward(self, xs, params):
        return np.concatenate([x.reshape(-1, 1) for x in wide(xs)])

    def backward(self, xs, params, g):
        ends = np.cumsum([x.size for x in xs])
        parts = np.split(np.ravel(g).astype(np.float64), ends[:-1])
        return [part.reshape(x.shape) for part, x in zip(parts, xs, strict=True)], []


@dataclass(frozen=True)
class Add:
    def forward(self, xs, params):
        x, y = wide(xs)
        return x + y

    def backward(self, xs, params, g):
        return [1.0 * g, 1.0 * g], []


@dataclass(frozen=True)
class Sub:
    def forward(self, xs, params):
        x, y = wide(xs)
        return x - y

    def backward(self, xs, params, g):
        return [1.0 * g, -1.0 * g], []


@dataclass(frozen=True)
class Dots:
    def forward(self, xs, params):
        x, y = wide(xs)
        return scalar(np.sum(x * y))

    def backward(self, xs, params, g):
        x, y = wide(xs)
        return [y * g.item(), x * g.item()], []


@dataclass(frozen=True)
class MSE:
    def forward(self, xs, params):
        x, y = wide(xs)
        return scalar(np.sum((x - y) ** 2) / x.size)

    def backward(self, xs, params, g):
        x, y = wide(xs)
        dx = 2 * (x - y) * g.item() / x.size
        return [dx, -dx], []


@dataclass(frozen=True)
class CEE:
    """Cross-entropy with the clamp at the smallest positive normal number of x's dtype."""

    def clamped(self, x):
        tiny = float(np.finfo(x.dtype).tiny)
        return np.array([[v if math.isnan(v) else max(v, tiny) for v in row] for row in x.tolist()])

    def forward(self, xs, params):
        logs = np.log(self.clamped(xs[0]))
        y = np.asarray(xs[1], dtype=np.float64)
        return scalar(-np.sum((y * logs)[y != 0]) if np.any(y != 0) else 0.0)

    def backward(self, xs, params, g):
        x = self.clamped(xs[0])
        y = np.asarray(xs[1], dtype=np.float64)
        dx = np.zeros(x.shape)
        dx[y != 0] = (-(y * g.item()) / x)[y != 0]
        return [dx, -np.log(x) * g.item()], []


@dataclass(frozen=True)
class ReLU:
    def forward(self, xs, params):
        (x,) = wide(xs)
        return np.where((x >= 0) | np.isnan(x), x, 0.0)

    def backward(self, xs, params, g):
        (x,) = wide(xs)
        return [np.where(x >= 0, g, 0.0)], []


@dataclass(frozen=True)
class Softmax:
    def forward(self, xs, params):
        (x,) = wide(xs)
        e = np.exp(x - np.max(x))
        return e / np.sum(e)

    def backward(self, xs, params, g):
        d = self.forward(xs, params)
        return [d * (g - np.sum(d * g))], []


@dataclass(frozen=True)
class Sigmoid:
    def forward(self, xs, params):
        (x,) = wide(xs)
        e = np.exp(-np.abs(x))
        return np.where(x < 0, e / (1 + e), 1 / (1 + e))

    def backward(self, xs, params, g):
        d = self.forward(xs, params)
        return [d * (1 - d) * g], []


@dataclass(frozen=True)
class Tanh:
    def forward(self, xs, params):
        (x,) = wide(xs)
        return np.tanh(x)

    def backward(self, xs, params, g):
        d = self.forward(xs, params)
        return [(1 - d * d) * g], []


@dataclass(frozen=True)
class Norm2:
    def forward(self, xs, params):
        (x,) = wide(xs)
        return scalar(math.hypot(*x.ravel()))

    def backward(self, xs, params, g):
        (x,) = wide(xs)
        d = self.forward(xs, params).item()
        return [np.zeros(x.shape) if d == 0 else x / d * g.item()], []


@dataclass(frozen=True)
class Affine:
    bias: float = 1.0

    def forward(self, xs, params):
        (x,), (weight,) = wide(xs), wide(params)
        d = self.bias * weight[-1]
        for j, value in enumerate(x.ravel()):
            d = d + weight[j] * value
        return d.reshape(-1, 1)

    def backward(self, xs, params, g):
        (x,), (weight,) = wide(xs), wide(params)
        column = np.ravel(g)
        dx = [np.sum(row * column) for row in weight[:-1]]
        dweight = [value * column for value in x.ravel()] + [self.bias * column]
        return [np.reshape(dx, x.shape)], [np.array(dweight)]
