"""SciPy's L-BFGS-B trains a network on the digits that come with the package: all parameters are one flat vector.

L-BFGS (Liu and Nocedal, 1989) wants the loss of the whole training set and its gradient, both for a vector of its own
choice; `value_and_grad` computes them in one pass. Needs SciPy.

python examples/lbfgs_digits.py --seed 1 --iterations 100

It takes 2 s of processor time on one core of an AMD EPYC (Zen 3, AVX2), with one thread, and prints:

    100 iterations, 105 evaluations: 0.75 s
    accuracy 100.0 % in training, 98.6 % on digits held out
"""

import argparse
import time

import numpy as np
from scipy.optimize import minimize

import cgraph as CG
from cgraph.data import digits_dataset


def network(rng, units):
    """Returns the leaves, the logits and the loss of a network 64-units-10 with tanh."""
    x, t = CG.Leaf2(8, 8), CG.Leaf1(10)
    hidden = CG.Tanh(CG.Affine(x, rng.normal(0, 1 / 8, (65, units))))
    logits = CG.Affine(hidden, rng.normal(0, units**-0.5, (units + 1, 10)))
    return x, t, logits, CG.SoftmaxCEE(logits, t)


def main(seed, iterations, units=32, decay=1.0):
    """Returns the accuracies on the digits to train on, and on those that are held out."""
    data, rng = digits_dataset(seed), np.random.default_rng(seed)
    x, t, logits, loss = network(rng, units)
    graph = CG.Graph(loss)
    images = data.scaled(data.train_images).astype(float)  # once, not in each evaluation
    feed = {x: images, t: CG.one_hot(data.train_labels, 10)}

    def objective(v):
        """Returns the sum of the losses, with a penalty that keeps weights small, and its gradient."""
        value, gradient = graph.value_and_grad(feed, v)
        return value + decay / 2 * v @ v, gradient + decay * v

    def accuracy(images, labels):
        predicted = graph.predict({x: data.scaled(images)}, logits).argmax(axis=1)
        return float(np.mean(predicted == labels))

    began = time.process_time()
    result = minimize(
        objective, graph.get_vector(), jac=True, method="L-BFGS-B", options={"maxiter": iterations}
    )
    seconds = time.process_time() - began
    graph.set_vector(result.x)  # the last v that was tried need not be the best
    train = accuracy(data.train_images, data.train_labels)
    test = accuracy(data.test_images, data.test_labels)
    print(f"{result.nit} iterations, {result.nfev} evaluations: {seconds:.2f} s")
    print(f"accuracy {100 * train:.1f} % in training, {100 * test:.1f} % on digits held out")
    return train, test


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--iterations", type=int, default=100)
    main(**vars(parser.parse_args()))
