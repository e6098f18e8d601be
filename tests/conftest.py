"""Fixtures that more than one test module uses."""

import gc
import os
import signal
import sys
import zlib
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from amounts import Tables
from guard_pages import EDGES, HERE, Guard
from hypothesis import settings

import cgraph
from cgraph import _kernels
from cgraph._execution import batches

# Names that are imported at their first use are imported here: a test that interrupts a call at each of its events
# would count those of an import.
for name in dir(cgraph):
    getattr(cgraph, name)

# The same examples in every run; `--hypothesis-profile=thorough` draws new ones, and many more.
settings.register_profile("usual", max_examples=40, derandomize=True, deadline=None, database=None)
settings.register_profile("thorough", max_examples=5_000, deadline=None, print_blob=True)
settings.load_profile("usual")


@pytest.fixture(params=_kernels.available())
def build_name(request):
    """Runs a test once for each SIMD build that this CPU supports; nodes that the test makes use that build."""
    previous = _kernels.select(request.param)
    yield request.param
    _kernels.select(previous)


@pytest.fixture
def ctrl_c():
    """Makes Ctrl-C raise KeyboardInterrupt, also where the tests run in the background and ignore it."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)


@pytest.fixture(scope="module")
def eager_threads():
    """Makes threads share batches of any size."""
    previous, batches.THREAD_NANOSECONDS = batches.THREAD_NANOSECONDS, 1e-9
    yield
    batches.THREAD_NANOSECONDS = previous


@pytest.fixture
def thorough(request):
    """Whether the rows of `pytest -m full` run, which draw more elements and look at every node."""
    return "full" in request.config.getoption("markexpr")


@pytest.fixture
def guard_pages(request):
    """Puts the memory of kernels between inaccessible pages; it begins or ends at one, in half of the tests each.

    CGRAPH_GUARD_PAGES=begin, or end, decides for all of them. (Not by `monkeypatch`, since that would keep all these
    tests in one thread under --parallel-threads.)
    """
    if not HERE:
        yield
        return
    drawn = EDGES[zlib.crc32(request.node.nodeid.encode()) % len(EDGES)]
    with pytest.MonkeyPatch.context() as patch:
        Guard(os.environ.get("CGRAPH_GUARD_PAGES") or drawn).install(patch)
        yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """Fails the test that leaves NumPy's error settings changed, instead of those that come after it."""
    before = np.geterr()
    try:
        return (yield)
    finally:
        changed = np.seterr(**before)
        assert changed == before, f"{item.name} left other settings of NumPy's errors"


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config):
    """Runs the whole suite in one process for each processor, as with `-n auto --dist worksteal`, by pytest-xdist.

    Where that is not installed, tests or a number of processes are named, or one process is asked for in another way,
    the command line decides. (Options in pyproject.toml would be errors without the plugin.)
    """
    option = config.option
    is_worker = hasattr(config, "workerinput")  # of pytest-xdist
    is_whole = config.args_source is config.ArgsSource.TESTPATHS and not is_worker
    in_one = option.usepdb or option.capture == "no" or option.collectonly
    in_threads = getattr(option, "parallel_threads", None)  # of pytest-run-parallel
    if is_whole and not in_one and not in_threads and getattr(option, "numprocesses", 0) is None:
        option.numprocesses, option.dist = "auto", "worksteal"


def pytest_configure(config):
    """Makes all rows of the tables of operations where `pytest -m full` asks for them."""
    Tables.whole = "full" in config.getoption("markexpr")
    if sys.dont_write_bytecode:
        # Hundreds of processes that tests start would compile the package anew, each of them.
        folder = TemporaryDirectory(ignore_cleanup_errors=True)
        config.add_cleanup(folder.cleanup)
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ["PYTHONPYCACHEPREFIX"] = folder.name


def pytest_collection_finish():
    """Freezes the collected tests, so that garbage collections need not visit them."""
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(config, items):
    """Tests with the marker `full` run where a -m expression names it."""
    if "full" not in config.getoption("markexpr"):
        full = [item for item in items if item.get_closest_marker("full")]
        config.hook.pytest_deselected(items=full)
        items[:] = [item for item in items if not item.get_closest_marker("full")]
