"""Exceptions at any moment of a call: at a trace event of its Python code, or by a real signal."""

import random
import signal
import sys
import time

FINALISERS = ("__del__", "forget")  # what is called when an object ends
HOOKS = ("_pytest", "pluggy", "hypothesis")


class Stopped(BaseException):
    """The exception that interrupts a call; like KeyboardInterrupt, it is not an Exception."""


def stopped(call, event, opcodes=False):
    """Runs a call up to event number `event` within cgraph's Python; returns whether the call was stopped.

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
    """A timer whose signals raise Stopped in the call that is running: at a random moment of it, and soon once more."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.armed, self.left = False, 0

    def __enter__(self):
        self.previous = signal.signal(signal.SIGALRM, self.ring)
        return self

    def __exit__(self, *_):
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self.previous)

    def ring(self, _, frame):
        """Raises, and sets the timer again if a second signal is due, or if Python would swallow the exception."""
        if not (self.armed and self.left):
            return
        heard = not self.is_swallowed(frame)
        self.left -= heard
        if self.left:
            signal.setitimer(signal.ITIMER_REAL, self.random.uniform(5e-6, 2e-4))
        if heard:
            raise Stopped

    def is_swallowed(self, frame):
        """Whether Python would report an exception here instead of raising it: in a finaliser, or a hook of a test."""
        while frame is not None and frame.f_code is not Alarm.stops.__code__:
            module = frame.f_globals.get("__name__", "").partition(".")[0]
            if frame.f_code.co_name in FINALISERS or module in HOOKS:
                return True
            frame = frame.f_back
        return frame is None

    def stops(self, call, seconds):
        """Whether a call that takes about so long was stopped, by one signal or two."""
        self.left = self.random.choice([1, 2])
        try:
            try:
                self.armed = True
                first = seconds * self.random.uniform(0, 1.2)
                signal.setitimer(signal.ITIMER_REAL, max(1e-6, first))
                call()
            finally:
                self.armed = False
        except Stopped:
            return True
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        return False


def seconds(call):
    """Returns the approximate duration of a call in seconds."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
