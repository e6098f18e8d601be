"""A stream of samples that are learnt one by one: by a Learner, by calls of a Graph, in PyTorch and in scikit-learn."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import cycle
from typing import Any, NamedTuple

import numpy as np

import cgraph as CG
from benchmarks.measure import one_core
from benchmarks.networks.functions import TANH
from benchmarks.networks.lenet import LENET
from benchmarks.networks.losses import SQUARED_ERROR
from benchmarks.networks.mlp import Layers
from benchmarks.networks.network import ETA, Network

SAMPLES = 1000  # different ones, which come again and again
LEARNER = "Learner.learn_one"
NO_GC, CPU_TIME = "without gc", "CPU time"  # how calls are timed
# A call that learns a sample, and an endless iterator of its arguments.
Stream = tuple[Callable[..., object], Any]


class Case(NamedTuple):
    """A network, a rule and a dtype."""

    name: str
    network: Network
    layers: Layers | None  # of a network of layers alone
    adam: bool
    dtype: str

    @property
    def title(self) -> str:
        return f"{self.name}, {'Adam' if self.adam else 'plain descent'}, {self.dtype}"

    @property
    def makers(self) -> dict[str, Callable[[], Stream]]:
        makers = {
            LEARNER: partial(learner, self),
            f"{LEARNER}, {NO_GC}": partial(learner, self),
            f"{LEARNER}, {CPU_TIME}": partial(learner, self),
            "Graph.step": partial(graph, self),
        }
        if self.dtype == "float32":
            makers["PyTorch eager"] = partial(torch_steps, self)
            if self.layers:
                makers["scikit-learn"] = partial(sklearn, self)
        return makers

    def rows(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns the inputs, and the targets as cgraph takes them."""
        inputs, targets = self.network.samples(SAMPLES, self.dtype)
        return inputs, self.network.rows(targets, self.dtype)

    def rule(self) -> CG.Optimizer | float:
        return CG.Adam() if self.adam else ETA


MLP_LAYERS = Layers((20, 64, 2), TANH, SQUARED_ERROR)
CASES = [
    *(
        Case("MLP 20-64-2, Tanh", MLP_LAYERS.network, MLP_LAYERS, adam, dtype)
        for dtype in ("float32", "float64")
        for adam in (False, True)
    ),
    *(Case("LeNet-5", LENET, None, adam, "float32") for adam in (False, True)),
]


def learner(case: Case) -> Stream:
    nodes = case.network.nodes(case.dtype)
    (x,) = nodes.x
    learns = CG.Learner(CG.Graph(nodes.loss, threads=1), x, nodes.t, nodes.y, case.rule())
    inputs, targets = case.rows()
    return learns.learn_one, cycle(list(zip(inputs[:, 0], targets, strict=True)))


def graph(case: Case) -> Stream:
    nodes = case.network.nodes(case.dtype)
    (x,) = nodes.x
    compiled = CG.Graph(nodes.loss, threads=1)
    rule = case.rule()
    inputs, targets = case.rows()
    rows = zip(inputs, targets[:, None], strict=True)
    return partial(step, compiled, rule), cycle([({x: a, nodes.t: t},) for a, t in rows])


def step(compiled: CG.Graph, rule: CG.Optimizer | float, feed: Any) -> None:
    compiled.step(feed, rule)


def torch_steps(case: Case) -> Stream:
    """Samples are tensors of one row, made before."""
    torch = one_core.torch_module()
    model = case.network.torch_model().to(getattr(torch, case.dtype))
    loss, parameters = case.network.loss.torch_loss(), model.parameters()
    adam = case.adam
    optimiser = torch.optim.Adam(parameters) if adam else torch.optim.SGD(parameters, lr=ETA)

    def learn(x: Any, t: Any) -> None:
        optimiser.zero_grad()
        loss(model(x), t).backward()
        optimiser.step()

    inputs, targets = case.network.samples(SAMPLES, case.dtype)
    return learn, cycle(tensors(torch, case.network.torch_inputs(inputs), targets))


def tensors(torch: Any, *arrays: np.ndarray) -> Sequence[tuple[Any, ...]]:
    """Returns for each sample its rows as tensors."""
    rows = [[torch.from_numpy(array[i : i + 1]) for i in range(len(array))] for array in arrays]
    return list(zip(*rows, strict=True))


def sklearn(case: Case) -> Stream:
    """`partial_fit` of an MLPRegressor, without momentum and penalty."""
    from sklearn.neural_network import MLPRegressor

    layers = case.layers
    assert layers is not None
    model = MLPRegressor(
        hidden_layer_sizes=layers.sizes[1:-1],
        activation="tanh",
        solver="adam" if case.adam else "sgd",
        alpha=0.0,
        batch_size=1,
        learning_rate_init=1e-3 if case.adam else ETA,
        momentum=0.0,
        nesterovs_momentum=False,
        shuffle=False,
    )
    inputs, targets = case.rows()
    rows = [(inputs[i], targets[i : i + 1]) for i in range(SAMPLES)]
    return model.partial_fit, cycle(rows)
