"""Small networks for streams, each with a twin that is stepped by calls of its Graph."""

import numpy as np
from own_nodes import Scale

import cgraph as CG

RULES = {
    "descent": lambda: 0.05,
    "adam": lambda: CG.Adam(1e-2),
    "clipped": lambda: CG.SGD(0.1, momentum=0.9, max_grad_norm=0.5, nonfinite="skip"),
    "schedule": lambda: CG.RMSprop(CG.schedules.cosine(1e-2, 10)),
}
KINDS = ("plain", "dropout", "own", "shared", "frozen")


class Net:
    """A network of one of the KINDS, from a leaf of 3 elements to 2 of them, with its Graph."""

    def __init__(self, kind="plain", dtype="float64", **options):
        self.x, self.t = CG.Leaf1(3, dtype=dtype), CG.Leaf1(2, dtype=dtype)
        first = CG.Affine(self.x, np.linspace(-1, 1, 16).reshape(4, 4))
        h = CG.Tanh(first)
        if kind == "dropout":
            h = CG.Dropout(h, 0.5, 1)
        elif kind == "own":
            h = Scale(h, np.linspace(0.5, 2, 4))
        elif kind == "shared":
            middle = CG.Affine(h, np.linspace(-1, 0.9, 20).reshape(5, 4))
            h = middle.share(middle)
        self.y = CG.Affine(h, np.linspace(-1, 1, 10).reshape(5, 2))
        self.loss = CG.MSE(self.y, self.t)
        if kind == "frozen":
            CG.parameters(first)[0].trainable = False
        self.graph = CG.Graph(self.loss, **options)

    def learner(self, rule, **options):
        return CG.Learner(self.graph, self.x, self.t, self.y, rule, **options)

    def feed(self, x, y):
        return {self.x: [x], self.t: [y]}

    def state(self):
        return [a.tolist() for p in CG.parameters(self.loss) for a in (p.value, p.grad)]


def samples(count, seed=0, dtype="float64"):
    """Yields inputs and targets."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        yield rng.uniform(-1, 1, 3).astype(dtype), rng.uniform(-1, 1, 2).astype(dtype)


def state_of(rule):
    """Returns the state of an optimiser; a learning rate has none."""
    if isinstance(rule, float):
        return {}
    return {name: array.tolist() for name, array in rule.state_dict().items()}
