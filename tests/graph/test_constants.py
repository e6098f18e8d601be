"""Functions that were given numbers become one step where these are equal, and only there."""

import numpy as np
import pytest

import cgraph as CG

OPERATIONS = {
    "LeakyReLU": (CG.LeakyReLU, (0.1,), (0.2,)),
    "Clip": (CG.Clip, (-1, 1), (-1, 0.5)),
    "Scale": (CG.Scale, (2, 0.5), (2, -0.5)),
    "GELU": (CG.GELU, (False,), (True,)),
}


def network(op, numbers, dtype):
    """Returns a leaf, the functions on three sibling convolutions with numbers of their own, and a loss of them."""
    rng = np.random.default_rng(0)
    x = CG.Leaf2(4, 5, dtype=dtype)
    maps = [CG.Convolution2d([x], rng.standard_normal((1, 2, 2)), 0.1) for _ in numbers]
    functions = [op(node, *given) for node, given in zip(maps, numbers, strict=True)]
    return x, functions, CG.Norm2(CG.Concatenation(functions))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layout", ["samples", "lanes"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_only_nodes_with_equal_numbers_become_one_step(name, layout, dtype):
    op, some, others = OPERATIONS[name]
    samples = np.random.default_rng(1).standard_normal((3, 20)).astype(dtype)
    for numbers, sizes in (((some,) * 3, [3]), ((some, others, some), [1, 1, 1])):
        x, functions, loss = network(op, numbers, dtype)
        graph = CG.Graph(loss, layout=layout)
        groups = {id(group): group for group in graph._executable.executors.samples.steps}
        found = [len(group.nodes) for group in groups.values() if group.nodes[0] in functions]
        assert sorted(found) == sizes
        y, _, expected = network(op, numbers, dtype)
        values = graph.predict({x: samples}, loss).ravel()
        for sample, value in zip(samples, values, strict=True):
            y.getInput(sample)
            np.testing.assert_allclose(value, CG.evaluate(expected)[0], rtol=1e-5)
