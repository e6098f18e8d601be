"""Batches in several threads: the library's, the user's, in forked processes, at the end of a process, under Ctrl-C."""

import ctypes.util
import os
import platform
import signal
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest
from batch_problems import COUNT, long_problem, small_problem, trained
from batch_twins import BatchTwins, uniform
from batch_ways import Way
from graph_networks import nodes_of, wide
from own_nodes import Square

import cgraph as CG
from cgraph import _batches
from cgraph._kernels import plan
from cgraph._kernels.crew import run_together

pytestmark = [
    pytest.mark.thread_unsafe(reason="starts threads and processes, sends signals"),
    pytest.mark.usefixtures("eager_threads"),
]
TASKS = "/proc/self/task"  # of Linux: a file for each thread
FE_UPWARD = {"x86_64": 0x800, "aarch64": 0x400000}  # of <fenv.h>
needs_tasks = pytest.mark.skipif(not os.path.isdir(TASKS), reason="counts tasks of Linux")
SECONDS = 60  # until something that does not end has failed


def in_threads(*works):
    """Runs all at once; what each returned."""
    results = [None] * len(works)

    def run(k):
        results[k] = works[k]()

    threads = [threading.Thread(target=run, args=(k,), daemon=True) for k in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
        assert not thread.is_alive()
    return results


# The user's threads


def test_graphs_that_run_at_once_give_what_they_give_alone():
    expected = trained(*small_problem())
    problems = [small_problem() for _ in range(4)]
    for results in in_threads(*(lambda p=p: trained(*p) for p in problems)):
        for ours, theirs in zip(results, expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_a_graph_that_is_running_is_refused_to_another_thread_and_goes_on():
    """A call that is not refused is complete, however close the other one came."""
    graph, feed = long_problem(5000)
    expected, refused, results = graph.predict(feed), [], []
    together = threading.Barrier(2)

    def attempt():
        together.wait(SECONDS)
        try:
            results.append(graph.predict(feed))
        except RuntimeError as error:
            refused.append(str(error))

    for _ in range(40):
        in_threads(attempt, attempt)
    assert refused
    assert all("is already running" in message for message in refused)
    assert results
    for rows in (*results, graph.predict(feed)):
        np.testing.assert_array_equal(rows, expected)


def test_a_graph_may_be_used_in_one_thread_after_the_other():
    expected = trained(*small_problem(), rounds=2)
    graph, feed = small_problem()
    found = [in_threads(lambda: trained(graph, feed, rounds=1))[0] for _ in range(2)]
    for ours, theirs in zip([*found[0][:3], *found[1]], expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("layout", ["lanes", "samples"])
def test_there_may_be_more_threads_than_samples(layout):
    """Or than blocks of samples: who has nothing to do adds nothing."""
    nodes = nodes_of(wide, "float64")
    twins = BatchTwins(lambda: nodes_of(wide, "float64"), len(nodes) - 1, uniform(nodes), 40)
    for count in (1, 2, 3, 9, 17, 40):
        twins.check_sums(Way(layout, 5), count, 40)
        twins.check_sums(Way(layout, 5), 40, count)
        twins.check_predictions(Way(layout, 5), count, [4, len(nodes) - 1])


class Where(Square):
    """Notes the thread in which it is computed."""

    def __init__(self, node):
        super().__init__(node)
        self.threads = []

    def calcData(self):
        self.threads.append(threading.get_ident())
        super().calcData()

    def calcPartialDerivative(self):
        self.threads.append(threading.get_ident())
        super().calcPartialDerivative()


@pytest.mark.parametrize("layout", ["lanes", "samples", "auto"])
def test_a_node_of_the_users_own_is_computed_in_the_callers_thread(layout):
    def make():
        x = CG.Leaf1(3)
        own = Where(CG.Affine(x, np.linspace(-1, 1, 12).reshape(4, 3)))
        return [x, own.backward[0], own, CG.Norm2(own)]

    nodes = make()
    twins = BatchTwins(make, 3, uniform(nodes), COUNT)
    for way in (Way(layout, 2), Way(layout, 1)):
        twins.check_added_sums(way, COUNT)
        twins.check_step(way, COUNT)
        twins.check_predictions(way, COUNT, range(4))
    assert len(twins.ours[2].threads) > 8 * COUNT
    assert set(twins.ours[2].threads) == {threading.get_ident()}


# Shares


@pytest.mark.parametrize(("worth", "expected"), [(1e-9, [2]), (1e12, [])])
def test_threads_share_what_is_worth_it_alone(worth, expected, monkeypatch):
    graph, feed = small_problem()
    shares = []

    def noted(runs):
        shares.append(len(runs))
        run_together(runs)

    monkeypatch.setattr(_batches, "SHARE", worth)
    monkeypatch.setattr(_batches, "run_together", noted)
    graph.predict(feed)
    assert shares == expected


@pytest.mark.parametrize("layout", ["lanes", "samples"])
def test_while_threads_share_a_batch_everything_else_is_refused(layout, monkeypatch):
    graph, feed = small_problem()
    graph = CG.Graph(graph.nodes[-1], threads=2, layout=layout)
    expected = graph.predict(feed)

    def meanwhile(runs):
        for call in (
            graph.forward,
            lambda: graph.predict(feed),
            lambda: graph.sample(0),
            lambda: graph.update(0.1),
            lambda: CG.Graph(graph.nodes[-1]),
        ):
            with pytest.raises(RuntimeError, match="running"):
                call()
        run_together(runs)

    monkeypatch.setattr(_batches, "run_together", meanwhile)
    np.testing.assert_array_equal(graph.predict(feed), expected)


@needs_tasks
def test_workers_are_reused():
    """By calls that follow at once, when they look for work, and by one after a pause, when they sleep."""
    graph, feed = small_problem()
    graph = CG.Graph(graph.nodes[-1], threads=3)
    expected = graph.predict(feed)
    before = set(os.listdir(TASKS))
    for pause in (0, 0, 0, 0.05, 0, 0.05):
        time.sleep(pause)
        np.testing.assert_array_equal(graph.predict(feed), expected)
    assert set(os.listdir(TASKS)) == before


@needs_tasks
def test_workers_that_wait_sleep():
    graph, feed = small_problem()
    graph.predict(feed)
    time.sleep(0.05)
    before = time.process_time()
    time.sleep(0.5)
    assert time.process_time() - before < 0.1


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_a_share_that_cannot_begin_leaves_a_usable_graph(failing, monkeypatch):
    graph, feed = small_problem()
    graph = CG.Graph(graph.nodes[-1], threads=3)
    expected, shares = graph.predict(feed), []

    def prepare(*task):
        shares.append(task)
        if len(shares) == failing + 1:
            raise ZeroDivisionError
        return plan_prepare(*task)

    plan_prepare = plan.prepare
    with monkeypatch.context() as patch:
        patch.setattr(_batches.plan, "prepare", prepare)
        with pytest.raises(ZeroDivisionError):
            graph.predict(feed)
    np.testing.assert_array_equal(graph.predict(feed), expected)


def test_graphs_of_many_threads_do_not_wait_for_each_other():
    """Each call has workers of its own, or does the shares itself."""
    graph, feed = small_problem()
    expected = graph.predict(feed)

    def work():
        graph, feed = small_problem()
        return [graph.predict(feed) for _ in range(100)]

    for results in in_threads(*[work] * 8):
        for rows in results:
            np.testing.assert_array_equal(rows, expected)


# Ctrl-C


def repeat(work):
    while True:
        work()


@pytest.mark.parametrize("layout", ["lanes", "samples"])
@pytest.mark.parametrize("call", ["predict", "train", "accumulate"])
def test_ctrl_c_ends_a_threaded_batch_and_leaves_a_usable_graph(call, layout, ctrl_c):
    nodes = nodes_of(wide, "float32")
    twins = BatchTwins(lambda: nodes_of(wide, "float32"), len(nodes) - 1, uniform(nodes), 20)
    graph = twins.compile(Way(layout, 2))
    rows = {leaf: np.zeros((100_000, leaf.size), "float32") for leaf in graph.leaves}
    work = {
        "predict": lambda: graph.predict(rows),
        "train": lambda: graph.train(rows, 1e-6, batch=50_000),
        "accumulate": lambda: graph.accumulate(rows),
    }[call]
    sent = []

    def interrupt():
        sent.append(time.monotonic())
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    timer = threading.Timer(0.1, interrupt)
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            repeat(work)
    finally:
        timer.cancel()
    assert time.monotonic() - sent[0] < 2
    for node in twins.ours:
        node.zero_grad()
    twins.restore()
    twins.accumulate(20)
    twins.assert_sums(20)
    twins.check_step(Way(layout, 2), 20)
    twins.check_predictions(Way(layout, 2), 20, [len(nodes) - 1])


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("layout", ["lanes", "samples"])
def test_ctrl_c_ends_a_call_in_the_middle_of_every_share(layout, threads, ctrl_c):
    x = CG.Leaf1(16, dtype="float32")
    scores = CG.Affine(CG.Affine(x, np.zeros((17, 512))), np.zeros((513, 512)))
    graph = CG.Graph(CG.Norm2(scores), layout=layout, threads=threads)
    rows = np.zeros((400_000, 16), "float32")
    out = np.full((len(rows), 1), np.nan, "float32")
    graph.predict({x: rows[:200]})
    timer = threading.Timer(0.1, signal.pthread_kill, [threading.get_ident(), signal.SIGINT])
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        graph.predict({x: rows}, out=out)
    assert np.isnan(out[[len(out) // 2 - 100, -1]]).all()


# Processes of their own

BEGINNING = """
import os, signal, sys, threading, time
import numpy as np
sys.path.insert(0, {tests!r})
import cgraph as CG
from batch_problems import long_problem, small_problem, trained
from cgraph import _batches
_batches.SHARE = 1e-9
"""


def run(script, **environment):
    """A process that runs this; what it printed, when it has ended well."""
    done = finished(script, **environment)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


def finished(script, **environment):
    beginning = BEGINNING.format(tests=os.path.dirname(__file__))
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
    """Also a child of the child, one that is forked in another thread, and the parent afterwards."""
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
    """The graph that another thread was running is lost to it; a new one is not."""
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
            fresh, rows = small_problem()
            same = (fresh.predict(rows) == expected).all() and (small.predict(few) == expected).all()
            os._exit(0 if same else 1)
        print(os.waitpid(child, 0)[1])
        thread.join()
        print((small.predict(few) == expected).all())
    """)
    assert out == "0\nTrue\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork")
def test_a_process_forked_by_a_signal_within_a_call_does_not_wait_for_its_parents_workers():
    """What these had begun is lost to it, and the call says so."""
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
    """Results are the same, and the next call that can start a thread has one."""
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
    """Where all threads have one core, results are the same."""
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
    """Whoever does it: a worker that was started by one who rounds otherwise, too."""
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
def test_a_process_ends_within_seconds_whatever_its_threads_do(name):
    start = time.monotonic()
    assert run("graph, feed = long_problem()\n" + textwrap.dedent(ENDINGS[name])) == ""
    assert time.monotonic() - start < 20


# How many threads

COUNT_TASKS = """
graph, feed = long_problem(2000)
graph = CG.Graph(graph.nodes[-1], **OPTIONS)
before = len(os.listdir("/proc/self/task"))
graph.predict(feed)
print(1 + len(os.listdir("/proc/self/task")) - before)
"""


def threads_of(options, **environment):
    """How many threads a Graph with these options uses; they stay, and wait for more."""
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
        os.environ.pop("CGRAPH_NUM_THREADS", None)
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
