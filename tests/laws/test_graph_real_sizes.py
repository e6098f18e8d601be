"""Convolution layers of sizes that occur in practice, between inaccessible pages, against plain NumPy.

By default one drawn geometry for each dtype, layout, build and end of all memory that lies at such a page.
`pytest -m full` takes 60 more, a grid of ordinary layers in all of these, and 300 drawn ones, each in eight of them.
"""

import itertools
from typing import NamedTuple

import numpy as np
import pytest
from amounts import full
from guard_pages import EDGES, Guard, guarded, needs_guard_pages
from layer_geometries import CROPPED, ORDINARY, Numbers, draw, expected

import cgraph as CG
from cgraph import _kernels

pytestmark = [
    needs_guard_pages,
    pytest.mark.thread_unsafe(reason="replaces what allocates memory"),
]
COUNT = 9  # samples: a block of float64 and one left over, or some of a block of float32
ETA = 2.0**-10
TOLERANCE = {"float64": 1e-12, "float32": 1e-5}


class Kind(NamedTuple):
    """The settings with which a geometry is computed, and the end of all memory that lies at an inaccessible page."""

    edge: str
    layout: str
    dtype: str
    build: str


BUILDS = _kernels.available()
KINDS = [
    Kind(*kind)
    for kind in itertools.product(EDGES, ("samples", "lanes", "auto"), TOLERANCE, BUILDS)
]
DRAWN = [(geometry, KINDS[i % len(KINDS)]) for i, geometry in enumerate(draw(100, seed=1))]
FULL = [
    *itertools.product((*ORDINARY, *CROPPED), KINDS),
    *(
        (geometry, kind)
        for i, geometry in enumerate(draw(300, seed=2))
        for kind in KINDS[i % 3 :: 3]
    ),
]


def over(rows):
    """Runs a test for these geometries, each with one Kind."""
    return pytest.mark.parametrize(("geometry", "kind"), list(rows))


def named(geometry, kind):
    return pytest.param(geometry, kind, id="-".join([str(geometry), *kind]))


def close(actual, wanted, dtype):
    """Asserts equality up to rounding, relative to the largest element."""
    wanted = np.asarray(wanted)
    bound = TOLERANCE[dtype] * max(np.abs(wanted).max(), 1)
    np.testing.assert_allclose(actual, wanted, rtol=0, atol=bound)


class Network:
    """The nodes of a geometry and their Graph."""

    def __init__(self, numbers, kind):
        self.numbers, self.kind = numbers, kind
        nodes = numbers.nodes(kind.dtype)
        self.images, self.factor, self.front, self.layer, self.total, loss = nodes
        self.graph = CG.Graph(loss, layout=kind.layout, threads=1)

    def close(self, actual, wanted):
        close(actual, wanted, self.kind.dtype)

    def check_parameters(self, names, wanted):
        """Compares parameters or their gradients, by their names, with `wanted`, which is like Numbers.parameters."""
        kernel, bias, weight = names
        gain, offset, kernels, biases, weights = wanted
        if self.front:
            self.close([getattr(node, kernel) for node in self.front], gain[:, None, None, None])
            self.close([getattr(node, bias) for node in self.front], offset)
        found = np.concatenate([getattr(node, kernel) for node in self.layer])
        self.close(found, kernels[self.numbers.linked])
        self.close([getattr(node, bias) for node in self.layer], biases)
        self.close(getattr(self.total, weight)[:-1], weights.reshape(-1, 1))

    def check_pass(self, wanted):
        """Checks all data and gradients of the first sample."""
        for image, pixels in zip(self.images, self.numbers.images[0], strict=True):
            image.data[...] = pixels.ravel()
        self.factor.data[...] = self.numbers.factors[0]
        self.graph.forward()
        self.graph.backward()
        self.close([node.data for node in self.layer], wanted.output.reshape(len(self.layer), -1))
        self.close(
            [image.grad for image in self.images], wanted.images.reshape(len(self.images), -1)
        )
        self.check_parameters(("gradKernel", "gradBias", "gradWeight"), wanted.parameters)

    def feed(self):
        """Returns a feed of the two samples in turn, in arrays between inaccessible pages."""
        found = {}
        images = zip(self.images, self.numbers.images.swapaxes(0, 1), strict=True)
        for leaf, rows in (*images, (self.factor, self.numbers.factors)):
            array = guarded(COUNT * leaf.size, self.kind.dtype, self.kind.edge)
            found[leaf] = array.reshape(COUNT, leaf.size)
            found[leaf][...] = np.resize(rows.reshape(2, -1), (COUNT, leaf.size))
        return found

    def check_predictions(self, wanted):
        node = self.layer[-1]
        out = guarded(COUNT * node.size, self.kind.dtype, self.kind.edge).reshape(COUNT, node.size)
        self.graph.predict(self.feed(), node, out=out)
        rows = np.array([one.output[-1].ravel() for one in wanted])
        self.close(out, np.resize(rows, out.shape))

    def check_training(self, wanted):
        """Checks one update by the gradients of all samples."""
        self.graph.train(self.feed(), ETA, batch=COUNT)
        before = self.numbers.parameters
        steps = [
            ETA * ((COUNT + 1) // 2 * first + COUNT // 2 * second)
            for first, second in zip(*(one.parameters for one in wanted), strict=True)
        ]
        values = [value - step for value, step in zip(before, steps, strict=True)]
        self.check_parameters(("kernel", "bias", "weight"), values)


def check(geometry, kind, monkeypatch):
    numbers = Numbers(geometry, kind.dtype, samples=2)
    wanted = [expected(numbers, sample) for sample in range(2)]
    previous = _kernels.select(kind.build)
    guard = Guard(kind.edge).install(monkeypatch)
    try:
        Network(numbers, kind).check_pass(wanted[0])
        network = Network(numbers, kind)
        network.check_predictions(wanted)
        network.check_training(wanted)
    finally:
        _kernels.select(previous)
    assert guard.pieces >= 10


@over(named(*row) if i < len(KINDS) else full(named(*row)) for i, row in enumerate(DRAWN))
def test_a_layer_of_real_size_stays_within_its_memory(geometry, kind, monkeypatch):
    check(geometry, kind, monkeypatch)


@over(named(geometry, kind) for i, geometry in enumerate(CROPPED) for kind in KINDS[i::12])
def test_a_layer_that_leaves_rows_unread_stays_within_its_memory(geometry, kind, monkeypatch):
    check(geometry, kind, monkeypatch)


@pytest.mark.full
@over(named(*row) for row in FULL)
def test_every_layer_of_real_size_stays_within_its_memory(geometry, kind, monkeypatch):
    check(geometry, kind, monkeypatch)
