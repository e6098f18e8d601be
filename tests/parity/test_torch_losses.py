"""Losses, sums, LogSoftmax and LayerNorm give in float64 what PyTorch gives, where it is installed."""

import numpy as np
import pytest

import cgraph as CG

torch = pytest.importorskip("torch", reason="compares with PyTorch")
F = torch.nn.functional
pytestmark = pytest.mark.thread_unsafe(reason="PyTorch has threads of its own")


def gaussian(mean, log_variance, target):
    return F.gaussian_nll_loss(mean, target, log_variance.exp(), eps=0)


def distribution(rng, m):
    weights = rng.random(m)
    return weights / weights.sum()


def normal(rng, m):
    return 3 * rng.standard_normal(m)


def label(rng, m):
    return rng.integers(0, 2, m).astype(float)


# For each operation: ours, theirs, and what draws each input.
OPERATIONS = {
    "Sum": (CG.Sum, torch.sum, [normal]),
    "Mean": (CG.Mean, torch.mean, [normal]),
    "LogSoftmax": (CG.LogSoftmax, lambda x: F.log_softmax(x, 0), [normal]),
    "LayerNorm": (CG.LayerNorm, lambda x: F.layer_norm(x, x.shape), [normal]),
    "SoftmaxCEE": (CG.SoftmaxCEE, F.cross_entropy, [normal, distribution]),
    "BCE": (CG.BCE, F.binary_cross_entropy_with_logits, [normal, label]),
    "Huber": (CG.Huber, F.huber_loss, [normal, normal]),
    "Huber, delta": (
        lambda x, y: CG.Huber(x, y, 2.5),
        lambda x, y: F.huber_loss(x, y, delta=2.5),
        [normal, normal],
    ),
    "GaussianNLL": (CG.GaussianNLL, gaussian, [normal] * 3),
    "Slice": (lambda x: CG.Slice(x, 0, 1), lambda x: x[:1], [normal]),
    "Expand": (
        lambda x: CG.Expand(CG.Slice(x, 0, 1), 2, 3),
        lambda x: x[:1].expand(6),
        [normal],
    ),
}


@pytest.mark.parametrize("m", [1, 7, 64, 300])
@pytest.mark.parametrize("name", OPERATIONS)
def test_data_and_gradients_are_those_of_pytorch(name, m, build_name):
    ours, theirs, draws = OPERATIONS[name]
    rng = np.random.default_rng(m)
    values = [draw(rng, m) for draw in draws]
    leaves = [CG.Leaf1(m) for _ in values]
    node = ours(*leaves)
    slopes = rng.standard_normal(node.size)
    weights = CG.Leaf2(node.height, node.width)
    end = CG.Dots(node, weights)
    for leaf, value in zip((*leaves, weights), (*values, slopes), strict=True):
        leaf.getInput(value)
        leaf.forwardPropagation()
    end.backwardPropagation()
    tensors = [torch.tensor(value, requires_grad=True) for value in values]
    result = theirs(*tensors).reshape(-1)
    (result * torch.tensor(slopes)).sum().backward()
    np.testing.assert_allclose(node.data, result.detach().numpy(), rtol=1e-10, atol=1e-12)
    for leaf, tensor in zip(leaves, tensors, strict=True):
        if tensor.grad is not None:
            np.testing.assert_allclose(leaf.grad, tensor.grad.numpy(), rtol=1e-10, atol=1e-12)


def test_the_parameters_of_layer_norm_have_the_gradients_of_pytorch(build_name):
    rng = np.random.default_rng(0)
    x, gain, bias, slopes = rng.standard_normal((4, 33))
    leaf, weights = CG.Leaf1(33), CG.Leaf1(33)
    norm = CG.LayerNorm(leaf, gain, bias, 1e-3)
    end = CG.Dots(norm, weights)
    for each, value in ((leaf, x), (weights, slopes)):
        each.getInput(value)
        each.forwardPropagation()
    end.backwardPropagation()
    parameters = [torch.tensor(value, requires_grad=True) for value in (gain, bias)]
    result = F.layer_norm(torch.tensor(x), (33,), *parameters, eps=1e-3)
    (result * torch.tensor(slopes)).sum().backward()
    np.testing.assert_allclose(norm.data, result.detach().numpy(), rtol=1e-10)
    for ours, theirs in zip((norm.gradGain, norm.gradBias), parameters, strict=True):
        np.testing.assert_allclose(ours, theirs.grad.numpy(), rtol=1e-10)
