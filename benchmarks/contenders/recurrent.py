"""Recurrent cells: one time step after the other in a prediction, and the training of a cell that is unrolled."""

from functools import partial
from typing import Any, NamedTuple

import numpy as np

import cgraph as CG
from benchmarks.measure import one_core
from benchmarks.measure.peers import Makers
from benchmarks.measure.timing import Work

GRAPH, EAGER, SCAN, ONNX = "Graph", "PyTorch", "jax.jit, lax.scan", "onnxruntime"
RATE = 1e-3


class Cell(NamedTuple):
    """A GRU or an LSTM with one input, in float32."""

    kind: str
    units: int
    inputs: int = 1

    @property
    def gates(self) -> int:
        return 3 if self.kind == "GRU" else 4

    @property
    def states(self) -> int:
        return self.units * (self.gates - 2)

    def parameters(self) -> list[np.ndarray]:
        """Returns W_ih, W_hh, b_ih and b_hh."""
        rng, rows = np.random.default_rng(0), self.gates * self.units
        shapes = (rows, self.inputs), (rows, self.units), (rows,), (rows,)
        bound = self.units**-0.5
        return [rng.uniform(-bound, bound, shape).astype(np.float32) for shape in shapes]

    def node(self, x: CG.Node, state: CG.Node) -> Any:
        make: Any = CG.GRUCell if self.kind == "GRU" else CG.LSTMCell
        return make(x, state, *self.parameters())

    def torch_layer(self) -> Any:
        torch = one_core.torch_module()
        layer = getattr(torch.nn, self.kind)(self.inputs, self.units, batch_first=True)
        with torch.no_grad():
            for own, value in zip(layer.parameters(), self.parameters(), strict=True):
                own.copy_(torch.from_numpy(value))
        return layer

    def jax_step(self, p: Any, state: Any, x: Any) -> Any:
        """Returns the state after a time step of one sample."""
        jax = one_core.jax_module()
        sigmoid, tanh, split = jax.nn.sigmoid, jax.numpy.tanh, jax.numpy.split
        w_ih, w_hh, b_ih, b_hh = p
        h = state[: self.units]
        a, b = w_ih @ x + b_ih, w_hh @ h + b_hh
        if self.kind == "GRU":
            (ar, az, an), (br, bz, bn) = split(a, 3), split(b, 3)
            z = sigmoid(az + bz)
            return (1 - z) * tanh(an + sigmoid(ar + br) * bn) + z * h
        i, f, u, o = split(a + b, 4)
        c = sigmoid(f) * state[self.units :] + sigmoid(i) * tanh(u)
        return jax.numpy.concatenate([sigmoid(o) * tanh(c), c])


# One time step after the other: `steps` of one sequence


def predictions(cell: Cell, steps: int) -> Makers:
    makers = {GRAPH: graph_steps, EAGER: torch_steps, SCAN: jax_steps, ONNX: onnx_steps}
    return {name: partial(make, cell, steps) for name, make in makers.items()}


def sequence(cell: Cell, steps: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(steps, cell.inputs)).astype(np.float32)


def graph_steps(cell: Cell, steps: int) -> Work:
    """A call of a Graph that carries the state from each sample to the next one."""
    x, state = (CG.Leaf1(size, dtype="float32") for size in (cell.inputs, cell.states))
    node = cell.node(x, state)
    graph = CG.Graph(node, carry={state: node}, threads=1)
    feed = {x: sequence(cell, steps)}
    return Work(lambda: graph.predict(feed, node), steps)


def torch_steps(cell: Cell, steps: int) -> Work:
    torch = one_core.torch_module()
    layer, x = cell.torch_layer().eval(), torch.from_numpy(sequence(cell, steps)[None])

    def call() -> Any:
        with torch.inference_mode():
            return layer(x)[0]

    return Work(call, steps)


def jax_steps(cell: Cell, steps: int) -> Work:
    jax = one_core.jax_module()

    def both(p: Any, state: Any, x: Any) -> Any:
        after = cell.jax_step(p, state, x)
        return after, after[: cell.units]

    scan = jax.jit(lambda p, x, s: jax.lax.scan(partial(both, p), s, x)[1])
    p, x = cell.parameters(), jax.numpy.asarray(sequence(cell, steps))
    state = jax.numpy.zeros(cell.states, np.float32)
    return Work(lambda: scan(p, x, state).block_until_ready(), steps)


