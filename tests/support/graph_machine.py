"""A graph under random operations: grown, fed, run, interrupted in the middle of a pass, cut, and run again.

A hypothesis state machine. Beside the Nodes stands their recipe (random_graphs.py), whose NumPy reading
(random_reference.py) says after every complete pass what data, gradients, sums and parameters must be.
"""

from dataclasses import replace

import numpy as np
import pytest
import random_reference
from fuzz_values import junk, resolved, some_nodes
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from own_nodes import Failing
from random_graphs import Recipe, Step, plain

import cgraph as CG

MOST = 60  # nodes
METHODS = ("calcData", "calcPartialDerivative", "updateParameters")
seeds = st.integers(0, 2**32 - 1)


class Identity:
    """The reference of Failing where it does not raise."""

    def forward(self, xs, params):
        return xs[0]

    def backward(self, xs, params, g):
        return [g], []


class Growing(Recipe):
    """A recipe that begins with one leaf and grows step by step."""

    def __init__(self):
        self.steps = []

    @property
    def leaves(self):
        return [k for k, step in enumerate(self.steps) if step.make is None]

    @property
    def ends(self):
        used = {k for step in self.steps for k in step.inputs}
        return [k for k in range(len(self.steps)) if k not in used]

    def grow(self, seed):
        self.rng = np.random.default_rng(seed)
        moves = [self.add_unary, self.add_binary, self.add_bank, self.add_pooling, self.add_failing]
        moves += [self.add_reduction, self.add_concatenation, self.add_affine, self.add_leaf]
        self.pick(moves)()

    def add_leaf(self):
        return self.append(Step(None, None, [], self.pick([(3, 3), (5, 4), (7, 1)]), 1.0))

    def add_failing(self):
        k = self.source()
        step = self.steps[k]
        return self.append(Step(plain(Failing), Identity(), [k], step.shape, step.bound))


def flat(groups):
    return [item for group in groups for item in group]


def assert_all_close(actual, expected):
    largest = max([1.0, *(np.abs(array).max(initial=0.0) for array in expected)])
    for ours, theirs in zip(actual, expected, strict=True):
        ours = np.reshape(ours, theirs.shape)
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12 * largest)


