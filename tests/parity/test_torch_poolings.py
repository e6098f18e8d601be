"""Poolings of all sizes give what PyTorch gives, which leaves unread what no window reaches."""

import itertools
import math

import numpy as np
import pytest

import cgraph as CG

torch = pytest.importorskip("torch", reason="compares with PyTorch")
F = torch.nn.functional
pytestmark = pytest.mark.thread_unsafe(reason="PyTorch has threads of its own")


def padded(m, k, s, p):
    """Returns the size of an output with padding p on both sides."""
    return (m + 2 * p - k) // s + 1


def compare(node, x, result, tensor):
    """Compares data and gradient with the result of a tensor, for a slope of 1, 2, … of the elements."""
    slopes = np.arange(1.0, node.size + 1)
    node.calcData()
    node.grad[...] = slopes
    node.calcPartialDerivative()
    (result.reshape(-1) * torch.tensor(slopes)).sum().backward()
    np.testing.assert_allclose(node.data, result.detach().numpy().ravel(), rtol=1e-10)
    np.testing.assert_allclose(x.grad, tensor.grad.numpy().ravel(), rtol=1e-10)


@pytest.mark.parametrize("p", [0, 1])
@pytest.mark.parametrize("s", [1, 2, 3])
@pytest.mark.parametrize("k", [2, 3])
def test_poolings_with_crop_are_those_of_pytorch(k, s, p):
    for m in itertools.product(range(3, 10), repeat=2):
        values = np.random.default_rng(m).permutation(m[0] * m[1]).astype(float).reshape(1, *m)
        n = [padded(size, k, s, p) for size in m]
        args = (k, k, s, p, p, *n) if p else (k, k, s)
        for counts in (True, False, None):
            x, tensor = CG.Leaf2(*m), torch.tensor(values, requires_grad=True)
            x.getInput(values[0])
            if counts is None:
                node = CG.MaxPooling2d(x, *args, crop=True, pad_value=-math.inf)
                result = F.max_pool2d(tensor, k, s, p)
            else:
                node = CG.AveragePooling2d(x, *args, crop=True, count_padding=counts)
                result = F.avg_pool2d(tensor, k, s, p, count_include_pad=counts)
            assert [node.height, node.width] == n
            compare(node, x, result, tensor)
