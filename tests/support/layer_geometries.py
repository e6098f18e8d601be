"""Convolution layers of sizes that occur in practice, and their results in plain NumPy."""

import itertools
from typing import NamedTuple

import numpy as np

import cgraph as CG

MOST = 50_000_000  # multiply-adds of a forward pass
POOL = 3


class Geometry(NamedTuple):
    """A convolution layer over c_in channels of height × width, with kernels k_h × k_w and padding p, q on either side.

    front: whether its inputs are themselves computed, by convolutions of 1 × 1 on one image; or else leaves. links: how
    many of all connections between inputs and outputs there are.
    """

    height: int
    width: int
    c_in: int
    c_out: int
    k_h: int
    k_w: int
    s: int
    p: int
    q: int
    front: bool
    links: float = 1.0

    @property
    def n_h(self):
        return (self.height + 2 * self.p - self.k_h) // self.s + 1

    @property
    def n_w(self):
        return (self.width + 2 * self.q - self.k_w) // self.s + 1

    @property
    def framed(self):
        """Returns the size of the input with its padding, as far as windows reach, or as the input does."""
        read = (self.n_h - 1) * self.s + self.k_h, (self.n_w - 1) * self.s + self.k_w
        return max(read[0], self.p + self.height), max(read[1], self.q + self.width)

    @property
    def is_possible(self):
        """Whether a window fits; those of a stride over 1 may leave the last rows and columns unread."""
        return min(self.n_h, self.n_w) > 0

    @property
    def multiply_adds(self):
        return self.n_h * self.n_w * self.k_h * self.k_w * self.c_in * self.c_out

    def __str__(self):
        kind = ("" if self.front else "-leaves") + ("-sparse" if self.links < 1 else "")
        return (
            f"{self.height}x{self.width}-{self.c_in}to{self.c_out}-{self.k_h}x{self.k_w}"
            f"-s{self.s}-p{self.p}.{self.q}{kind}"
        )


