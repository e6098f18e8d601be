"""The rules of optimisers in NumPy, in the words of torch.optim's pages, for one array with state of its own."""

import numpy as np


class Reference:
    """A rule for arrays; each call is one update of one array, by its key, with the mean gradient."""

    def __init__(self, name, **options):
        self.rule = getattr(self, name.lower())
        self.options = options
        self.state = {}

    def __call__(self, key, value, gradient, **changes):
        state = self.state.setdefault(key, {"k": 0})
        state["k"] += 1
        return self.rule(value, gradient, state, **(self.options | changes))

    def sgd(self, w, g, state, lr, momentum=0, nesterov=False, weight_decay=0):
        g = g + weight_decay * w
        b = state["b"] = momentum * state.get("b", 0) + g
        return w - lr * (g + momentum * b if nesterov else b)

    def adam(self, w, g, state, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0):
        g = g + weight_decay * w
        m = state["m"] = betas[0] * state.get("m", 0) + (1 - betas[0]) * g
        v = state["v"] = betas[1] * state.get("v", 0) + (1 - betas[1]) * g**2
        mean, square = m / (1 - betas[0] ** state["k"]), v / (1 - betas[1] ** state["k"])
        return w - lr * mean / (np.sqrt(square) + eps)

    def adamw(self, w, g, state, lr=1e-3, weight_decay=1e-2, **options):
        return self.adam(w, g, state, lr, **options) - lr * weight_decay * w

    def rmsprop(
        self,
        w,
        g,
        state,
        lr=1e-2,
        alpha=0.99,
        eps=1e-8,
        weight_decay=0,
        momentum=0,
        centered=False,
    ):
        g = g + weight_decay * w
        v = state["v"] = alpha * state.get("v", 0) + (1 - alpha) * g**2
        if centered:
            a = state["a"] = alpha * state.get("a", 0) + (1 - alpha) * g
            v = v - a**2
        b = state["b"] = momentum * state.get("b", 0) + g / (np.sqrt(v) + eps)
        return w - lr * b


RULES = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.05, "momentum": 0.9}),
    ("SGD", {"lr": 0.05, "momentum": 0.8, "nesterov": True, "weight_decay": 0.02}),
    ("Adam", {"lr": 0.01}),
    ("Adam", {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-5, "weight_decay": 0.1}),
    ("AdamW", {"lr": 0.03, "betas": (0.7, 0.9), "weight_decay": 0.3}),
    ("RMSprop", {"lr": 0.01}),
    ("RMSprop", {"lr": 0.003, "alpha": 0.9, "momentum": 0.5, "centered": True, "eps": 1e-4}),
    ("RMSprop", {"lr": 0.003, "weight_decay": 0.05, "momentum": 0.3}),
]
NAMES = [f"{name}-{number}" for number, (name, _) in enumerate(RULES)]
