"""User-defined nodes for tests, which record, fail, or have parameters."""

import numpy as np

import cgraph as CG


class Recorder(CG.Node):
    """The identity (or the sum of the inputs), which notes every call of a method in `log`."""

    def __init__(self, inputs, log, name=""):
        first = inputs[0]
        super().__init__(first.size, first.height, first.width, inputs)
        self.log, self.name = log, name

    def calcData(self):
        self.log.append(("calcData", self.name))
        self.data[...] = sum(node.data for node in self.backward)

    def calcPartialDerivative(self):
        self.log.append(("calcPartialDerivative", self.name))
        for node in self.backward:
            node.grad[...] += self.grad

    def updateParameters(self, eta):
        self.log.append(("updateParameters", self.name, eta))


class Failing(CG.Node):
    """The identity, which raises in the method that `fails_in` names."""

    def __init__(self, node, fails_in=None):
        super().__init__(node.size, node.height, node.width, [node])
        self.fails_in = fails_in

    def check(self, method):
        if self.fails_in == method:
            raise ZeroDivisionError(method)

    def calcData(self):
        self.check("calcData")
        self.data[...] = self.backward[0].data

    def calcPartialDerivative(self):
        self.check("calcPartialDerivative")
        self.backward[0].grad[...] += self.grad

    def updateParameters(self, eta):
        self.check("updateParameters")


class Scale(CG.Node):
    """d_i = w_i x_i with parameters w, which are supported everywhere by their declaration alone."""

    _parameters = (("weight", "gradWeight"),)

    def __init__(self, node, weight):
        super().__init__(node.size, node.height, node.width, [node])
        self.weight = np.array(weight, dtype=self.dtype)
        self.gradWeight = np.zeros_like(self.weight)

    def calcData(self):
        self.data[...] = self.weight * self.backward[0].data

    def calcPartialDerivative(self):
        self.backward[0].grad[...] += self.weight * self.grad
        self.gradWeight += self.backward[0].data * self.grad


class Square(CG.Node):
    """d_i = x_i**2, attached by hand instead of through the constructor's `inputs`."""

    def __init__(self, node):
        super().__init__(node.size, node.height, node.width, dtype=node.dtype)
        self.backward.append(node)
        self.pushThis(node)

    def calcData(self):
        self.data[...] = self.backward[0].data ** 2

    def calcPartialDerivative(self):
        node = self.backward[0]
        node.grad[...] += 2 * node.data * self.grad


def group(dtype="float64"):
    """Returns a leaf and three sibling convolutions, the inputs of an own node."""
    rng = np.random.default_rng(0)
    x = CG.Leaf2(4, 5, dtype=dtype)
    return x, [CG.Convolution2d([x], rng.uniform(-1, 1, (1, 2, 2)), 0.1) for _ in range(3)]


def mixed(dtype):
    """Builds own nodes between compiled ones: on one channel of a group, on all channels, and on one node twice."""
    x, (a, b, c) = group(dtype)
    square, scale = Square(a), Scale(b, np.linspace(0.5, 1, 12))
    both = Recorder([c, square, c], [])
    joined = CG.Concatenation([CG.Tanh(a), CG.Tanh(b), CG.Tanh(c), square, scale, both])
    scores = CG.Affine(joined, np.linspace(-0.1, 0.1, 73 * 3).reshape(73, 3))
    scaled = Scale(scores, [1, 2, 3])
    return [x, a, b, c, square, scale, both, joined, scores, scaled, CG.Norm2(scaled)]
