"""The filters of the specification in plain NumPy: the padding rule, convolution, pooling.

The interface is that of reference.py. Indices are 0-based: output (a, b) reads the domain at
(a*s + i - p, b*s + j - q), and what lies outside the domain is never touched.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from reference import wide


def ceil_div(a, b):
    return -(-a // b)


def axis(m, k, s, n=None, before=None, crop=False):
    """(n, before, after) along one axis: domain m, kernel k, stride s, output n, paddings."""
    if n is None:
        n = (m - k) // s + 1 if crop else ceil_div(m - k, s) + 1
    total = s * (n - 1) + k - m
    if before is None:
        before = 0 if crop and total < 0 else total // 2
    return n, before, total - before


@dataclass(frozen=True)
class FilterGeometry:
    """A filter's geometry: domain m, kernel k, output n, stride s, padding p (top) and q (left)."""

    m_h: int
    m_w: int
    k_h: int
    k_w: int
    s: int
    p: int
    q: int
    n_h: int
    n_w: int

    @classmethod
    def of(cls, m, k, stride=1, top=None, left=None, height=None, width=None, crop=False):
        n_h, p, _ = axis(m[0], k[0], stride, height, top, crop)
        n_w, q, _ = axis(m[1], k[1], stride, width, left, crop)
        return cls(*m, *k, stride, p, q, n_h, n_w)

    def taps(self):
        """(i, j, where in the output, where in the domain) for every element of the kernel."""
        return taps_of(self)

    def windows(self):
        """(a, b, the part of the domain under it, the number of padding elements in it)."""
        return windows_of(self)


@cache
def taps_of(w):
    """As Window.taps, computed once for each geometry."""
    found = []
    for i in range(w.k_h):
        for j in range(w.k_w):
            rows = [(a, a * w.s + i - w.p) for a in range(w.n_h)]
            cols = [(b, b * w.s + j - w.q) for b in range(w.n_w)]
            rows = [(a, r) for a, r in rows if 0 <= r < w.m_h]
            cols = [(b, c) for b, c in cols if 0 <= c < w.m_w]
            if rows and cols:
                (a, r), (b, c) = zip(*rows, strict=True), zip(*cols, strict=True)
                found.append((i, j, np.ix_(a, b), np.ix_(r, c)))
    return found


@cache
def windows_of(w):
    """As Window.windows, computed once for each geometry."""
    found = []
    for a in range(w.n_h):
        for b in range(w.n_w):
            top, left = a * w.s - w.p, b * w.s - w.q
            rows = slice(max(top, 0), max(min(top + w.k_h, w.m_h), 0))
            cols = slice(max(left, 0), max(min(left + w.k_w, w.m_w), 0))
            inside = max(rows.stop - rows.start, 0) * max(cols.stop - cols.start, 0)
            found.append((a, b, (rows, cols), w.k_h * w.k_w - inside))
    return found


@dataclass(frozen=True)
class Convolution2d:
    """Parameters: kernel (C, k_h, k_w) and bias (1,)."""

    window: FilterGeometry

    def forward(self, xs, params):
        xs, (kernel, bias) = wide(xs), wide(params)
        d = np.full((self.window.n_h, self.window.n_w), bias.item())
        for c, x in enumerate(xs):
            for i, j, out, domain in self.window.taps():
                d[out] += kernel[c, i, j] * x[domain]
        return d

    def backward(self, xs, params, g):
        xs, (kernel, _) = wide(xs), wide(params)
        dxs, dkernel = [np.zeros(x.shape) for x in xs], np.zeros(kernel.shape)
        for c, x in enumerate(xs):
            for i, j, out, domain in self.window.taps():
                dxs[c][domain] += kernel[c, i, j] * g[out]
                dkernel[c, i, j] = np.sum(x[domain] * g[out])
        return dxs, [dkernel, np.array([np.sum(g)])]


@dataclass(frozen=True)
class MaxPooling2d:
    window: FilterGeometry
    pad_value: float = 0.0

    def maxima(self, x):
        """(n_h, n_w) maxima, and how many elements within the domain equal them."""
        d = np.empty((self.window.n_h, self.window.n_w))
        count = np.zeros(d.shape, dtype=np.int64)
        for a, b, inside, padding in self.window.windows():
            values = x[inside].ravel().tolist()
            candidates = values + ([self.pad_value] if padding else [])
            d[a, b] = math.nan if any(map(math.isnan, candidates)) else max(candidates)
            count[a, b] = sum(value == d[a, b] for value in values)
        return d, count

    def forward(self, xs, params):
        return self.maxima(wide(xs)[0])[0]

    def backward(self, xs, params, g):
        (x,) = wide(xs)
        d, count = self.maxima(x)
        dx = np.zeros(x.shape)
        for a, b, inside, _ in self.window.windows():
            if count[a, b]:
                dx[inside] += np.where(x[inside] == d[a, b], g[a, b] / count[a, b], 0.0)
        return [dx], []


@dataclass(frozen=True)
class AveragePooling2d:
    window: FilterGeometry
    count_padding: bool = True

    def area(self, padding):
        """Returns by what a sum is divided, over a window of which so many elements are padding."""
        area = self.window.k_h * self.window.k_w
        return area if self.count_padding else max(area - padding, 1)

    def forward(self, xs, params):
        (x,) = wide(xs)
        d = np.zeros((self.window.n_h, self.window.n_w))
        for a, b, inside, padding in self.window.windows():
            d[a, b] = np.sum(x[inside]) / self.area(padding)
        return d

    def backward(self, xs, params, g):
        dx = np.zeros(xs[0].shape)
        for a, b, inside, padding in self.window.windows():
            dx[inside] += g[a, b] / self.area(padding)
        return [dx], []
