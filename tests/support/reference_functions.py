"""The functions of elements in plain NumPy, in the form of reference.py, written from their formulas alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from reference import wide

erfc = np.vectorize(math.erfc, otypes=[float])


class OfOne:
    """A function of one element: `value(x)` and `slope(x)`."""

    def forward(self, xs, params):
        return self.value(*wide(xs))

    def backward(self, xs, params, g):
        return [self.slope(*wide(xs)) * g], []


@dataclass(frozen=True)
class Mul:
    def forward(self, xs, params):
        x, y = wide(xs)
        return x * y

    def backward(self, xs, params, g):
        x, y = wide(xs)
        return [y * g, x * g], []


@dataclass(frozen=True)
class Div:
    def forward(self, xs, params):
        x, y = wide(xs)
        return x / y

    def backward(self, xs, params, g):
        x, y = wide(xs)
        return [g / y, -g * (x / y / y)], []


@dataclass(frozen=True)
class Maximum:
    sign: int = 1

    def forward(self, xs, params):
        x, y = wide(xs)
        return self.sign * np.maximum(self.sign * x, self.sign * y)

    def backward(self, xs, params, g):
        x, y = (self.sign * each for each in wide(xs))
        half = np.where(x == y, g / 2, g)
        return [np.where(x < y, 0, half), np.where(y < x, 0, half)], []


@dataclass(frozen=True)
class Minimum(Maximum):
    sign: int = -1


@dataclass(frozen=True)
class Exp(OfOne):
    def value(self, x):
        return np.exp(x)

    slope = value


@dataclass(frozen=True)
class Log(OfOne):
    def value(self, x):
        return np.log(x)

    def slope(self, x):
        return 1 / x


@dataclass(frozen=True)
class Square(OfOne):
    def value(self, x):
        return x * x

    def slope(self, x):
        return 2 * x


@dataclass(frozen=True)
class Sqrt(OfOne):
    def value(self, x):
        return np.sqrt(x)

    def slope(self, x):
        return 0.5 / np.sqrt(x)


@dataclass(frozen=True)
class Reciprocal(OfOne):
    numerator: float = 1.0

    def value(self, x):
        return self.numerator / x

    def slope(self, x):
        return -self.numerator / x / x


@dataclass(frozen=True)
class Scale(OfOne):
    factor: float
    shift: float = 0.0

    def value(self, x):
        return self.factor * x + self.shift

    def slope(self, x):
        return np.full_like(x, self.factor)


@dataclass(frozen=True)
class Abs(OfOne):
    def value(self, x):
        return np.abs(x)

    def backward(self, xs, params, g):
        (x,) = wide(xs)
        return [np.where(x > 0, g, np.where(x < 0, -g, 0))], []


@dataclass(frozen=True)
class Clip(OfOne):
    low: float
    high: float

    def value(self, x):
        return np.clip(x, self.low, self.high)

    def backward(self, xs, params, g):
        (x,) = wide(xs)
        return [np.where((x >= self.low) & (x <= self.high), g, 0)], []


@dataclass(frozen=True)
class LeakyReLU(OfOne):
    a: float = 0.01

    def value(self, x):
        return np.where(x > 0, x, self.a * x)

    def slope(self, x):
        return np.where(x > 0, 1, self.a)


@dataclass(frozen=True)
class ELU(OfOne):
    a: float = 1.0

    def value(self, x):
        return np.where(x > 0, x, self.a * np.expm1(x))

    def slope(self, x):
        return np.where(x > 0, 1, self.a * np.exp(x))


def sigmoid(x):
    return np.exp(np.minimum(x, 0)) / (1 + np.exp(-np.abs(x)))


@dataclass(frozen=True)
class Softplus(OfOne):
    def value(self, x):
        return np.logaddexp(x, 0)

    def slope(self, x):
        return sigmoid(x)


def bounded(x):
    """Returns x between two numbers beyond which distribution functions are 0 and 1; a NaN stays a NaN."""
    return np.clip(x, -1e3, 1e3)


@dataclass(frozen=True)
class SiLU(OfOne):
    def value(self, x):
        return np.where(x == np.inf, x, bounded(x) * sigmoid(x))

    def slope(self, x):
        return sigmoid(x) + bounded(x) * sigmoid(x) * sigmoid(-x)


@dataclass(frozen=True)
class GELU(OfOne):
    approximate: bool = False

    def parts(self, x):
        """Returns the distribution function and its density."""
        if not self.approximate:
            return erfc(-x / math.sqrt(2)) / 2, np.exp(-x * x / 2) / math.sqrt(2 * math.pi)
        root = math.sqrt(2 / math.pi)
        tanh = np.tanh(root * (x + 0.044715 * x**3))
        return (1 + tanh) / 2, (1 - tanh**2) / 2 * root * (1 + 3 * 0.044715 * x**2)

    def value(self, x):
        return np.where(x == np.inf, x, bounded(x) * self.parts(bounded(x))[0])

    def slope(self, x):
        value, density = self.parts(bounded(x))
        return value + bounded(x) * density
