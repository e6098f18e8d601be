"""Batches in threads of the library and of the user, also under Ctrl-C."""

import os
import signal
import threading
import time

import numpy as np
import pytest
from batch_settings import Setting
from batch_twins import BatchTwins, uniform
from graph_networks import nodes_of, wide
from own_nodes import Square
from tasks import SECONDS, TASKS, needs_tasks
from threaded_graphs import COUNT, long_problem, small_problem, trained

import cgraph as CG
from cgraph._execution import batches
from cgraph._kernels.runtime import plan
from cgraph._kernels.runtime.thread_pool import run_together

pytestmark = [
    pytest.mark.thread_unsafe(reason="starts threads, sends signals"),
    pytest.mark.usefixtures("eager_threads"),
]


def in_threads(*works):
    """Runs all calls at once, each in a thread; returns their results."""
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


def test_what_numpy_is_told_about_errors_does_not_end_a_call_of_several_threads():
    """The sum of the shares may be inf - inf; the gradients have been added by then, so the update must follow."""
    x = CG.Leaf1(64)
    y = CG.Affine(x, np.full((65, 1), 0.01))
    graph = CG.Graph(CG.Dots(y, y), threads=2, layout="lanes")
    rows = np.ones((32, 64))
    rows[[0, 31], 0] = np.inf, -np.inf
    with np.errstate(all="raise"):
        losses = graph.step({x: rows}, 0.1)
    assert np.isinf(losses[[0, 31]]).all()
    assert np.isnan(y.weight[1, 0])
    assert np.isfinite(losses[1:31]).all()


# The user's threads


def test_graphs_that_run_at_once_give_what_they_give_alone():
    expected = trained(*small_problem())
    problems = [small_problem() for _ in range(4)]
    for results in in_threads(*(lambda p=p: trained(*p) for p in problems)):
        for ours, theirs in zip(results, expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_a_graph_that_is_running_is_refused_to_another_thread_and_goes_on():
    """A call that is not refused completes, however soon the other call comes."""
    graph, feed = long_problem(50_000)
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
    """A thread without samples, or without a block of lanes, adds nothing."""
    nodes = nodes_of(wide, "float64")
    twins = BatchTwins(lambda: nodes_of(wide, "float64"), len(nodes) - 1, uniform(nodes), 40)
    for count in (1, 2, 3, 9, 17, 40):
        twins.check_sums(Setting(layout, 5), count, 40)
        twins.check_sums(Setting(layout, 5), 40, count)
        twins.check_predictions(Setting(layout, 5), count, [4, len(nodes) - 1])


class Where(Square):
    """An own node that notes the thread in which it is computed."""

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
    for setting in (Setting(layout, 2), Setting(layout, 1)):
        twins.check_added_sums(setting, COUNT)
        twins.check_step(setting, COUNT)
        twins.check_predictions(setting, COUNT, range(4))
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

    monkeypatch.setattr(batches, "THREAD_NANOSECONDS", worth)
    monkeypatch.setattr(batches, "run_together", noted)
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

    monkeypatch.setattr(batches, "run_together", meanwhile)
    np.testing.assert_array_equal(graph.predict(feed), expected)


@needs_tasks
def test_workers_are_reused():
    """Workers are reused by calls that follow at once, while they spin, and by a call after a pause, in their sleep."""
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

    def prepare(*arguments, **options):
        shares.append(arguments)
        if len(shares) == failing + 1:
            raise ZeroDivisionError
        return plan_prepare(*arguments, **options)

    plan_prepare = plan.prepare
    with monkeypatch.context() as patch:
        patch.setattr(batches.plan, "prepare", prepare)
        with pytest.raises(ZeroDivisionError):
            graph.predict(feed)
    np.testing.assert_array_equal(graph.predict(feed), expected)


def test_graphs_of_many_threads_do_not_wait_for_each_other():
    """Each call acquires workers of its own, or does the shares itself."""
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
    graph = twins.compile(Setting(layout, 2))
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
    assert time.monotonic() - sent[0] < 20  # also on a busy machine
    for node in twins.ours:
        node.zero_grad()
    twins.restore()
    twins.accumulate(20)
    twins.assert_sums(20)
    twins.check_step(Setting(layout, 2), 20)
    twins.check_predictions(Setting(layout, 2), 20, [len(nodes) - 1])


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