class GraphMachine(RuleBasedStateMachine):
    """A state machine whose rules are the actions of users, and whose invariants hold at any time."""

    @initialize(seed=seeds)
    def begin(self, seed):
        self.recipe = Growing()
        self.nodes, self.sums, self.fed = [], [], []
        self.waiting = []  # the leaves that a running forward pass has still to come from
        self.recipe.rng = np.random.default_rng(seed)
        self.recipe.add_leaf()
        self.build()

    # The model

    def build(self):
        """The nodes of the recipe's new steps."""
        for step in self.recipe.steps[len(self.nodes) :]:
            inputs = [self.nodes[k] for k in step.inputs]
            leaf = step.make is None
            self.nodes.append(CG.Leaf2(*step.shape) if leaf else step.make(inputs, step.params))
            self.sums.append([np.zeros(p.shape) for p in step.params])
            self.fed.append(np.zeros(step.shape))

    def forget(self, gone):
        """Drops these nodes, on which no others depend; begins with a new leaf if no node remains."""
        kept = [k for k in range(len(self.nodes)) if k not in gone]
        number = {k: n for n, k in enumerate(kept)}
        for name in ("nodes", "sums", "fed"):
            setattr(self, name, [getattr(self, name)[k] for k in kept])
        steps = [self.recipe.steps[k] for k in kept]
        self.recipe.steps = [replace(s, inputs=[number[i] for i in s.inputs]) for s in steps]
        if not self.recipe.leaves:
            self.recipe.add_leaf()
            self.build()

    def connected(self, k):
        """Returns all steps that are connected with step k."""
        found, before = {k}, set()
        while found != before:
            before = set(found)
            for n, step in enumerate(self.recipe.steps):
                if found & {n, *step.inputs}:
                    found |= {n, *step.inputs}
        return found

    def is_idle(self):
        return not self.waiting

    def has_room(self):
        return self.is_idle() and len(self.nodes) < MOST

    def join(self):
        """Makes one loss of all ends, unless each of them is one element already."""
        ends = self.recipe.ends
        if any(self.recipe.steps[k].shape != (1, 1) for k in ends):
            self.recipe.add_loss(ends)
            self.build()

    def live(self, name):
        """Returns the parameters ("value") or gradient sums ("grad") of the nodes."""
        held = [{p.name: p for p in CG.parameters(node) if p.node is node} for node in self.nodes]
        return [getattr(p, name) for own in held for p in own.values()]

    # Passes and what they must have done

    def run_forward(self, seed, most=None):
        """Calls the next leaves of a forward pass, all by default; a complete pass is checked."""
        if not self.waiting:
            self.waiting = list(np.random.default_rng(seed).permutation(self.recipe.leaves))
        for _ in range(most or len(self.waiting)):
            if self.waiting:
                self.nodes[self.waiting.pop()].forwardPropagation()
        if not self.waiting:
            params = [step.params for step in self.recipe.steps]
            expected = random_reference.forward(self.recipe, self.fed, params)
            assert_all_close([node.data for node in self.nodes], expected)
            assert not any(node.grad.any() for node in self.nodes)

    def run_backward(self):
        for k in self.recipe.ends:
            self.nodes[k].backwardPropagation()
        steps = self.recipe.steps
        held = [node.data.reshape(s.shape) for node, s in zip(self.nodes, steps, strict=True)]
        grads, shares = random_reference.backward(self.recipe, held, [s.params for s in steps])
        assert_all_close([node.grad for node in self.nodes], grads)
        for total, share in zip(flat(self.sums), flat(shares), strict=True):
            total += share
        assert_all_close(self.live("grad"), flat(self.sums))

    def run_update(self, eta):
        for k in self.recipe.ends:
            self.nodes[k].update(eta)
        params = [p for step in self.recipe.steps for p in step.params]
        for p, total in zip(params, flat(self.sums), strict=True):
            p -= eta * total
            total[...] = 0
        assert_all_close(self.live("value"), params)
        assert not any(array.any() for array in self.live("grad"))

    def run_all(self, seed):
        self.run_forward(seed)
        self.run_backward()
        self.run_update(0.05)

    def resume(self):
        """Takes over the gradient sums and parameters that an interrupted pass has left."""
        params = [p for step in self.recipe.steps for p in step.params]
        for p, held in zip(params, self.live("value"), strict=True):
            p[...] = np.reshape(held, p.shape)
        for node in self.nodes:
            node.zero_grad()
        for total in flat(self.sums):
            total[...] = 0

    # Rules

    @precondition(has_room)
    @rule(seed=seeds)
    def grow(self, seed):
        self.recipe.grow(seed)
        self.build()
        if self.recipe.steps[-1].shape == (1, 1):
            with pytest.raises(RuntimeError, match="needs a completed forward pass first"):
                self.nodes[-1].backwardPropagation()

    @precondition(is_idle)
    @rule(seed=seeds)
    def feed(self, seed):
        rng = np.random.default_rng(seed)
        for k in self.recipe.leaves:
            self.fed[k] = rng.uniform(-1, 1, self.recipe.steps[k].shape)
            self.nodes[k].getInput(self.fed[k])

    @rule(seed=seeds, most=st.integers(1, 3))
    def go_forward(self, seed, most):
        self.run_forward(seed, most)

    @precondition(is_idle)
    @rule(seed=seeds, samples=st.integers(1, 2), eta=st.sampled_from([0.05, -0.01]))
    def learn(self, seed, samples, eta):
        self.join()
        for sample in range(samples):
            self.run_forward(seed + sample)
            self.run_backward()
        self.run_update(eta)

    @rule(data=st.data(), wrong=junk)
    def hand_in_what_does_not_fit(self, data, wrong):
        node = data.draw(st.sampled_from(self.nodes))
        wrong = resolved([wrong], some_nodes())
        for refused in (CG.Add, CG.MSE, CG.MaxPooling2d, lambda x, y: CG.Concatenation([x, y])):
            with pytest.raises(TypeError):
                refused(node, wrong)
        if node.size > 1 and not node.forward:
            with pytest.raises(ValueError, match="must begin at a node of one element"):
                node.backwardPropagation()

    @precondition(lambda self: any(isinstance(node, Failing) for node in self.nodes))
    @rule(data=st.data(), seed=seeds, method=st.sampled_from(METHODS))
    def break_off(self, data, seed, method):
        """Lets an own node raise in the middle of a pass, after which all nodes connected with it start anew."""
        failing = [k for k, node in enumerate(self.nodes) if isinstance(node, Failing)]
        k = data.draw(st.sampled_from(failing))
        if method != METHODS[0]:
            self.run_forward(seed)
            self.join()
        self.nodes[k].fails_in = method
        with pytest.raises(ZeroDivisionError, match=method):
            self.run_all(seed)
        self.nodes[k].fails_in = None
        self.go_on_elsewhere(self.connected(k), method)
        self.resume()

    def go_on_elsewhere(self, broken, method):
        """Completes the pass for the nodes that are not connected with the node that raised."""
        for k in self.waiting:
            if k not in broken:
                self.nodes[k].forwardPropagation()
        if method == METHODS[0]:
            for k in set(self.recipe.ends) & broken:
                with pytest.raises((RuntimeError, ValueError)):
                    self.nodes[k].backwardPropagation()
        self.waiting = []

    @precondition(is_idle)
    @rule(data=st.data())
    def detach(self, data):
        k = data.draw(st.integers(0, len(self.nodes) - 1))
        node = self.nodes[k]
        if node.forward:
            with pytest.raises(RuntimeError, match="only a node without consumers"):
                node.detach()
        else:
            node.detach()
            self.forget({k})

    @precondition(lambda self: len(self.nodes) > 5)
    @rule(data=st.data())
    def cut(self, data):
        k = data.draw(st.integers(0, len(self.nodes) - 1))
        gone = self.connected(k)
        nodes = [self.nodes[n] for n in gone]
        nodes[0].cut()
        for node in nodes:
            assert (node.forward, node.backward, node.b_count, node.f_count) == ([], [], 0, 0)
        waiting = [self.nodes[n] for n in self.waiting if n not in gone]
        self.forget(gone)
        self.waiting = [n for n, node in enumerate(self.nodes) if node in waiting]

    # At any time

    @invariant()
    def neighbours_stand_as_they_were_attached(self):
        consumers = [[] for _ in self.nodes]
        for node, step in zip(self.nodes, self.recipe.steps, strict=True):
            assert node.backward == [self.nodes[k] for k in step.inputs]
            for k in step.inputs:
                consumers[k].append(node)
        assert [node.forward for node in self.nodes] == consumers

    @invariant()
    def counters_are_zero_between_passes(self):
        for node in self.nodes:
            assert node.f_count == 0
            assert node.b_count <= (0 if self.is_idle() else max(len(node.backward) - 1, 0))


GraphMachine.TestCase.settings = settings(
    max_examples=settings.default.max_examples // 2, stateful_step_count=30
)
