"""Small recurrent networks on both paths: over nodes, where the test carries by hand, and as a Graph with carry."""

import numpy as np
from own_nodes import Scale

import cgraph as CG

INPUTS, UNITS = 2, 3
TOLERANCE = {"float32": 2e-4, "float64": 1e-10}


class Elman:
    """h ← tanh(W (x; h; 1)), a delay of x that nothing else reads, and a loss on a readout."""

    def __init__(self, dtype="float64", own=False, dropout=False):
        rng = np.random.default_rng(3)
        leaves = [CG.Leaf1(n, dtype=dtype) for n in (INPUTS, UNITS, INPUTS, 1)]
        self.x, self.h, self.late, self.t = leaves
        self.h.getInput(rng.uniform(-1, 1, UNITS))
        self.late.getInput(rng.uniform(-1, 1, INPUTS))
        joined = CG.Concatenation([self.x, self.h, self.late])
        weight = rng.uniform(-0.7, 0.7, (2 * INPUTS + UNITS + 1, UNITS))
        self.recurrent = CG.Affine(joined, weight)
        self.new = CG.Tanh(self.recurrent)
        self.scale = Scale(self.new, rng.uniform(0.5, 1, UNITS)) if own else self.new
        thinned = CG.Dropout(self.scale, 0.5, 7) if dropout else self.scale
        self.y = CG.Affine(thinned, rng.uniform(-1, 1, (UNITS + 1, 1)))
        self.loss = CG.MSE(self.y, self.t)
        self.carry = {self.h: self.new, self.late: self.x}

    def graph(self, **options):
        return CG.Graph(self.loss, carry=self.carry, **options)

    def series(self, steps, streams=None, seed=0):
        """Returns a feed of x and t."""
        rng = np.random.default_rng(seed)
        shape = (steps,) if streams is None else (steps, streams)
        return {
            leaf: rng.uniform(-1, 1, (*shape, leaf.size)).astype(leaf.dtype)
            for leaf in (self.x, self.t)
        }


class ByHand:
    """A network over nodes, of which one stream after the other takes its next time step."""

    def __init__(self, net, streams=1):
        self.net = net
        self.states = [[leaf.data.copy() for leaf in net.carry] for _ in range(streams)]

    def step(self, xs, ts, learn):
        """One time step of all streams, forward and, if asked for, backward; returns losses and outputs."""
        found = []
        for state, x, t in zip(self.states, xs, ts, strict=True):
            for leaf, value in zip(self.net.carry, state, strict=True):
                leaf.getInput(value)
            self.net.x.getInput(x)
            self.net.t.getInput(t)
            for leaf in (self.net.x, self.net.h, self.net.late, self.net.t):
                leaf.forwardPropagation()
            found.append((self.net.loss.data[0], self.net.y.data[0]))
            if learn:
                self.net.loss.backwardPropagation()
            state[:] = [node.data.copy() for node in self.net.carry.values()]
        return found

    def run(self, feed, batch=0, rule=None, learn=True):
        """Runs a series, with an update after each `batch` time steps; returns losses and outputs, shape (T, S)."""
        xs, ts = (feed[leaf].reshape(-1, len(self.states), leaf.size) for leaf in feed)
        found = []
        for k, (x, t) in enumerate(zip(xs, ts, strict=True), 1):
            found.append(self.step(x, t, learn))
            if batch and (k % batch == 0 or k == len(xs)):
                if isinstance(rule, float):
                    self.net.loss.update(rule)
                else:
                    rule.update(self.net.loss)
        return np.moveaxis(np.array(found), -1, 0)
