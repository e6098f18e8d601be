"""The NumPy autodiff of a random graph: runs a recipe's references and accumulates gradients."""

import numpy as np


def forward(recipe, leaf_values, params):
    """Returns the data of every step, of shape (height, width), from the values of the leaves."""
    data = []
    for k, step in enumerate(recipe.steps):
        if step.reference is None:
            data.append(np.asarray(leaf_values[k], dtype=np.float64))
        else:
            data.append(step.reference.forward([data[i] for i in step.inputs], params[k]))
    return data


def backward(recipe, data, params):
    """Returns the gradients of every step's data and parameters, at these data.

    The data are those that the graph under test holds: ties and kinks are decided by them, while
    `forward` has checked them on its own.
    """
    grads = [np.zeros(step.shape) for step in recipe.steps]
    param_grads = [[np.zeros(p.shape) for p in step.params] for step in recipe.steps]
    for end in recipe.ends:
        grads[end] += 1.0
    for k, step in reversed(list(enumerate(recipe.steps))):
        if step.reference is not None:
            xs = [data[i] for i in step.inputs]
            dxs, dparams = step.reference.backward(xs, params[k], grads[k])
            for i, dx in zip(step.inputs, dxs, strict=True):
                grads[i] = grads[i] + dx
            for total, share in zip(param_grads[k], dparams, strict=True):
                total += share
    return grads, param_grads
