"""Threads after a fork, at the end of a process, and where none can be started; and their number."""

import ctypes.util
import os
import platform
import subprocess
import sys
import textwrap
import time

import pytest
import threaded_graphs
from tasks import SECONDS, TASKS, needs_tasks

pytestmark = pytest.mark.thread_unsafe(reason="starts processes")
FE_UPWARD = {"x86_64": 0x800, "aarch64": 0x400000}  # of <fenv.h>

BEGINNING = """
import os, signal, sys, threading, time
import numpy as np
sys.path.insert(0, {support!r})
import cgraph as CG
from threaded_graphs import long_problem, small_problem, trained
from cgraph._execution import batches
batches.THREAD_NANOSECONDS = 1e-9
"""


def run(script, **environment):
    """Runs a script in a process of its own, which must succeed; returns its output."""
    done = finished(script, **environment)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


def finished(script, **environment):
    beginning = BEGINNING.format(support=os.path.dirname(threaded_graphs.__file__))
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", beginning + textwrap.dedent(script)],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork")
def test_a_forked_process_has_threads_of_its_own():
    """Threads work in a child, in its child, in a child that another thread forks, and in the parent afterwards."""
    out = run("""
        graph, feed = small_problem()
        expected = graph.predict(feed)

        def same():
            return all((graph.predict(feed) == expected).all() for _ in range(3))

        def in_child(work):
            child = os.fork()
            if child == 0:
                signal.alarm(20)
                os._exit(0 if work() else 1)
            return os.waitpid(child, 0)[1] == 0

        found = [in_child(same), in_child(lambda: same() and in_child(same)), same()]
        thread = threading.Thread(target=lambda: found.append(in_child(same)))
        thread.start()
        thread.join()
        print(found + [same()])
    """)
    assert out == "[True, True, True, True, True]\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork")
def test_a_process_forked_in_the_middle_of_a_batch_can_build_a_graph_of_its_own():
    """In the child, a graph that another thread was running cannot be used; a new graph can."""
    out = run("""
        graph, feed = long_problem()
        small, few = small_problem()
        expected = small.predict(few)
        thread = threading.Thread(target=lambda: [graph.predict(feed) for _ in range(3)])
        thread.start()
        time.sleep(0.05)
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            new, rows = small_problem()
            same = (new.predict(rows) == expected).all() and (small.predict(few) == expected).all()
            os._exit(0 if same else 1)
        print(os.waitpid(child, 0)[1])
        thread.join()
        print((small.predict(few) == expected).all())
    """)
    assert out == "0\nTrue\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork")
def test_a_process_forked_by_a_signal_within_a_call_does_not_wait_for_its_parents_workers():
    """The shares that the parent's workers had begun are lost in the child, and the call raises."""
    out = run("""
        children = []

        def fork(*_):
            children.append(os.fork())
            if children[-1] == 0:
                signal.alarm(20)

        graph, feed = long_problem(100_000)
        expected = graph.predict(feed)
        signal.signal(signal.SIGUSR1, fork)
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGUSR1)).start()
        try:
            while not children:
                found = graph.predict(feed)
            well = (found == expected).all()
        except RuntimeError as error:
            well = children == [0] and "forked in the middle of a call" in str(error)
        well = well and (graph.predict(feed) == expected).all()
        if children == [0]:
            os._exit(0 if well else 1)
        print(os.waitpid(children[0], 0)[1], well)
    """)
    assert out == "0 True\n"


# Where no thread starts: its stack would be larger than all memory

NO_THREAD = 1 << 62
needs_no_thread = pytest.mark.skipif(
    sys.platform != "linux" or sys.maxsize < NO_THREAD,
    reason="elsewhere such a stack is refused before",
)


@needs_no_thread
@needs_tasks
def test_the_caller_does_the_shares_of_threads_that_cannot_be_started():
    """The results are those of all threads, and the next call starts a thread if it can."""
    out = run(f"""
        def tasks():
            return len(os.listdir({TASKS!r}))

        before = tasks()
        usual = threading.stack_size({NO_THREAD})
        alone = trained(*small_problem())
        found = [tasks() - before]
        threading.stack_size(usual)
        together = trained(*small_problem())
        found.append(tasks() - before)
        print(found, all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True)))
    """)
    assert out == "[0, 1] True\n"


