"""A network learns a stream whose rule changes half-way, one sample at a time, and adapts where a frozen one fails.

`CG.Learner` predicts each sample before it learns it, so nothing is held out (prequential evaluation), and its
metrics forget with a factor of 0.99. Beside it, a network that has learnt the first half alone goes on predicting.

python examples/drifting_stream.py --seed 1 --samples 20000

It takes 1.6 s of processor time on one core of an AMD EPYC (Zen 3, AVX2), with one thread, and prints:

    sample  2,000: accuracy 0.95
    sample  4,000: accuracy 0.98
    sample  6,000: accuracy 0.94
    sample  8,000: accuracy 0.97
    sample 10,000: accuracy 0.97
    sample 12,000: accuracy 0.94, frozen 0.33
    sample 14,000: accuracy 0.96, frozen 0.35
    sample 16,000: accuracy 0.93, frozen 0.32
    sample 18,000: accuracy 0.95, frozen 0.33
    sample 20,000: accuracy 0.94, frozen 0.33
    0.8 s
"""

import argparse
import time

import numpy as np

import cgraph as CG


def stream(rng, count):
    """Yields measurements of ten sensors and a class of three; from the middle on by another rule."""
    rules = rng.normal(size=(2, 10, 3))
    for number in range(count):
        x = rng.normal(size=10)
        yield x, int(np.argmax(x @ rules[int(number >= count // 2)]))


def main(seed, samples=20_000):
    """Returns the accuracies of the last tenth: of the network that goes on learning, and of the frozen one."""
    rng = np.random.default_rng(seed)
    net, t = CG.models.mlp(10, [32], 3, rng=rng), CG.Leaf1(3)
    x, logits = net.x, net.output
    graph = CG.Graph(CG.SoftmaxCEE(logits, t))
    learner = CG.Learner(graph, x, t, logits, CG.Adam(0.005), metrics="accuracy", fading=0.99)
    twin = CG.clone(logits)
    frozen, right, classes = CG.Graph(twin[logits]), [], np.eye(3)

    began = time.process_time()
    for number, (sample, label) in enumerate(stream(rng, samples), 1):
        if number > samples // 2:
            right.append(frozen.predict({twin[x]: sample[None]})[0].argmax() == label)
        learner.learn_one(sample, classes[label])
        if number == samples // 2:
            CG.copy_parameters(graph, frozen)
        if number % (samples // 10) == 0:
            line = f"sample {number:6,d}: accuracy {learner.metrics['accuracy']:.2f}"
            print(line + (f", frozen {np.mean(right[-samples // 10 :]):.2f}" if right else ""))
    print(f"{time.process_time() - began:.1f} s")
    return float(learner.metrics["accuracy"]), float(np.mean(right[-samples // 10 :]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--samples", type=int, default=20_000)
    main(**vars(parser.parse_args()))
