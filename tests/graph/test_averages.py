"""Means that count the padding, and those that do not, in one Graph."""

import numpy as np

import cgraph as CG


def network():
    """Two convolutions that are one fused group, each under both kinds of mean."""
    x = CG.Leaf2(5, 6)
    kernels = np.random.default_rng(0).standard_normal((2, 1, 2, 2))
    maps = [CG.Convolution2d([x], kernel, 0.5) for kernel in kernels]
    means = [
        CG.AveragePooling2d(node, 3, 3, 2, 1, 1, 2, 3, count_padding=counts)
        for counts in (True, False)
        for node in maps
    ]
    return x, means, CG.Norm2(CG.Concatenation(means))


def test_both_kinds_of_mean_over_one_group_of_channels_stay_apart(build_name):
    sample = np.random.default_rng(1).standard_normal((5, 6))
    results = []
    for layout in (None, "samples", "lanes"):
        x, means, loss = network()
        if layout:
            graph = CG.Graph(loss, layout=layout, leaf_grads=True)
            graph.accumulate({x: [sample, sample]})
            graph.sample(1)
            results.append(x.grad.copy())
            results.append(graph.predict({x: [sample]}, CG.ancestors(loss)[-2])[0])
        else:
            x.getInput(sample)
            x.forwardPropagation()
            loss.backwardPropagation()
            dx, data = x.grad.copy(), np.concatenate([node.data for node in means])
    for found, expected in zip(results, [dx, data] * 2, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)
    assert not np.allclose(means[0].data, means[2].data)