def square(height, width, c_in, c_out, k):
    """Returns a geometry whose outputs have the input's size."""
    return Geometry(height, width, c_in, c_out, k, k, 1, k // 2, k // 2, c_in > 1)


def drawn(rng):
    """Sizes and kernels uniform, channels by their logarithm; mostly with padding, rarely with missing connections.

    Often few channels go to many: then little memory lies in front of what a layer computes.
    """
    while True:
        height, width = map(int, rng.integers(28, 65, 2))
        narrow, front = rng.random() < 0.4, bool(rng.random() < 0.5)
        c_in = int(rng.integers(1, 5)) if narrow else int(2 ** rng.uniform(0, 7.01))
        c_out = int(2 ** rng.uniform(4 if narrow else 0, 7.01))
        k_h, k_w = map(int, rng.integers(1, 8, 2))
        if rng.random() < 0.7:
            k_w = k_h
        s = int(rng.choice([1, 1, 1, 2, 3]))
        p, q = (k_h // 2, k_w // 2) if rng.random() < 0.7 else map(int, rng.integers(0, (k_h, k_w)))
        links = 0.6 if c_in > 3 and rng.random() < 0.15 else 1.0
        front = front or c_in > 4
        geometry = Geometry(height, width, c_in, c_out, k_h, k_w, s, p, q, front, links)
        if geometry.is_possible and geometry.multiply_adds <= MOST:
            return geometry


def draw(count, seed):
    rng = np.random.default_rng(seed)
    return [drawn(rng) for _ in range(count)]


# One layer on an image, and a narrow layer in front of a wide one.
ORDINARY = [
    *(square(h, w, 1, n, k) for h, w, n, k in
      itertools.product((28, 32), (28, 29, 32), (16, 32, 64), (3, 5))),
    *(square(28, w, n, m, k) for w, n, m, k in
      itertools.product((28, 29), (2, 4, 8), (64, 128), (3, 5, 7))),
]  # fmt: skip
# Layers whose last rows, columns or both no window reads: a single image; channels read in place; a padded copy.
CROPPED = [
    Geometry(28, 28, 1, 32, 3, 3, 2, 0, 0, False),
    Geometry(28, 28, 32, 32, 3, 3, 2, 0, 0, True),
    Geometry(29, 28, 32, 32, 1, 1, 3, 0, 0, True),
    Geometry(28, 28, 32, 32, 5, 5, 3, 1, 1, True),
]


class Numbers:
    """Parameters and samples of a network: images, perhaps the layer in front, the layer, poolings, a weighted sum.

    The loss of a sample is that sum, times a number that is fed. So little memory lies in front of the layer.
    """

    def __init__(self, geometry, dtype, samples, seed=0):
        self.g = g = geometry
        rng = np.random.default_rng(seed)

        def uniform(*shape):
            """Draws numbers that are exact in the dtype."""
            return rng.uniform(-1, 1, shape).astype(dtype).astype(np.float64)

        self.gain, self.offset = uniform(2, g.c_in * g.front)
        fan = g.c_in * g.k_h * g.k_w
        self.kernels = (uniform(g.c_out, g.c_in, g.k_h, g.k_w) / fan).astype(dtype).astype(float)
        self.biases = uniform(g.c_out)
        self.linked = np.ones((g.c_out, g.c_in), bool)
        if g.links < 1:
            self.linked = rng.random((g.c_out, g.c_in)) < g.links
            self.linked[:, 0] = True
            self.kernels *= self.linked[:, :, None, None]
        self.pooled = -(-g.n_h // POOL), -(-g.n_w // POOL)
        self.images = uniform(samples, 1 if g.front else g.c_in, g.height, g.width)
        self.weights, self.factors = uniform(g.c_out, *self.pooled), uniform(samples)

    @property
    def parameters(self):
        return self.gain, self.offset, self.kernels, self.biases, self.weights

    def nodes(self, dtype):
        """The images, the factor, the convolutions in front and of the layer, the sum, and the loss."""
        g = self.g
        images = [CG.Leaf2(g.height, g.width, dtype=dtype) for _ in self.images[0]]
        factor = CG.Leaf1(1, dtype=dtype)
        front = [
            CG.Convolution2d(images, np.full((1, 1, 1), a), b)
            for a, b in zip(self.gain, self.offset, strict=True)
        ]
        layer = [
            CG.Convolution2d(
                [x for x, link in zip(front or images, links, strict=True) if link],
                kernel[links], bias, g.s, g.p, g.q, g.n_h, g.n_w, crop=True,
            )
            for kernel, bias, links in zip(self.kernels, self.biases, self.linked, strict=True)
        ]  # fmt: skip
        pooled = [CG.AveragePooling2d(x, POOL, POOL, POOL, 0, 0, *self.pooled) for x in layer]
        weights = np.append(self.weights.ravel(), 0)[:, None]
        total = CG.Affine(CG.Concatenation(pooled), weights)
        return images, factor, front, layer, total, CG.Dots(total, factor)


class Expected(NamedTuple):
    """The layer's output for one sample; the gradients of the images and of all parameters."""

    output: np.ndarray
    images: np.ndarray
    parameters: tuple[np.ndarray, ...]


def expected(numbers, sample):
    """Computes the formulas of the specification in float64, as products with the matrix of all windows."""
    g, images, factor = numbers.g, numbers.images[sample], numbers.factors[sample]
    frame = np.zeros((g.c_in, *g.framed))
    inside = np.s_[:, g.p : g.p + g.height, g.q : g.q + g.width]
    frame[inside] = images
    if g.front:
        frame[inside] *= numbers.gain[:, None, None]
        frame[inside] += numbers.offset[:, None, None]
    taps = list(itertools.product(range(g.k_h), range(g.k_w)))
    rows, columns = (g.n_h - 1) * g.s + 1, (g.n_w - 1) * g.s + 1
    under = [np.s_[:, i : i + rows : g.s, j : j + columns : g.s] for i, j in taps]
    windows = np.stack([frame[tap].reshape(g.c_in, -1) for tap in under], 1)
    windows = windows.reshape(g.c_in * len(taps), -1)
    matrix = numbers.kernels.reshape(g.c_out, -1)
    output = (matrix @ windows).reshape(g.c_out, g.n_h, g.n_w) + numbers.biases[:, None, None]
    # Each output counts for its pooling's weight.
    slope = numbers.weights.repeat(POOL, 1).repeat(POOL, 2)[:, : g.n_h, : g.n_w]
    slope = slope * factor / POOL**2
    kernels = (slope.reshape(g.c_out, -1) @ windows.T).reshape(numbers.kernels.shape)
    sent = (matrix.T @ slope.reshape(g.c_out, -1)).reshape(g.c_in, len(taps), g.n_h, g.n_w)
    frame[...] = 0
    for number, tap in enumerate(under):
        frame[tap] += sent[:, number]
    slopes = frame[inside]
    gain = offset = np.zeros(0)
    if g.front:
        gain, offset = np.tensordot(slopes, images[0], 2), slopes.sum((1, 2))
        slopes = np.tensordot(numbers.gain, slopes, 1)[None]
    parameters = gain, offset, kernels, slope.sum((1, 2)), factor * pooled(output)
    return Expected(output, slopes, parameters)


def pooled(output):
    """Averages of POOL × POOL elements; what lies beyond the output counts as 0."""
    rows, columns = (-n % POOL for n in output.shape[1:])
    whole = np.pad(output, ((0, 0), (0, rows), (0, columns)))
    c, height, width = whole.shape
    return whole.reshape(c, height // POOL, POOL, width // POOL, POOL).mean((2, 4))
