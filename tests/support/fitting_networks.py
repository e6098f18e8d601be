"""Small networks and runs of `fit` for its tests."""

import numpy as np

import cgraph as CG


class Network:
    """x → Affine → Tanh (→ Dropout) → Affine → MSE, with the same parameters each time."""

    def __init__(self, dtype="float64", dropout=False, **settings):
        rng = np.random.default_rng(1)
        self.x, self.t = CG.Leaf1(3, dtype=dtype), CG.Leaf1(2, dtype=dtype)
        hidden = CG.Tanh(CG.Affine(self.x, rng.normal(size=(4, 8))))
        if dropout:
            hidden = CG.Dropout(hidden, 0.25, seed=7)
        self.y = CG.Affine(hidden, 0.3 * rng.normal(size=(9, 2)))
        self.loss = CG.MSE(self.y, self.t)
        self.graph = CG.Graph(self.loss, **settings)

    def feed(self, count=50, seed=0):
        inputs = np.random.default_rng(seed).uniform(-1, 1, (count, 3))
        return {self.x: inputs, self.t: np.sin(inputs @ [[1, 2], [3, -1], [0.5, 1]])}

    def bits(self):
        """Returns all parameters and counts, to be compared to the bit."""
        return {name: array.tobytes() for name, array in self.graph.state_dict().items()}


def bits(history):
    """Returns what a History holds, to be compared to the bit, without times."""
    return {name: array.tobytes() for name, array in history.items() if name != "seconds"}


class Average(CG.Callback):
    """A callback with a state: a running average of losses, by which it sets the learning rate."""

    def __init__(self):
        self.average = np.ones(1)

    def on_epoch_end(self, run):
        self.average = 0.9 * self.average + 0.1 * run.logs["loss"]

    def state_dict(self):
        return {"average": self.average}

    def load_state_dict(self, state):
        self.average = state["average"]


class RateByLoss(Average):
    def on_epoch_end(self, run):
        super().on_epoch_end(run)
        run.optimizer.lr = float(0.02 * self.average[0])


def whole_run(checkpoint=None, epochs=7, **settings):
    """Trains with all that has a state; returns everything that a checkpoint has to keep, to be compared to the bit."""
    network = Network("float32", dropout=True, threads=2)
    adam = CG.AdamW(lr=CG.schedules.cosine(0.02, 35), weight_decay=0.01, max_grad_norm=1.0)
    rng, callback = np.random.default_rng(3), Average()
    history = CG.fit(
        *(network.graph, network.feed(), adam),
        epochs=epochs,
        batch=8,
        validation=0.2,
        metrics=["r2", "mae"],
        callbacks=[callback],
        patience=5,
        rng=rng,
        progress=False,
        checkpoint=checkpoint,
        **settings,
    )
    state = {name: array.tobytes() for name, array in adam.state_dict().items()}
    last = rng.bit_generator.state, callback.average.tobytes(), history.best_epoch
    return network.bits(), state, bits(history), last