@needs_tasks
def test_the_caller_does_the_shares_that_nobody_begins():
    """With all threads on one core, the results are those of several cores."""
    out = run("""
        expected = trained(*small_problem())
        cores = list(os.sched_getaffinity(0))[:1]
        for task in os.listdir("/proc/self/task"):
            os.sched_setaffinity(int(task), cores)
        found = trained(*small_problem(), rounds=20)
        print(all(np.array_equal(a, b) for a, b in zip(expected[:3], found, strict=False)))
    """)
    assert out == "True\n"


@needs_no_thread
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_share_is_rounded_as_the_callers(dtype):
    """A share is rounded like the caller's also by a worker that was started by a thread with another rounding mode."""
    libm = ctypes.util.find_library("m")
    if libm is None or platform.machine() not in FE_UPWARD:
        pytest.skip("fesetround cannot be called")
    out = run(f"""
        import ctypes
        fesetround = ctypes.CDLL({libm!r}).fesetround
        graph, feed = small_problem({dtype!r})

        def rounded(mode):
            fesetround(mode)
            try:
                return graph.predict(feed)
            finally:
                fesetround(0)

        usual = threading.stack_size({NO_THREAD})
        up, nearest = rounded({FE_UPWARD[platform.machine()]}), rounded(0)
        threading.stack_size(usual)
        for _ in range(50):
            assert (rounded(0) == nearest).all()
            assert (rounded({FE_UPWARD[platform.machine()]}) == up).all()
        print((up != nearest).any())
    """)
    assert out == "True\n"


ENDINGS = {
    "after": "graph.predict(feed)",
    "after_by_exit": "graph.predict(feed); sys.exit(0)",
    "in_a_thread": "threading.Thread(target=graph.predict, args=(feed,)).start()",
    "in_a_daemon": """
        def work():
            while True:
                graph.predict(feed)
                graph.accumulate(feed)

        threading.Thread(target=work, daemon=True).start()
        time.sleep(0.1)
    """,
    "in_two_daemons": """
        others = long_problem()
        for one, rows in ((graph, feed), others):
            threading.Thread(target=one.predict, args=(rows,), daemon=True).start()
        time.sleep(0.05)
    """,
    "with_an_exception_of_atexit": """
        import atexit
        atexit.register(lambda: graph.predict({leaf: rows[:100] for leaf, rows in feed.items()}))
        graph.predict(feed)
    """,
}


@pytest.mark.parametrize("name", ENDINGS)
def test_a_process_ends_whatever_its_threads_do(name):
    start = time.monotonic()
    assert run("graph, feed = long_problem()\n" + textwrap.dedent(ENDINGS[name])) == ""
    assert time.monotonic() - start < 60


# The number of threads

COUNT_TASKS = """
graph, feed = long_problem(2000)
graph = CG.Graph(graph.nodes[-1], **OPTIONS)
before = len(os.listdir("/proc/self/task"))
graph.predict(feed)
print(1 + len(os.listdir("/proc/self/task")) - before)
"""


def threads_of(options, **environment):
    """Returns the number of threads that a Graph with these options uses."""
    return int(run(f"OPTIONS = {options}\n{COUNT_TASKS}", OPENBLAS_NUM_THREADS="1", **environment))


@needs_tasks
@pytest.mark.parametrize(
    ("threads", "environment", "expected"),
    [(None, "1", 1), (None, "3", 3), (2, "1", 2), (1, "3", 1), (4, "3", 4)],
)
def test_a_graph_has_as_many_threads_as_it_was_asked_for(threads, environment, expected):
    options = {} if threads is None else {"threads": threads}
    assert threads_of(options, CGRAPH_NUM_THREADS=environment) == expected


@needs_tasks
def test_by_default_a_graph_has_a_thread_for_each_core_that_the_process_may_use():
    out = run(
        f"""
        for name in ("CGRAPH_NUM_THREADS", "OMP_NUM_THREADS"):
            os.environ.pop(name, None)
        os.sched_setaffinity(0, list(os.sched_getaffinity(0))[:1])
        OPTIONS = {{}}
        {textwrap.indent(COUNT_TASKS, " " * 8).lstrip()}
        """,
        OPENBLAS_NUM_THREADS="1",
    )
    assert out == "1\n"


@pytest.mark.parametrize("value", ["0", "two", "1.5"])
def test_a_number_of_threads_that_is_none_is_refused(value):
    done = finished("CG.Graph(small_problem()[0].nodes[-1])", CGRAPH_NUM_THREADS=value)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("ValueError: ")
    assert "CGRAPH_NUM_THREADS" in last
    assert value in last
