"""A Graph and a second, equal set of nodes without a Graph, whose arrays must be equal at all times."""

import numpy as np
from arrays import assert_equal, assert_within
from random_graphs import Recipe, nodes_above

import cgraph as CG

# Relative to the largest element of its kind in the graph.
TOLERANCE = {"float64": 1e-12, "float32": 1e-5}


def assert_same(actual, expected, tolerance, scale=None):
    """Asserts equality up to rounding; NaN and inf must be equal."""
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    assert actual.shape == expected.shape
    finite = np.isfinite(expected)
    if not finite.all():
        assert_equal(np.where(finite, 0, actual), np.where(finite, 0, expected))
        actual, expected = actual[finite], expected[finite]
    bound = tolerance * max(np.abs(expected).max(initial=0.0), scale or 0.0)
    assert_within(actual, expected, tolerance, bound)


def parameters_of(nodes):
    """Returns (parameters, gradient sums) of each of these nodes that has parameters."""
    return [
        (np.asarray(getattr(node, name)), np.asarray(getattr(node, gradient)))
        for node in nodes
        for name, gradient in node._parameters
    ]


def joined(arrays):
    """Returns the elements of all arrays, in float64."""
    return np.concatenate([np.ravel(array) for array in arrays], dtype=np.float64)


def largest(arrays):
    """Returns the largest finite magnitude in these arrays, at least 1."""
    magnitudes = np.abs(joined(arrays))
    most = magnitudes.max(initial=1.0)
    return most if np.isfinite(most) else magnitudes[np.isfinite(magnitudes)].max(initial=1.0)


def assert_all_same(actual, expected, tolerance):
    """Asserts equality of each array up to rounding, relative to the largest element of all."""
    scale = largest(expected)
    try:
        assert list(map(np.shape, actual)) == list(map(np.shape, expected))
        assert_same(joined(actual), joined(expected), tolerance, scale)
    except AssertionError:
        for ours, theirs in zip(actual, expected, strict=True):
            assert_same(ours, theirs, tolerance, scale)
        raise


class Twins:
    """The nodes of a Graph, `ours`, and equal nodes that are run by their own passes, `theirs`.

    `make()` gives a list of nodes, always the same; `ends` are the numbers of the outputs in it.
    """

    def __init__(self, make, ends, tolerance=None, **options):
        self.ours, self.theirs = make(), make()
        self.ends = ends
        dtype = self.ours[0].dtype.name
        self.tolerance = TOLERANCE[dtype] if tolerance is None else tolerance
        # One after the other, so that the nodes hold the last sample of each call.
        self.options = {"layout": "samples", "threads": 1} | options
        self.graph = self.compiled()

    def compiled(self, **options):
        """Returns a new Graph of the same outputs."""
        return CG.Graph([self.ours[end] for end in self.ends], **(self.options | options))

    @property
    def leaves(self):
        """The numbers of the leaves."""
        return [k for k, node in enumerate(self.theirs) if not node.backward]

    # Actions on both

    def write(self, values):
        """Copies values, arrays by number of leaf, into the data of the leaves."""
        for nodes in (self.ours, self.theirs):
            for k, value in values.items():
                nodes[k].data[...] = np.ravel(value)

    def draw(self, rng, count=None):
        """Values for all leaves: of one sample, or of `count` samples."""
        rows = () if count is None else (count,)
        return {
            k: rng.uniform(-1, 1, (*rows, self.theirs[k].size)).astype(self.theirs[k].dtype)
            for k in self.leaves
        }

    def feed(self, samples):
        return {self.ours[k]: rows for k, rows in samples.items()}

    # The nodes' own passes

    def nodes_forward(self, nodes=None):
        nodes = nodes or self.theirs
        for k in self.leaves:
            nodes[k].forwardPropagation()

    def nodes_backward(self, nodes=None):
        for end in self.ends:
            (nodes or self.theirs)[end].backwardPropagation()

    def nodes_update(self, eta, nodes=None):
        for end in self.ends:
            (nodes or self.theirs)[end].update(eta)

    def nodes_train(self, samples, eta, batch):
        """Trains and returns the losses; an update follows each `batch` samples and the last one, or none for 0."""
        count = len(next(iter(samples.values())))
        losses = []
        for i in range(count):
            for k, rows in samples.items():
                self.theirs[k].data[...] = np.ravel(rows[i])
            self.nodes_forward()
            self.nodes_backward()
            losses.append(self.theirs[self.ends[0]].data[0])
            if batch and ((i + 1) % batch == 0 or i + 1 == count):
                self.nodes_update(eta)
        return np.array(losses)

    def nodes_predict(self, samples, k):
        """The data of node k for each sample, as a prediction."""
        rows = []
        for i in range(len(next(iter(samples.values())))):
            for leaf, values in samples.items():
                self.theirs[leaf].data[...] = np.ravel(values[i])
            rows.append(CG.evaluate(self.theirs[k]))
        return np.array(rows)

    # Comparisons

    def assert_data_are_equal(self):
        assert_all_same([n.data for n in self.ours], [n.data for n in self.theirs], self.tolerance)
        for ours, theirs in zip(self.ours, self.theirs, strict=True):
            if type(theirs) is CG.MaxPooling2d:
                assert_equal(ours.maxCount, theirs.maxCount)

    def assert_gradients_are_equal(self, without=()):
        pairs = [(a.grad, b.grad) for a, b in zip(self.ours, self.theirs, strict=True)
                 if a not in without]  # fmt: skip
        assert_all_same(*zip(*pairs, strict=True), self.tolerance)

    def assert_values_are_equal(self):
        pairs = zip(parameters_of(self.ours), parameters_of(self.theirs), strict=True)
        values = [(ours[0], theirs[0]) for ours, theirs in pairs]
        if values:
            assert_all_same(*zip(*values, strict=True), self.tolerance)

    def assert_sums_are_equal(self):
        """Compares the gradient sums, which exposes them, so that the Graph no longer fuses updates."""
        pairs = zip(parameters_of(self.ours), parameters_of(self.theirs), strict=True)
        sums = [(ours[1], theirs[1]) for ours, theirs in pairs]
        if sums:
            assert_all_same(*zip(*sums, strict=True), self.tolerance)

    def assert_equal(self):
        self.assert_data_are_equal()
        self.assert_gradients_are_equal()
        self.assert_values_are_equal()
        self.assert_sums_are_equal()


def random_twins(seed, dtype, ends=None, **options):
    """Twins of a random graph, with its first end or these ends as outputs."""
    recipe = Recipe(seed)
    ends = recipe.ends[:1] if ends is None else ends
    numbers = nodes_above(recipe, ends, dtype)[1]
    return Twins(lambda: nodes_above(recipe, ends, dtype)[0], numbers, **options)