def onnx_steps(cell: Cell, steps: int) -> Work:
    """The operator GRU or LSTM of ONNX, whose gates have another order, on the whole sequence."""
    import onnx
    import onnxruntime

    def ordered(value: np.ndarray) -> np.ndarray:
        parts = np.split(value, cell.gates)
        order = (1, 0, 2) if cell.kind == "GRU" else (0, 3, 1, 2)
        return np.concatenate([parts[k] for k in order])

    w, r, b_ih, b_hh = map(ordered, cell.parameters())
    constants = {"W": w[None], "R": r[None], "B": np.concatenate([b_ih, b_hh])[None]}
    options = {"linear_before_reset": 1} if cell.kind == "GRU" else {}
    helper, numpy_helper = onnx.helper, onnx.numpy_helper
    float_type = onnx.TensorProto.FLOAT
    model = helper.make_model(
        helper.make_graph(
            [
                helper.make_node(
                    cell.kind, ["X", *constants], ["Y"], hidden_size=cell.units, **options
                )
            ],
            "cell",
            [helper.make_tensor_value_info("X", float_type, [steps, 1, cell.inputs])],
            [helper.make_tensor_value_info("Y", float_type, [steps, 1, 1, cell.units])],
            [numpy_helper.from_array(value, name) for name, value in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", 14)],
    )
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    model.ir_version = 8
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), settings, providers=["CPUExecutionProvider"]
    )
    feed = {"X": sequence(cell, steps)[:, None]}
    return Work(lambda: session.run(None, feed), steps)


# Training: a batch of sequences, with the mean squared error of the last state, by Adam


def trainings(cell: Cell, steps: int, batch: int) -> Makers:
    makers = {GRAPH: graph_training, EAGER: torch_training, SCAN: jax_training}
    return {name: partial(make, cell, steps, batch) for name, make in makers.items()}


def batch_of(cell: Cell, steps: int, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns inputs (batch, steps, inputs), and targets of the last state."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(batch, steps, cell.inputs)).astype(np.float32)
    return x, rng.uniform(-1, 1, (batch, cell.units)).astype(np.float32)


def graph_training(cell: Cell, steps: int, batch: int) -> Work:
    x, t = batch_of(cell, steps, batch)
    inputs = [CG.Leaf1(cell.inputs, dtype="float32") for _ in range(steps)]
    state, target = (CG.Leaf1(size, dtype="float32") for size in (cell.states, cell.units))
    first = cell.node(inputs[0], state)
    cells = [first]
    for leaf in inputs[1:]:
        cells.append(first.share(leaf, cells[-1]))
    last = cells[-1] if cell.kind == "GRU" else CG.Slice(cells[-1], 0, cell.units)
    graph, adam = CG.Graph(CG.MSE(last, target), threads=1), CG.Adam(RATE)
    feed = {leaf: np.ascontiguousarray(x[:, k]) for k, leaf in enumerate(inputs)}
    feed |= {state: np.zeros((batch, cell.states), np.float32), target: t}
    return Work(
        lambda: graph.train(feed, adam, batch=batch),
        batch,
        lambda: graph.get_vector().astype(float),
    )


def torch_training(cell: Cell, steps: int, batch: int) -> Work:
    torch = one_core.torch_module()
    layer = cell.torch_layer()
    adam = torch.optim.Adam(layer.parameters(), lr=RATE, foreach=True)
    x, t = map(torch.from_numpy, batch_of(cell, steps, batch))

    def call() -> None:
        adam.zero_grad()
        torch.nn.functional.mse_loss(layer(x)[0][:, -1], t).backward()
        adam.step()

    def result() -> np.ndarray:
        return np.concatenate([p.detach().numpy().ravel() for p in layer.parameters()])

    return Work(call, batch, result)


def jax_training(cell: Cell, steps: int, batch: int) -> Work:
    import optax

    jax = one_core.jax_module()
    x, t = batch_of(cell, steps, batch)
    optimizer = optax.adam(RATE)

    def loss(p: Any, x: Any, t: Any) -> Any:
        step = jax.vmap(partial(cell.jax_step, p))

        def both(state: Any, x: Any) -> Any:
            return step(state, x), None

        zeros = jax.numpy.zeros((batch, cell.states), np.float32)
        state, _ = jax.lax.scan(both, zeros, x.transpose(1, 0, 2))
        return ((state[:, : cell.units] - t) ** 2).mean()

    @jax.jit
    def update(p: Any, s: Any, x: Any, t: Any) -> Any:
        changes, s = optimizer.update(jax.grad(loss)(p, x, t), s)
        return optax.apply_updates(p, changes), s

    p = [jax.numpy.asarray(each) for each in cell.parameters()]
    kept = [p, optimizer.init(p)]

    def call() -> None:
        kept[:] = update(*kept, x, t)
        kept[0][0].block_until_ready()

    return Work(call, batch, lambda: np.concatenate([np.asarray(each).ravel() for each in kept[0]]))
