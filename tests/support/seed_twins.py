"""Graphs with several outputs, and the Node path's reference for learning from given gradients of these."""

from functools import reduce

import numpy as np
from own_nodes import Scale, mixed
from random_graphs import Recipe

import cgraph as CG


def recipe(seed):
    """Returns a maker of a random graph, which gives its nodes and the numbers of outputs, some with consumers."""
    drawn = Recipe(seed)
    inner = [k for k, step in enumerate(drawn.steps) if step.make and k not in drawn.ends]
    outputs = [*drawn.ends, *inner[:: max(len(inner) // 4, 1)]]
    return lambda dtype: (drawn.nodes(dtype), outputs)


def of_own_nodes(dtype):
    """Outputs among own nodes: a channel of a group, the own nodes themselves, and what lies behind them."""
    return mixed(dtype), [10, 1, 5, 7, 8]


def of_repeatable_nodes(dtype):
    """An own node whose calcData may run twice, as an output with a consumer over lanes."""

    class Repeatable(Scale):
        _repeatable = True

    x = CG.Leaf1(4, dtype=dtype)
    a = CG.Tanh(CG.Affine(x, np.linspace(-1, 1, 20).reshape(5, 4)))
    b = Repeatable(a, np.linspace(0.5, 1, 4))
    c = CG.Affine(b, np.linspace(-1, 1, 15).reshape(5, 3))
    return CG.ancestors(c), [3, 4, 2]


def of_parts(dtype):
    """Outputs that lie within others over lanes, and around them."""
    x = CG.Leaf1(6, dtype=dtype)
    y = CG.Affine(x, np.linspace(-1, 1, 35).reshape(7, 5))
    head, tail = CG.Slice(y, 0, 2), CG.Slice(y, 1, 5)
    joined = CG.Concatenation([CG.Tanh(head), tail])
    inner = CG.Slice(joined, 2, 4)
    last = CG.Norm2(CG.Affine(joined, np.linspace(-1, 1, 21).reshape(7, 3)))
    return [x, y, head, tail, joined, inner, last], [1, 2, 3, 4, 5, 6]


def of_losses(dtype):
    """An actor and a critic over one body, whose single outputs lie beside each other."""
    x = CG.Leaf1(4, dtype=dtype)
    body = CG.Tanh(CG.Affine(x, np.linspace(-1, 1, 40).reshape(5, 8)))
    actor = CG.Affine(body, np.linspace(-1, 1, 27).reshape(9, 3))
    critic = CG.Affine(body, np.linspace(-1, 1, 9).reshape(9, 1))
    return [x, body, actor, critic], [2, 3]


MAKERS = {
    "own nodes": of_own_nodes,
    "repeatable": of_repeatable_nodes,
    "parts": of_parts,
    "actor and critic": of_losses,
    **{f"random {seed}": recipe(seed) for seed in (1, 2, 3, 5, 8, 13)},
}


def values_of(nodes):
    """Returns copies of the parameters of these nodes, and of their gradient sums."""
    found = [p for node in nodes for p in CG.parameters(node)]
    found = list(dict.fromkeys(found))
    return [p.value.copy() for p in found], [p.grad.copy() for p in found]


class Seeded:
    """A graph on the Node path, whose objective is the sum of the products of its outputs and given gradients."""

    def __init__(self, make, dtype):
        self.nodes, self.outputs = make(dtype)
        self.leaves = [k for k, node in enumerate(self.nodes) if not node.backward]
        self.given = {}
        products = []
        for k in self.outputs:
            node = self.nodes[k]
            self.given[k] = CG.Leaf2(node.height, node.width, dtype=dtype)
            products.append(CG.Sum(CG.Mul(node, self.given[k])))
        self.objective = reduce(CG.Add, products)

    def run(self, samples, gradients, batch=0, eta=0.0):
        """Returns the data of all nodes for all samples, after updates by `eta` where there is a batch."""
        count = len(next(iter(samples.values())))
        rows = {k: [] for k in range(len(self.nodes))}
        for i in range(count):
            for k, values in samples.items():
                self.nodes[k].data = values[i]
            for k, leaf in self.given.items():
                leaf.data = gradients[k][i] if k in gradients else np.zeros(leaf.size)
            for leaf in [*(self.nodes[k] for k in self.leaves), *self.given.values()]:
                leaf.forwardPropagation()
            for k, node in enumerate(self.nodes):
                rows[k].append(node.data.copy())
            self.objective.backwardPropagation()
            if batch and ((i + 1) % batch == 0 or i + 1 == count):
                self.objective.update(eta)
        return {k: np.array(values) for k, values in rows.items()}
