"""A Graph's batches, compared with the nodes' own passes over the same samples (batch_reference.py)."""

import numpy as np
from arrays import assert_equal
from batch_reference import Reference, count_from
from graph_twins import TOLERANCE, assert_all_same, assert_same, parameters_of

import cgraph as CG

ETA = 0.002  # small, so that rounding does not grow from update to update


class BatchTwins:
    """The nodes of Graphs, `ours`, and the results of equal nodes for each of `count` samples, `reference`.

    `make()` gives a list of nodes, always the same; `end` is the number of the loss in it; `draw(rng)` gives arrays
    by number of leaf.
    """

    def __init__(self, make, end, draw, count, tolerance=None, **options):
        self.ours, self.end = make(), end
        self.reference = Reference(make(), end, draw, count, **options)
        dtype = self.ours[0].dtype.name
        self.tolerance = TOLERANCE[dtype] if tolerance is None else tolerance
        self.graph = None

    def compile(self, setting, ends=None):
        """Builds a new Graph, for which the gradient sums count as 0."""
        for node in self.ours:
            node.zero_grad()
        ends = [self.end] if ends is None else ends
        self.graph = CG.Graph([self.ours[end] for end in ends], **setting._asdict())
        return self.graph

    def feed(self, samples, count):
        return {self.ours[k]: rows[:count] for k, rows in samples.items()}

    def same(self, actual, expected, scales=None):
        """Compares one row for each sample, up to the rounding of the sample's own data."""
        scales = self.reference.scales[: len(expected)] if scales is None else scales
        assert_rows_same(actual, expected, self.tolerance, scales)

    def disturb_sums(self):
        """Fills gradient sums that count as 0 with numbers that must not be read."""
        if self.graph._executable.memory.grads_are_zero:
            self.graph._executable.arena.parameter_grads[...] = 7

    # Each of these methods begins with a new Graph

    def check_sums(self, setting, count, more):
        """Checks gradient sums: overwritten, overwritten after an update, added to; then exposed ones."""
        self.compile(setting)
        self.disturb_sums()
        self.accumulate(count)
        self.graph.update(0.0)
        self.disturb_sums()
        self.accumulate(more)
        self.accumulate(count)
        self.assert_sums(more, count)
        self.accumulate(more)
        self.assert_sums(more, count, more)

    def check_added_sums(self, setting, count):
        """Checks gradient sums without an update, which would be NaN where sums are not finite."""
        self.compile(setting)
        self.accumulate(count)
        self.assert_sums(count)

    def check_step(self, setting, count):
        """Checks that a step is one update by the sum of the gradients."""
        self.compile(setting)
        self.step(count)

    def check_train(self, setting, count, batch):
        self.compile(setting)
        self.train(count, batch)

    def check_predictions(self, setting, count, numbers, ends=None):
        """Checks predictions of these nodes, returned in a new array and written into a given one."""
        self.compile(setting, ends)
        self.predict(count, numbers)

    def check_samples(self, setting, count, numbers):
        """Checks every node for some samples of the last batch, and that no parameter or gradient sum changes."""
        self.compile(setting)
        self.accumulate(count)
        before = [(value.copy(), total.copy()) for value, total in parameters_of(self.ours)]
        for i in numbers:
            self.graph.sample(i)
            self.assert_sample(i)
        for pair, expected in zip(parameters_of(self.ours), before, strict=True):
            for ours, theirs in zip(pair, expected, strict=True):
                assert_equal(ours, theirs)

    # Each of these methods makes one call of the present Graph, and leaves the initial parameters

    def step(self, count):
        self.disturb_sums()
        reference = self.reference
        count_from(self.ours, 0)
        losses = self.graph.step(self.feed(reference.samples, count), ETA)
        self.same(losses, reference.losses[:count])
        expected = [value - ETA * total[count]
                    for value, total in zip(reference.values, reference.totals, strict=True)]  # fmt: skip
        self.assert_values(expected)
        self.restore()

    def train(self, count, batch):
        record = self.reference.train(count, batch, ETA)
        self.disturb_sums()
        count_from(self.ours, 0)
        losses = self.graph.train(self.feed(record.samples, count), ETA, batch=batch)
        self.same(losses, record.losses, np.full(count, record.scale))
        self.assert_values(record.values)
        self.restore()

    def predict(self, count, numbers):
        feed = self.feed(self.reference.samples, count)
        for k in numbers:
            rows = self.graph.predict(feed, self.ours[k])
            self.same(rows, self.reference.predictions[k][:count])
            out = np.full_like(rows, np.nan)
            assert self.graph.predict(feed, self.ours[k], out=out) is out
            assert_equal(out, rows)

    def accumulate(self, count):
        count_from(self.ours, 0)
        losses = self.graph.accumulate(self.feed(self.reference.samples, count))
        self.same(losses, self.reference.losses[:count])

    # Comparisons

    def assert_sample(self, i):
        reference = self.reference
        assert_all_same([n.data for n in self.ours], [x[i] for x in reference.data], self.tolerance)
        assert_all_same(
            [n.grad for n in self.ours], [x[i] for x in reference.grads], self.tolerance
        )
        for k, counts in reference.maxima.items():
            assert_equal(self.ours[k].maxCount, counts[i])

    def assert_sums(self, *counts):
        """Compares the gradient sums with the total of those over the first samples, for each of these counts."""
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
        """Gives the nodes their initial parameters again."""
        for (value, _), first in zip(parameters_of(self.ours), self.reference.values, strict=True):
            value[...] = first


def assert_rows_same(actual, expected, tolerance, scales):
    """Asserts equality up to rounding, relative to one scale for each row; NaN and inf must be equal."""
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
    """Returns the numbers of the leaves."""
    return [k for k, node in enumerate(nodes) if not node.backward]


def uniform(nodes, numbers=None):
    """Returns a function that draws values between -1 and 1 for these leaves, all by default."""
    numbers = leaves_of(nodes) if numbers is None else numbers
    dtype = nodes[0].dtype
    sizes = {k: nodes[k].size for k in numbers}
    return lambda rng: {k: rng.uniform(-1, 1, size).astype(dtype) for k, size in sizes.items()}


def some_nodes(nodes):
    """Returns the numbers of the first, the last and a middle node of each class; channels of groups are among them."""
    found = {}
    for k, node in enumerate(nodes):
        found.setdefault(type(node), []).append(k)
    return sorted({alike[i] for alike in found.values() for i in (0, len(alike) // 2, -1)})
