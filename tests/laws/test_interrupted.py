"""A law: under a signal at any moment, a call has changed nothing, or has done all of its work.

Each row is a call on objects that are built anew for each interruption, and the condition that must hold afterwards.
"""

import signal
from functools import partial

import numpy as np
import pytest
from interruptions import CALLS, COMPILED, OF_FILES, OF_NODES, TABLE, USUAL
from interrupts import Alarm, events, seconds, stopped

pytestmark = [
    pytest.mark.thread_unsafe(reason="traces, and sets signal handlers"),
    # Python swallows an exception in a finaliser, of a zipfile, say, and reports it.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture
def prepared(request, tmp_path):
    """Returns a function that builds the call of a row and its condition anew."""
    call, make = request.param
    make = COMPILED[make]
    if call in OF_FILES:
        return partial(OF_FILES[call], make, tmp_path)
    return partial({**CALLS, **OF_NODES}[call], make)


ROW = pytest.mark.parametrize("prepared", TABLE, ids="-".join, indirect=True)
MAKERS = list(COMPILED)
# Every call with every second way to compile a graph, the others for the next call.
SOME = [
    (call, make)
    for k, (call, make) in enumerate(TABLE)
    if (k // len(MAKERS) + k % len(MAKERS)) % 2 == 0
]
SOME_ROWS = pytest.mark.parametrize("prepared", SOME, ids="-".join, indirect=True)


def check_events(prepared, numbers, opcodes):
    for number in numbers:
        call, right = prepared()
        ended = stopped(call, number, opcodes)
        assert np.geterr() == USUAL
        assert right(), number
        if ended:
            break


@ROW
@pytest.mark.usefixtures("eager_threads")
def test_an_exception_at_some_events(prepared):
    call, right = prepared()
    count = events(call)
    assert right()
    check_events(prepared, [*range(1, count, max(1, count // 3)), count], opcodes=False)


@pytest.mark.full
@ROW
@pytest.mark.usefixtures("eager_threads")
def test_an_exception_at_every_bytecode(prepared):
    call, _ = prepared()
    count = events(call, opcodes=True)
    check_events(prepared, range(1, count + 1, max(1, count // 300)), opcodes=True)


def check_signals(prepared, tries):
    time = min(seconds(prepared()[0]) for _ in range(4))
    with Alarm(seed=0) as alarm:
        hits = 0
        for number in range(tries):
            call, right = prepared()
            hits += alarm.stops(call, time)
            assert right(), number
            assert np.geterr() == USUAL
    return hits


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="only where there are timers")
@SOME_ROWS
@pytest.mark.usefixtures("eager_threads")
def test_a_signal_at_some_moments(prepared):
    check_signals(prepared, 5)


@pytest.mark.full
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="only where there are timers")
@ROW
@pytest.mark.usefixtures("eager_threads")
def test_a_signal_at_thousands_of_moments(prepared):
    assert check_signals(prepared, 2000) > 50
