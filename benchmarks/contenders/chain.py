"""A chain of 1,000 tiny nodes, forward and backward: the cost of a node beside its arithmetic."""

import numpy as np

import cgraph as CG
from benchmarks.measure import one_core
from benchmarks.measure.timing import Work

LINKS = 333
NODES = 3 * LINKS + 1
VALUES = np.array([0.1, 0.2, 0.3, 0.4], np.float32)


def chain_nodes() -> tuple[list[CG.Node], CG.Node]:
    """Builds the chain: its three leaves and the last node."""
    leaves: list[CG.Node] = [CG.Leaf1(4, dtype=np.float32) for _ in range(3)]
    for leaf in leaves:
        leaf.getInput(VALUES)
    h, c1, c2 = leaves
    for _ in range(LINKS):
        h = CG.ReLU(CG.Sub(CG.Add(h, c1), c2))
    return leaves, CG.Norm2(h)


def node_path() -> Work:
    """The chain is built anew for each pass."""

    def passes() -> None:
        leaves, loss = chain_nodes()
        for leaf in leaves:
            leaf.forwardPropagation()
        loss.backwardPropagation()

    return Work(passes, NODES)


def torch_eager() -> Work:
    """The chain is built anew for each pass, as PyTorch does."""
    torch = one_core.torch_module()

    def passes() -> None:
        h, c1, c2 = (torch.from_numpy(VALUES).requires_grad_() for _ in range(3))
        for _ in range(LINKS):
            h = torch.relu(torch.sub(torch.add(h, c1), c2))
        torch.linalg.vector_norm(h).backward()

    return Work(passes, NODES)


def graph_passes() -> Work:
    """A fixed Graph of the chain; without leaf gradients, there would be no backward pass."""
    graph = CG.Graph(chain_nodes()[1], leaf_grads=True)

    def passes() -> None:
        graph.forward()
        graph.backward()

    return Work(passes, NODES)


def jax_jit() -> Work:
    """A fixed, compiled graph of the chain."""
    jax = one_core.jax_module()

    def loss(h, c1, c2):
        for _ in range(LINKS):
            h = jax.nn.relu(h + c1 - c2)
        return jax.numpy.linalg.norm(h)

    values = [jax.numpy.asarray(VALUES)] * 3
    compiled = jax.jit(jax.value_and_grad(loss, (0, 1, 2)))
    return Work(lambda: jax.block_until_ready(compiled(*values)), NODES)
