"""Runs of `fit` that are killed at random moments, and end as if nothing had happened; a program of its own.

It forks a process for each run, so that a run begins within milliseconds.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

from fitting_networks import whole_run


def run_in_child(path, seconds):
    """Runs in a process that is killed after a time; returns the result, or None if it was killed before its end."""
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        result = repr(whole_run(path)).encode()
        with os.fdopen(into, "wb") as stream:
            stream.write(result)
        os._exit(0)
    os.close(into)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    with os.fdopen(out, "rb") as stream:
        result = stream.read()
    _, status = os.waitpid(child, 0)
    return None if os.WIFSIGNALED(status) else result


def main(path, kills):
    """Kills runs so many times, and compares those that reach their end with one that nothing has disturbed."""
    start = time.perf_counter()
    expected = run_in_child(path, None)
    longest = time.perf_counter() - start
    moments, killed = random.Random(kills), 0
    while killed < kills:
        Path(path).unlink(missing_ok=True)
        for _ in range(3):
            if run_in_child(path, moments.uniform(0, longest)) is None:
                killed += 1
        if run_in_child(path, None) != expected:
            sys.exit(f"another result after {killed} kills")
    print(killed, "kills")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
