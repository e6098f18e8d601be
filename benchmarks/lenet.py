"""LeNet-5, one training step on one sample: with Node objects, and with PyTorch."""

from collections.abc import Callable

import numpy as np

import cgraph as CG

ETA = 0.01


def sample(dtype: str) -> tuple[np.ndarray, int]:
    """An image and its class."""
    return np.random.default_rng(0).normal(size=(28, 28)).astype(dtype), 3


def cgraph_step(dtype: str) -> Callable[[], object]:
    rng = np.random.default_rng(1)
    image, label = sample(dtype)
    x, t = CG.Leaf2(28, 28, dtype=dtype), CG.Leaf1(10, dtype=dtype)

    def channels(inputs: list[CG.Node], count: int, size: int) -> list[CG.Node]:
        outputs = []
        for _ in range(count):
            kernel = rng.normal(0, 0.1, (len(inputs), 5, 5))
            convolution = CG.Convolution2d(inputs, kernel, 0.0, size, size)
            outputs.append(CG.MaxPooling2d(CG.ReLU(convolution), 2, 2, 2))
        return outputs

    h = CG.Concatenation(channels(channels([x], 6, 28), 16, 10))
    for m, n in ((400, 120), (120, 84)):
        h = CG.ReLU(CG.Affine(h, rng.normal(0, m**-0.5, (m + 1, n))))
    loss = CG.CEE(CG.Softmax(CG.Affine(h, rng.normal(0, 0.1, (85, 10)))), t)
    target = np.eye(10)[label]

    def step() -> None:
        x.getInput(image)
        t.getInput(target)
        x.forwardPropagation()
        t.forwardPropagation()
        loss.backwardPropagation()
        loss.update(ETA)

    return step


def torch_step(dtype: str) -> Callable[[], object]:
    import torch
    from torch import nn

    image, label = sample(dtype)
    model = nn.Sequential(
        *(nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        *(nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)),
    ).to(getattr(torch, dtype))
    x, t = torch.from_numpy(image)[None, None], torch.tensor([label])
    optimiser = torch.optim.SGD(model.parameters(), lr=ETA)
    criterion = nn.CrossEntropyLoss()

    def step() -> None:
        optimiser.zero_grad()
        criterion(model(x), t).backward()
        optimiser.step()

    return step
