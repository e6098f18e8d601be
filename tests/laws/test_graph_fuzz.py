"""Calls of a Graph, passes of its nodes and writes by hand in random order, compared with nodes without a Graph.

`pytest tests/laws/test_graph_fuzz.py --hypothesis-profile=thorough` draws other sequences in every run, and many.
"""

import numpy as np
from graph_twins import assert_same, parameters_of, random_twins
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

import cgraph as CG

ETA = 0.002
seeds = st.integers(0, 2**32 - 1)
counts = st.integers(1, 3)


class Turns(RuleBasedStateMachine):
    """Runs calls in any order; losses, data and parameters must be those of the twin."""

    @initialize(seed=st.integers(0, 999), dtype=st.sampled_from(["float64", "float32"]))
    def begin(self, seed, dtype):
        # After samples one by one, the nodes show the last one.
        self.twins = random_twins(seed, dtype, layout="samples")
        self.twins.tolerance *= 100  # rounding accumulates
        # The gradients that can be compared with the twin's: "none", "zero", "computed" or "parameters".
        self.gradients = "none"
        self.by_graph = (
            False  # whether the last forward pass was the Graph's, with no backward since
        )
        self.forward(seed, True)

    def samples(self, seed, count):
        return self.twins.draw(np.random.default_rng(seed), count)

    @rule(seed=seeds, count=counts, batch=st.integers(0, 3))
    def train(self, seed, count, batch):
        """Trains; a batch of 0 stands for accumulate."""
        twins, samples = self.twins, self.samples(seed, count)
        feed = twins.feed(samples)
        losses = (
            twins.graph.train(feed, ETA, batch=batch) if batch else twins.graph.accumulate(feed)
        )
        assert_same(losses, twins.nodes_train(samples, ETA, batch), twins.tolerance, 1.0)
        self.gradients, self.by_graph = "parameters" if batch else "computed", False

    @rule(seed=seeds, count=counts)
    def step(self, seed, count):
        twins, samples = self.twins, self.samples(seed, count)
        losses = twins.graph.step(twins.feed(samples), ETA)
        assert_same(losses, twins.nodes_train(samples, ETA, count), twins.tolerance, 1.0)
        self.gradients, self.by_graph = "parameters", False

    @rule(seed=seeds, count=counts)
    def predict_the_output(self, seed, count):
        twins, samples = self.twins, self.samples(seed, count)
        rows = twins.graph.predict(twins.feed(samples))
        expected = twins.nodes_predict(samples, twins.ends[0])
        assert_same(rows, expected, twins.tolerance, 1.0)
        twins.nodes_forward()  # for the last sample, as if it had been a pass
        self.gradients, self.by_graph = "zero", False

    @rule(seed=seeds, by_graph=st.booleans())
    def forward(self, seed, by_graph):
        twins = self.twins
        twins.write(twins.draw(np.random.default_rng(seed)))
        twins.nodes_forward()
        twins.graph.forward() if by_graph else twins.nodes_forward(twins.ours)
        self.gradients, self.by_graph = "zero", by_graph

    @precondition(lambda self: self.gradients == "zero")
    @rule(by_graph=st.booleans())
    def backward(self, by_graph):
        twins = self.twins
        if by_graph and not self.by_graph:
            return
        if not by_graph and not twins.ours[twins.ends[0]]._has_run:
            return
        twins.nodes_backward()
        twins.graph.backward() if by_graph else twins.nodes_backward(twins.ours)
        self.gradients, self.by_graph = "computed", False

    @rule(by_graph=st.booleans())
    def update(self, by_graph):
        twins = self.twins
        twins.nodes_update(ETA)
        twins.graph.update(ETA) if by_graph else twins.nodes_update(ETA, twins.ours)
        self.by_graph = self.by_graph and by_graph

    @rule(seed=seeds, sums=st.booleans())
    def write(self, seed, sums):
        rng = np.random.default_rng(seed)
        pairs = zip(parameters_of(self.twins.ours), parameters_of(self.twins.theirs), strict=True)
        for ours, theirs in pairs:
            noise = rng.uniform(-0.05, 0.05, theirs[sums].shape).astype(theirs[sums].dtype)
            theirs[sums][...] += noise
            ours[sums][...] = theirs[sums]

    @rule(leaf_grads=st.sampled_from([None, True]))
    def compile_anew(self, leaf_grads):
        if self.gradients == "parameters":
            self.gradients = "none"
        self.twins.graph = self.twins.compiled(leaf_grads=leaf_grads)
        self.by_graph = False

    @rule()
    def compare_data(self):
        self.twins.assert_data_are_equal()

    @precondition(lambda self: self.gradients in ("zero", "computed"))
    @rule()
    def compare_gradients(self):
        self.twins.assert_gradients_are_equal()

    @rule()
    def compare_sums(self):
        self.twins.assert_sums_are_equal()

    @rule()
    def look(self):
        """Checks that reprs and lists change nothing."""
        assert repr(self.twins.graph).endswith(f" steps for {len(self.twins.graph.nodes)} nodes)")
        assert set(self.twins.graph.nodes) == set(self.twins.ours)
        assert all(map(repr, self.twins.ours))

    def teardown(self):
        if hasattr(self, "twins"):
            self.twins.assert_values_are_equal()


Turns.TestCase.settings = settings(
    max_examples=max(100, settings.default.max_examples), stateful_step_count=15
)
TestTurns = Turns.TestCase


def test_a_graph_of_a_graphs_nodes_needs_no_gap():
    """Graphs of the nodes of a Graph can be built ten times in a row, without a call between."""
    twins = random_twins(3, "float64")
    for _ in range(10):
        twins.graph = CG.Graph(twins.ours[twins.ends[0]], layout="samples")
    samples = twins.draw(np.random.default_rng(0), 2)
    twins.graph.accumulate(twins.feed(samples))
    twins.nodes_train(samples, 0, 0)
    twins.assert_equal()
