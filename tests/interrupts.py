"""Calls that an exception ends at any moment: at an event of their Python, or by a real signal."""

import random
import signal
import sys
import time


class Stopped(BaseException):
    """As KeyboardInterrupt is."""


def stopped(call, event, opcodes=False):
    """Runs a call up to that event within cgraph's Python; returns whether it came to its end before.

    An event is a call, a line or a return; or, with `opcodes`, each bytecode as well.
    """
    left = event

    def trace(frame, *_):
        nonlocal left
        if not frame.f_globals.get("__name__", "").startswith("cgraph"):
            return None
        frame.f_trace_opcodes = opcodes
        left -= 1
        if left == 0:
            raise Stopped
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    except Stopped:
        return False
    finally:
        sys.settrace(before)
    return True


def events(call, opcodes=False):
    """The number of events of a call that nothing stops."""
    count = 0

    def trace(frame, *_):
        nonlocal count
        if not frame.f_globals.get("__name__", "").startswith("cgraph"):
            return None
        frame.f_trace_opcodes = opcodes
        count += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return count


class Alarm:
    """A timer whose signal raises Stopped in the call that is running, at a random moment of it."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.armed = False

    def __enter__(self):
        self.previous = signal.signal(signal.SIGALRM, self.ring)
        return self

    def __exit__(self, *_):
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self.previous)

    def ring(self, *_):
        if self.armed:
            raise Stopped

    def stops(self, call, seconds):
        """Whether a call that takes about so long was stopped."""
        try:
            try:
                self.armed = True
                signal.setitimer(
                    signal.ITIMER_REAL, max(1e-6, seconds * self.random.uniform(0, 1.2))
                )
                call()
            finally:
                self.armed = False
        except Stopped:
            return True
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        return False


def seconds(call):
    """How long a call takes, about."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
