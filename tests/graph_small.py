"""The small Graph that the tests of feeds and of misuse begin with."""

import numpy as np

import cgraph as CG


def affine_graph(dtype=None, **options):
    x, t = CG.Leaf1(3, dtype=dtype), CG.Leaf1(2, dtype=dtype)
    y = CG.Affine(x, np.linspace(-1, 1, 8).reshape(4, 2))
    return CG.Graph(CG.MSE(y, t), **options), x, t, y
