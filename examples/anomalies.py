"""A small recurrent network watches a stream, learns to predict it, and reports values that it did not expect.

One Learner does everything, a value at a time: it predicts the next value from its state, and learns from what comes.
A value is an anomaly if the error is far above those of the last thousand values. The state is a delay line and that
of a GRU cell, which the Graph carries from call to call.

python examples/anomalies.py --seed 1

It takes 1.7 s of processor time on one core of an AMD EPYC (Zen 3, AVX2), with one thread, and prints:

    67 values were disturbed, 67 reported
    mean error of usual values 0.046
    found: 100%; reports that were right: 100%
    32.1 µs a value
    1.3 s
"""

import argparse
import time

import numpy as np

import cgraph as CG

TAPS, UNITS = 12, 16


def stream(count, rng):
    """Returns two tones whose loudness drifts, with noise, and which values were disturbed, every 500th or so."""
    clock = np.arange(count)
    loudness = 1 + 0.5 * np.sin(2 * np.pi * clock / 10_000)
    values = loudness * (np.sin(2 * np.pi * clock / 24) + 0.5 * np.sin(2 * np.pi * clock / 7))
    values += rng.normal(0, 0.05, count)
    disturbed = rng.random(count) < 1 / 500
    values[disturbed] += rng.choice([-1, 1], disturbed.sum()) * rng.uniform(1, 2, disturbed.sum())
    return values, disturbed


def network(rng):
    """Returns a Learner of the next value, which remembers the last values in a delay line, and more in a GRU cell."""
    x, t, h = CG.Leaf1(1), CG.Leaf1(1), CG.Leaf1(UNITS)
    taps = [x, *(CG.Leaf1(1) for _ in range(TAPS - 1))]
    state = CG.layers.gru_cell(CG.Concatenation(taps), h, rng=rng)
    y = CG.layers.dense(CG.Concatenation([*taps, state]), 1, rng=rng)
    delays = dict(zip(taps[1:], taps, strict=False))
    graph = CG.Graph(CG.Huber(y, t, 0.5), carry={h: state, **delays})
    adam = CG.Adam(CG.schedules.exponential(0.003, 0.9999), max_grad_norm=1.0)
    return CG.Learner(graph, x, t, y, adam)


def main(seed=0, count=40_000, warm_up=5_000, threshold=8.0):
    """Returns the share of disturbed values that were found, and of the reports that were right."""
    began = time.process_time()
    rng = np.random.default_rng(seed)
    values, disturbed = stream(count, rng)
    learner = network(rng)
    deviation, reported = 1.0, np.zeros(count, bool)
    before = 0.0
    for i, value in enumerate(values):
        expected = learner.step_one(before, value)
        error = abs(value - expected)
        reported[i] = i >= warm_up and error > threshold * deviation
        # An anomaly widens nothing that counts as usual, and the next prediction begins from what was expected.
        if reported[i]:
            before = expected
        else:
            deviation += (min(error, 3 * deviation) - deviation) / 1_000
            before = value
    found = np.mean(reported[warm_up:][disturbed[warm_up:]])
    right = np.mean(disturbed[reported]) if reported.any() else 0.0
    print(f"{disturbed[warm_up:].sum()} values were disturbed, {reported.sum()} reported")
    print(f"mean error of usual values {deviation:.3f}")
    print(f"found: {found:.0%}; reports that were right: {right:.0%}")
    needed = time.process_time() - began
    print(f"{1e6 * needed / count:.1f} µs a value")
    print(f"{needed:.1f} s")
    return found, right


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=40_000)
    main(**vars(parser.parse_args()))
