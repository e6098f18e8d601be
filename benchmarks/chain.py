"""A chain of 1,000 tiny nodes, built anew, then forward and backward: what a node costs beside its arithmetic."""

import numpy as np
import torch

import cgraph as CG

LINKS = 333
NODES = 3 * LINKS + 1
VALUES = np.array([0.1, 0.2, 0.3, 0.4], np.float32)


def cgraph_chain() -> None:
    leaves = [CG.Leaf1(4, dtype=np.float32) for _ in range(3)]
    for leaf in leaves:
        leaf.getInput(VALUES)
    h, c1, c2 = leaves
    for _ in range(LINKS):
        h = CG.ReLU(CG.Sub(CG.Add(h, c1), c2))
    loss = CG.Norm2(h)
    for leaf in leaves:
        leaf.forwardPropagation()
    loss.backwardPropagation()


def torch_chain() -> None:
    h, c1, c2 = (torch.from_numpy(VALUES).requires_grad_() for _ in range(3))
    for _ in range(LINKS):
        h = torch.relu(torch.sub(torch.add(h, c1), c2))
    torch.linalg.vector_norm(h).backward()
