"""Crew: threads that run courses for others. None of them ever holds the GIL, or touches a Python object.

Waking a thread that sleeps takes longer than a small batch. So who waits looks again and again for a while, and sleeps
only then; and what nobody has begun when the calling thread has done its own share, that one does itself.
"""
from cpython.exc cimport PyErr_CheckSignals
from cpython.pythread cimport (
    PY_LOCK_ACQUIRED, WAIT_LOCK, PyThread_acquire_lock, PyThread_allocate_lock, PyThread_free_lock,
    PyThread_release_lock, PyThread_type_lock,
)
from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free

from cgraph._kernels.runtime.atomics cimport (
    s_core, s_exchange, s_leave, s_load, s_load_pointer, s_nanoseconds, s_pause, s_replace, s_replace_pointer, s_state
)
from cgraph._kernels.runtime.plan cimport RunState, Run, advance

cdef extern from *:     # which Cython's own declarations lack, or have with other types
    unsigned long PyThread_start_new_thread(void (*function)(void *) noexcept nogil, void *argument) noexcept
    int PyThread_acquire_lock_timed(PyThread_type_lock lock, long long microseconds, int interruptible) noexcept nogil

cdef extern from "<fenv.h>" nogil:
    ctypedef struct fenv_t:
        pass
    int fegetenv(fenv_t *environment) noexcept
    int fesetenv(const fenv_t *environment) noexcept

cdef enum:
    SPIN = 500_000      # nanoseconds of looking before sleep: more than the Python between two calls takes
    LOOKS = 32          # between two looks at the clock
    RETRY = 16          # of so many waits in vain, one after the other,
    TRUST = 2           # the first ones look, and the others sleep at once
    SLICE = 50_000      # microseconds of sleep until Ctrl-C is listened to, where it does not wake who sleeps

cdef enum State:
    IDLE
    ASLEEP      # idle, and waits for the lock `wake`
    SUBMITTED      # there is a course, which anybody may begin
    BUSY        # the worker has begun it
    AWAITED     # the same, and somebody waits for the lock `ended`
    LOST        # it was begun in another process, from which this one was forked


# A thread. It belongs to the process: it is never freed once the thread has been started.
cdef struct Worker:
    s_state state
    s_state acquired               # by a call
    RunState *run_state
    s_state core                # on which it was posted
    fenv_t environment          # how who has posted it rounds, and whether subnormal numbers are 0
    PyThread_type_lock wake     # released once for each sleep
    PyThread_type_lock ended
    int vain_waits                  # so often it has waited for a course in vain, modulo RETRY
    int vain_waits_of_owner                  # the same of who has hired it, who waits for the end
    bint end_expected                   # to who has hired it: `ended` will be released, or has been
    Worker *next


cdef void *newest = NULL    # Worker, of all of this process


cdef bint changes_soon(s_state *state, s_state now, int *vain_waits) noexcept nogil:
    """Whether it does, before it is time to sleep. Who looks in vain may be keeping the others from their core."""
    cdef int64_t start = s_nanoseconds()
    cdef int _look
    while vain_waits[0] < TRUST and s_nanoseconds() - start < SPIN:
        for _look in range(LOOKS):
            if s_load(state) != now:
                vain_waits[0] = 0
                return True
            s_pause()
    vain_waits[0] = (vain_waits[0] + 1) % RETRY
    return s_load(state) != now


# What a worker does

cdef void worker_loop(void *address) noexcept nogil:
    """Runs what is posted to a worker, until the process ends."""
    cdef Worker *worker = <Worker *>address
    cdef bint slept, begun
    cdef s_state core
    while True:
        slept = not changes_soon(&worker.state, IDLE, &worker.vain_waits) and s_replace(&worker.state, IDLE, ASLEEP)
        if slept:
            PyThread_acquire_lock(worker.wake, WAIT_LOCK)
        begun = s_replace(&worker.state, SUBMITTED, BUSY)
        core = s_load(&worker.core)     # anew for each course, also while this thread wakes up too late for one
        if slept and s_core() == core:  # where it would keep from work who has woken it
            s_leave(<int>core)
        if begun:
            fesetenv(&worker.environment)
            advance(worker.run_state, worker.run_state.samples)
            if s_exchange(&worker.state, IDLE) == AWAITED:
                PyThread_release_lock(worker.ended)


# What is done with it

