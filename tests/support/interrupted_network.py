"""The network whose calls are interrupted, and comparisons of what its arrays hold."""

import numpy as np

import cgraph as CG

ROWS = np.random.default_rng(0).uniform(-1, 1, (24, 6, 6))
TARGETS = np.random.default_rng(1).uniform(-1, 1, (24, 3))


class Scaled(CG.Node):
    """An own node, whose methods are Python, and which puts another array in the place of its gradient sum."""

    _parameters = (("w", "dw"),)

    def __init__(self, x):
        super().__init__(x.size, x.height, x.width, [x])
        self.w, self.dw = np.full(1, 2.0), np.zeros(1)

    def calcData(self):
        self.data = self.w * self.backward[0].data

    def calcPartialDerivative(self):
        x = self.backward[0]
        x.grad += self.w * self.grad
        self.dw = self.dw + x.data @ self.grad

    def updateParameters(self, eta):
        """Does nothing, since an update that an own node's method interrupts cannot be undone."""


class Network:
    """A convolutional network with everything that has parameters; what its arrays hold can be compared."""

    def __init__(self, own=False, **compiled):
        rng = np.random.default_rng(2)
        self.image, self.target = CG.Leaf2(6, 6), CG.Leaf1(3)
        maps = [
            CG.Convolution2d([self.image], rng.uniform(-1, 1, (1, 3, 3)), 0.5) for _ in range(3)
        ]
        self.deep = CG.Convolution2d(maps, rng.uniform(-1, 1, (3, 2, 2)), 0.25)
        joined = CG.Concatenation([*maps, Scaled(self.deep) if own else self.deep])
        self.y = CG.Affine(joined, rng.uniform(-1, 1, (joined.size + 1, 3)))
        self.loss = CG.MSE(self.y, self.target)
        self.nodes = CG.ancestors(self.loss)
        self.feed = {self.image: ROWS, self.target: TARGETS}
        self.few = {self.image: ROWS[:3], self.target: TARGETS[:3]}
        self.graph = CG.Graph(self.loss, **compiled) if compiled else None

    def filled(self):
        """Fills the gradient sums with numbers that are not 0."""
        self.graph.accumulate(self.few)
        return self

    def looked_at(self):
        """Reads all arrays, so that they are exposed."""
        self.handed_out = CG.parameters(self.loss)
        return self

    def parameters(self):
        return [p.value.copy() for p in CG.parameters(self.loss)]

    def sums(self):
        return [p.grad.copy() for p in CG.parameters(self.loss)]

    def state(self):
        """Returns copies of all arrays of the nodes."""
        return [
            *self.parameters(),
            *self.sums(),
            *(node._data.copy() for node in self.nodes),
            *([node.f_count] for node in self.nodes),
            *([node.b_count] for node in self.nodes),
            *([len(node.forward)] for node in self.nodes),
        ]

    def pass_of_nodes(self):
        for leaf, rows in self.few.items():
            leaf.getInput(rows[0])
        for leaf in self.few:
            leaf.forwardPropagation()
        self.loss.backwardPropagation()


def same(found, expected):
    return all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


def close(found, expected):
    return all(np.allclose(a, b, 1e-12, 1e-12) for a, b in zip(found, expected, strict=True))
