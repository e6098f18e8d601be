"""Graphs in several threads of the user, which share their batches among threads of the library, under signals.

python tools/races.py SECONDS

ThreadSanitizer alone watches the computation: see sanitize.sh.
"""

import signal
import sys
import threading
import time

import numpy as np

import cgraph as CG
from cgraph._execution import batches

SIZE = 9
listening = False


def network(seed):
    """Returns (leaf, target, scores, Graph) with groups, a pooling and a matrix; the seed decides the layout."""
    rng = np.random.default_rng(seed)
    x, t = CG.Leaf2(SIZE, SIZE), CG.Leaf1(4)
    maps = [CG.Convolution2d([x], rng.normal(size=(1, 3, 3)), 0.1) for _ in range(5)]
    pooled = [CG.MaxPooling2d(CG.ReLU(y), 2, 2, 2) for y in maps]
    sparse = [
        CG.Convolution2d(pooled[i : i + 3], rng.normal(size=(3, 2, 2)), 0.1) for i in range(3)
    ]
    joined = CG.Concatenation(sparse)
    scores = CG.Softmax(CG.Affine(joined, rng.normal(size=(joined.size + 1, 4))))
    graph = CG.Graph(CG.CEE(scores, t), threads=3, layout=("auto", "lanes", "samples")[seed % 3])
    graph._executable.batches._samples_between_signal_checks = {False: 3, True: 3}
    return x, t, scores, graph


def interrupt(*_):
    if listening:
        raise KeyboardInterrupt


def work(seed, end, main=False):
    """Calls all methods for batches of any size; in the main thread, SIGALRM ends some of the calls."""
    global listening
    rng = np.random.default_rng(seed)
    x, t, scores, graph = network(seed)
    rounds = 0
    while time.monotonic() < end:
        count = int(rng.integers(1, 130))
        feed = {x: rng.normal(size=(count, SIZE, SIZE)), t: np.eye(4)[rng.integers(4, size=count)]}
        try:
            if main:
                listening = True
                signal.setitimer(signal.ITIMER_REAL, rng.uniform(1e-4, 5e-3))
            graph.step(feed, 0.001)
            graph.predict(feed, scores)
            graph.accumulate(feed)
            graph.update(0.001)
            graph.train(feed, 0.001, 16)
            graph.sample(0)
            if main:  # within reach of `except`
                listening = False
        except KeyboardInterrupt:
            pass
        finally:
            if main:
                listening = False
                signal.setitimer(signal.ITIMER_REAL, 0)
        rounds += 1
        if rng.random() < 0.05:
            time.sleep(0.01)  # until workers sleep
    print("rounds", rounds)


def race():
    """Lets two threads write to one array, which must be reported."""
    x = CG.Leaf1(100_000)
    y = CG.ReLU(x)
    threads = [
        threading.Thread(target=lambda: [y.calcData() for _ in range(100)]) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if sys.argv[1] == "race":
    race()
else:
    batches.THREAD_NANOSECONDS = 1e-9  # every batch is worth all threads
    signal.signal(signal.SIGALRM, interrupt)
    until = time.monotonic() + float(sys.argv[1])
    others = [threading.Thread(target=work, args=(seed, until)) for seed in range(3)]
    for other in others:
        other.start()
    work(7, until, main=True)
    for other in others:
        other.join()