cdef Worker *acquire() except? NULL:
    """One that nobody else has hired; NULL if no thread can be started, as at the end of the interpreter."""
    cdef Worker *worker = <Worker *>s_load_pointer(&newest)
    while worker != NULL and not s_replace(&worker.acquired, False, True):
        worker = worker.next
    return worker if worker != NULL else start()


cdef Worker *start() except? NULL:
    """A new thread; not of Python's own: it runs none, and nobody puts something else in its place, as gevent does."""
    cdef Worker *worker = <Worker *>calloc(1, sizeof(Worker))
    if worker == NULL:
        raise MemoryError()
    worker.acquired, worker.wake, worker.ended = True, PyThread_allocate_lock(), PyThread_allocate_lock()
    if worker.wake == NULL or worker.ended == NULL:
        discard(worker)
        raise MemoryError()
    PyThread_acquire_lock(worker.wake, WAIT_LOCK)
    PyThread_acquire_lock(worker.ended, WAIT_LOCK)
    if PyThread_start_new_thread(worker_loop, worker) == <unsigned long>-1:  # its name is not in the stable ABI
        discard(worker)
        return NULL
    while True:
        worker.next = <Worker *>s_load_pointer(&newest)
        if s_replace_pointer(&newest, worker.next, worker):
            return worker


cdef void discard(Worker *worker) noexcept:
    """One that no thread knows."""
    if worker.wake != NULL:
        PyThread_free_lock(worker.wake)
    if worker.ended != NULL:
        PyThread_free_lock(worker.ended)
    free(worker)


cdef void submit(Worker *worker, RunState *run_state) noexcept nogil:
    worker.run_state = run_state
    s_exchange(&worker.core, s_core())
    fegetenv(&worker.environment)
    if s_exchange(&worker.state, SUBMITTED) == ASLEEP:
        PyThread_release_lock(worker.wake)


cdef bint cancel(Worker *worker) noexcept nogil:
    """Whether its course had not been begun, and now will not be."""
    return s_replace(&worker.state, SUBMITTED, IDLE)


cdef bint has_ended(Worker *worker) noexcept nogil:
    """Whether its course ends soon; False, too, if a signal comes."""
    if not worker.end_expected:
        worker.end_expected = not changes_soon(&worker.state, BUSY, &worker.vain_waits_of_owner) and s_replace(&worker.state, BUSY, AWAITED)
    if worker.end_expected:
        worker.end_expected = PyThread_acquire_lock_timed(worker.ended, SLICE, True) != PY_LOCK_ACQUIRED
    return not worker.end_expected


cdef int wait(Worker *worker) except -1:
    """Returns when its course has ended. Ctrl-C may end the waiting before."""
    cdef bint ended = False
    while not ended:
        with nogil:
            ended = has_ended(worker)
        if not ended:
            PyErr_CheckSignals()
        if s_load(&worker.state) == LOST:
            raise RuntimeError("Graph: was forked in the middle of a call, which the new process cannot complete")
    return 0


cdef void release(Worker *worker) noexcept:
    """Hires it no longer. Nobody is at its course when this returns, whatever signals come."""
    with nogil:
        cancel(worker)
        while s_load(&worker.state) in (BUSY, AWAITED) or worker.end_expected and s_load(&worker.state) != LOST:
            has_ended(worker)
    s_exchange(&worker.acquired, False)


def run_together(list runs):
    """Completes the first run in this thread, and the others, at the same time, wherever there is time.

    Whatever ends it, nobody is at work on any of them afterwards. Compiled, since no signal is heard between its lines.
    """
    cdef Py_ssize_t count = len(runs), i
    cdef Worker **workers = <Worker **>calloc(count, sizeof(Worker *))
    cdef Run run
    if workers == NULL:
        raise MemoryError()
    try:
        for i in range(1, count):
            workers[i] = acquire()
            if workers[i] == NULL:
                break
            run = runs[i]
            submit(workers[i], &run.state)
        for i in range(count):
            if workers[i] == NULL or cancel(workers[i]):
                run = runs[i]
                run.finish()
        for i in range(count):
            if workers[i] != NULL:
                wait(workers[i])
        for run in runs:
            run.check()
    except BaseException:
        for run in runs:
            run.stop()
        raise
    finally:
        for i in range(count):
            if workers[i] != NULL:
                release(workers[i])
        free(workers)


def renew():
    """In a child process, after a fork, which has none of its parent's threads."""
    global newest
    cdef Worker *worker = <Worker *>newest
    while worker != NULL:
        if s_load(&worker.state) in (BUSY, AWAITED):
            s_exchange(&worker.state, LOST)
        worker = worker.next
    newest = NULL
