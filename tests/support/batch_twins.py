"""A Graph's batches beside what the nodes' own passes said about the same samples (batch_reference.py)."""

import numpy as np
from arrays import assert_equal
from batch_reference import Reference
from graph_twins import TOLERANCE, assert_all_same, assert_same, parameters_of

import cgraph as CG

ETA = 0.002  # small, so that rounding does not grow from update to update


class BatchTwins:
    """`ours`: the nodes of Graphs; `reference`: what the same nodes gave for each of `count` samples.

    `make()` gives a list of nodes, always the same; `end` is the number of the loss in it; `draw(rng)` gives arrays
    by number of leaf.
    """

    def __init__(self, make, end, draw, count, tolerance=None, **options):
        self.ours, self.end = make(), end
        self.reference = Reference(make(), end, draw, count, **options)
        dtype = self.ours[0].dtype.name
        self.tolerance = TOLERANCE[dtype] if tolerance is None else tolerance
        self.graph = None

    def compile(self, way, ends=None):
        """A new Graph, to which the gradient sums count as 0."""
        for node in self.ours:
            node.zero_grad()
        ends = [self.end] if ends is None else ends
        self.graph = CG.Graph([self.ours[end] for end in ends], **way._asdict())
        return self.graph

    def feed(self, samples, count):
        return {self.ours[k]: rows[:count] for k, rows in samples.items()}

    def same(self, actual, expected, scales=None):
        """One row for a sample, each to the rounding of its own data."""
        scales = self.reference.scales[: len(expected)] if scales is None else scales
        assert_rows_same(actual, expected, self.tolerance, scales)

    def disturb_sums(self):
        """Where sums count as 0, anything may stand."""
        if self.graph._arena.grads_are_zero:
            self.graph._arena.parameter_grads[...] = 7

    # Each of these begins with a new Graph

    def check_sums(self, way, count, more):
        """Overwritten, overwritten after an update, added to; then with sums that the user holds."""
        self.compile(way)
        self.disturb_sums()
        self.accumulate(count)
        self.graph.update(0.0)
        self.disturb_sums()
        self.accumulate(more)
        self.accumulate(count)
        self.assert_sums(more, count)
        self.accumulate(more)
        self.assert_sums(more, count, more)

    def check_added_sums(self, way, count):
        """As check_sums, where an update by 0 times NaN would not be none."""
        self.compile(way)
        self.accumulate(count)
        self.assert_sums(count)

    def check_step(self, way, count):
        """One update, by the sum of the gradients."""
        graph, reference = self.compile(way), self.reference
        self.disturb_sums()
        losses = graph.step(self.feed(reference.samples, count), ETA)
        self.same(losses, reference.losses[:count])
        expected = [value - ETA * total[count]
                    for value, total in zip(reference.values, reference.totals, strict=True)]  # fmt: skip
        self.assert_values(expected)
        self.restore()

    def check_train(self, way, count, batch):
        graph, course = self.compile(way), self.reference.train(count, batch, ETA)
        self.disturb_sums()
        losses = graph.train(self.feed(course.samples, count), ETA, batch=batch)
        self.same(losses, course.losses, np.full(count, course.scale))
        self.assert_values(course.values)
        self.restore()

    def check_predictions(self, way, count, numbers, ends=None):
        """Each of these nodes, into a new array and into one that is given."""
        graph, feed = self.compile(way, ends), self.feed(self.reference.samples, count)
        for k in numbers:
            rows = graph.predict(feed, self.ours[k])
            self.same(rows, self.reference.data[k][:count])
            out = np.full_like(rows, np.nan)
            assert graph.predict(feed, self.ours[k], out=out) is out
            assert_equal(out, rows)

    def check_samples(self, way, count, numbers):
        """Every node, for some samples of the last batch; nothing that was learnt changes."""
        self.compile(way)
        self.accumulate(count)
        before = [(value.copy(), total.copy()) for value, total in parameters_of(self.ours)]
        for i in numbers:
            self.graph.sample(i)
            self.assert_sample(i)
        for pair, expected in zip(parameters_of(self.ours), before, strict=True):
            for ours, theirs in zip(pair, expected, strict=True):
                assert_equal(ours, theirs)

    # What must be equal

    def accumulate(self, count):
        losses = self.graph.accumulate(self.feed(self.reference.samples, count))
        self.same(losses, self.reference.losses[:count])

    def assert_sample(self, i):
        reference = self.reference
        assert_all_same([n.data for n in self.ours], [x[i] for x in reference.data], self.tolerance)
        assert_all_same(
            [n.grad for n in self.ours], [x[i] for x in reference.grads], self.tolerance
        )
        for k, counts in reference.maxima.items():
            assert_equal(self.ours[k].maxCount, counts[i])

    def assert_sums(self, *counts):
        """Those of the first samples, added for each of these numbers."""
        scale = sum(self.reference.spreads[count] for count in counts)
        pairs = zip(parameters_of(self.ours), self.reference.totals, strict=True)
        for (_, ours), totals in pairs:
            with np.errstate(invalid="ignore"):
                expected = sum(totals[count] for count in counts)
            assert_same(ours, expected, self.tolerance, scale)

    def assert_values(self, expected):
        values = [value for value, _ in parameters_of(self.ours)]
        if values:
            assert_all_same(values, expected, self.tolerance)

    def restore(self):
        """The parameters as they were at first."""
        for (value, _), first in zip(parameters_of(self.ours), self.reference.values, strict=True):
            value[...] = first


def assert_rows_same(actual, expected, tolerance, scales):
    """Equal up to rounding, relative to one scale for each row, with NaN and inf in the same places."""
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    assert actual.shape == expected.shape
    finite = np.isfinite(expected)
    if not finite.all():
        assert_equal(np.where(finite, 0, actual), np.where(finite, 0, expected))
    bound = tolerance * (np.where(finite, np.abs(expected), 0).T + scales).T
    with np.errstate(invalid="ignore"):
        wrong = finite & ~(np.abs(actual - expected) <= bound)
    assert not wrong.any(), f"{actual[wrong]} is not {expected[wrong]}, at {np.argwhere(wrong)}"


def leaves_of(nodes):
    """The numbers of the leaves."""
    return [k for k, node in enumerate(nodes) if not node.backward]


def uniform(nodes, numbers=None):
    """Draws values between -1 and 1 for these leaves, all by default."""
    numbers = leaves_of(nodes) if numbers is None else numbers
    dtype = nodes[0].dtype
    sizes = {k: nodes[k].size for k in numbers}
    return lambda rng: {k: rng.uniform(-1, 1, size).astype(dtype) for k, size in sizes.items()}


def some_nodes(nodes):
    """The numbers of the first and the last node of each class, and of one between them: channels of groups, too."""
    found = {}
    for k, node in enumerate(nodes):
        found.setdefault(type(node), []).append(k)
    return sorted({alike[i] for alike in found.values() for i in (0, len(alike) // 2, -1)})
