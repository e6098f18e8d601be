"""Random graphs against the NumPy autodiff. The seed of a failing graph is its number in the id."""

import itertools

import numpy as np
import pytest
import random_reference
from amounts import one_in
from arrays import assert_within
from random_graphs import Recipe

import cgraph as CG

COUNT = 200  # graphs, each in both dtypes; by default a third of these
# Relative to the element, and to the largest one of its kind in the graph.
RTOL = {"float64": 1e-9, "float32": 2e-3}
ATOL = {"float64": 1e-12, "float32": 2e-5}


def assert_all_close(actual, expected, dtype):
    largest = max([1.0, *(np.abs(array).max(initial=0.0) for array in expected)])
    for ours, theirs in zip(actual, expected, strict=True):
        ours = np.reshape(ours, theirs.shape)
        assert_within(ours, theirs, RTOL[dtype], ATOL[dtype] * largest)


class Run:
    """A recipe's Nodes and its reference, which are fed with the same samples."""

    def __init__(self, seed, dtype):
        self.recipe, self.dtype = Recipe(seed), dtype
        self.rng = np.random.default_rng([seed, 1])
        self.nodes = self.recipe.nodes(dtype)
        self.params = [[p.astype(dtype) for p in step.params] for step in self.recipe.steps]
        self.sums = [[np.zeros(p.shape) for p in step.params] for step in self.recipe.steps]

    def flat(self, arrays):
        return [array for group in arrays for array in group]

    def live(self, name):
        """Returns the nodes' parameter arrays ("value") or gradient sums ("grad"), step by step."""
        found = {}
        for end in self.recipe.ends:
            for p in CG.parameters(self.nodes[end]):
                found.setdefault(id(p.node), {})[p.name] = getattr(p, name)
        return [array for node in self.nodes for array in found.get(id(node), {}).values()]

    def counters(self):
        return {(node.b_count, node.f_count) for node in self.nodes}

    def sample(self):
        """Runs one sample forward and backward, and compares every value."""
        fed = {}
        for k in self.recipe.leaves:
            fed[k] = self.rng.uniform(-1, 1, self.recipe.steps[k].shape).astype(self.dtype)
            self.nodes[k].getInput(fed[k].ravel())
        for k in self.rng.permutation(self.recipe.leaves):
            self.nodes[k].forwardPropagation()
        data = random_reference.forward(self.recipe, fed, self.params)
        assert_all_close([node.data for node in self.nodes], data, self.dtype)
        for end in self.rng.permutation(self.recipe.ends):
            self.nodes[end].backwardPropagation()
        held = [np.reshape(node.data, x.shape) for node, x in zip(self.nodes, data, strict=True)]
        grads, shares = random_reference.backward(self.recipe, held, self.params)
        assert_all_close([node.grad for node in self.nodes], grads, self.dtype)
        for total, share in zip(self.flat(self.sums), self.flat(shares), strict=True):
            total += share
        assert_all_close(self.live("grad"), self.flat(self.sums), self.dtype)
        assert self.counters() == {(0, 0)}

    def update(self, eta):
        """Makes a step on the sum of the losses so far, in the nodes and in the reference."""
        for end in self.recipe.ends:
            self.nodes[end].update(eta)
        for p, total in zip(self.flat(self.params), self.flat(self.sums), strict=True):
            p -= eta * total
            total[...] = 0
        assert_all_close(self.live("value"), self.flat(self.params), self.dtype)
        assert all(not array.any() for array in self.live("grad"))
        assert self.counters() == {(0, 0)}


@pytest.mark.parametrize(
    ("seed", "dtype"), one_in(3, itertools.product(range(COUNT), ["float64", "float32"]))
)
def test_a_random_graph_equals_its_reference(seed, dtype):
    run = Run(seed, dtype)
    for samples in (1 + seed % 3, 1):
        for _ in range(samples):
            run.sample()
        run.update(0.05)


def test_the_graphs_are_as_varied_as_they_should_be():
    """The recipes vary in sizes, shared and repeated inputs and sparse tables, each of which is counted here."""
    recipes = [Recipe(seed) for seed in range(COUNT)]
    sizes = [len(recipe.steps) for recipe in recipes]
    assert 5 <= min(sizes) <= 10
    assert 50 <= max(sizes) <= 60
    uses = [np.bincount([k for step in r.steps for k in step.inputs]) for r in recipes]
    assert sum(counts.max() >= 3 for counts in uses) > COUNT / 2
    steps = [step for recipe in recipes for step in recipe.steps]
    repeated = [step for step in steps if len(set(step.inputs)) < len(step.inputs)]
    assert len(repeated) > COUNT
    kinds = {type(step.reference).__name__ for step in steps}
    # At least every op of the specification, the own node and the leaves (None).
    assert len(kinds) >= 17
    assert sum(len(recipe.ends) == 2 for recipe in recipes) > COUNT / 20


# A point so near a kink that float32 cannot tell: in float64 the difference is the gradient, 0.11855, at a 64th of the
# usual distance alone (0.11449 and 0.11653 before), where the rounding of the loss in float32 decides.
NEAR_A_KINK = {(55, "float32")}


@pytest.mark.parametrize(
    ("seed", "dtype"),
    one_in(
        3,
        (
            row
            for row in itertools.product(range(60), ["float64", "float32"])
            if row not in NEAR_A_KINK
        ),
    ),
)
def test_gradcheck_finds_nothing_wrong_in_random_graphs(seed, dtype, gradcheck):
    run = Run(seed, dtype)
    run.sample()
    ends = [run.nodes[end] for end in run.recipe.ends]
    for end in ends:
        others = [node for other in ends if other is not end for node in CG.ancestors(other)]
        if set(CG.ancestors(end)).isdisjoint(
            others
        ):  # with several ends, a pass from one waits for the other
            gradcheck(end, mode="projection")
