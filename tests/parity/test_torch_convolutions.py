"""Convolutions of all sizes give what PyTorch gives, which leaves unread what no window reaches."""

import itertools

import numpy as np
import pytest

import cgraph as CG

torch = pytest.importorskip("torch", reason="compares with PyTorch")
pytestmark = pytest.mark.thread_unsafe(reason="PyTorch has threads of its own")
SAMPLES = 5


def by_pytorch(x, kernels, biases, slopes, s, p):
    """Returns the outputs, and the gradients of images, kernels and biases for these slopes of the outputs."""
    tensors = [torch.tensor(array, requires_grad=True) for array in (x, kernels, biases)]
    result = torch.nn.functional.conv2d(*tensors, s, p)
    (result * torch.tensor(slopes)).sum().backward()
    return [result.detach().numpy(), *(tensor.grad.numpy() for tensor in tensors)]


def size(m, k, s, p):
    return (m + 2 * p - k) // s + 1


def close(actual, wanted):
    np.testing.assert_allclose(actual, np.asarray(wanted).reshape(np.shape(actual)), 1e-10, 1e-10)


class Layer:
    """Sibling convolutions of two images, times slopes that are fed."""

    def __init__(self, m, n, kernels, biases, args):
        self.images = [CG.Leaf2(*m) for _ in range(2)]
        self.maps = [
            CG.Convolution2d(self.images, kernel, bias, *args, crop=True)
            for kernel, bias in zip(kernels, biases, strict=True)
        ]
        assert {(node.height, node.width) for node in self.maps} == {n}
        self.data = CG.Concatenation(self.maps)
        self.slopes = CG.Leaf1(self.data.size)
        self.loss = CG.Dots(self.data, self.slopes)

    def feed(self, x, slopes):
        leaves = [*self.images, self.slopes]
        rows = [*x.swapaxes(0, 1), slopes]
        return {leaf: row.reshape(len(row), -1) for leaf, row in zip(leaves, rows, strict=True)}

    def check_sums(self, kernels, biases):
        close([node.gradKernel for node in self.maps], kernels)
        close([node.gradBias for node in self.maps], biases)
        for node in self.maps:
            node.zero_grad()

    def check_nodes(self, x, wanted, slopes):
        """Compares a pass over the nodes, of one sample."""
        for leaf, row in self.feed(x, slopes).items():
            leaf.data[...] = row[0]
            leaf.forwardPropagation()
        close(self.data.data, wanted[0])
        self.loss.backwardPropagation()
        close([image.grad for image in self.images], wanted[1])
        self.check_sums(*wanted[2:])

    def check_graph(self, layout, x, wanted, slopes):
        graph = CG.Graph(self.loss, layout=layout, threads=1)
        close(graph.predict(self.feed(x, slopes), self.data), wanted[0])
        graph.accumulate(self.feed(x, slopes))
        self.check_sums(*wanted[2:])


@pytest.mark.parametrize("p", [0, 1])
@pytest.mark.parametrize("s", [1, 2, 3])
@pytest.mark.parametrize("k", [1, 2, 3])
def test_convolutions_with_crop_are_those_of_pytorch(k, s, p):
    for m in itertools.product(range(3, 9), (4, 7, 9)):
        rng = np.random.default_rng(m)
        n = size(m[0], k, s, p), size(m[1], k, s, p)
        x, kernels = rng.normal(size=(SAMPLES, 2, *m)), rng.normal(size=(3, 2, k, k))
        biases, slopes = rng.normal(size=3), rng.normal(size=(SAMPLES, 3, *n))
        layer = Layer(m, n, kernels, biases, (s, p, p, *n) if p else (s,))
        first = by_pytorch(x[:1], kernels, biases, slopes[:1], s, p)
        layer.check_nodes(x[:1], first, slopes[:1])
        wanted = by_pytorch(x, kernels, biases, slopes, s, p)
        for layout in ("samples", "lanes"):
            layer.check_graph(layout, x, wanted, slopes)
