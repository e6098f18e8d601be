"""Thread pool: worker threads that run shares of a batch. A worker never holds the GIL nor touches a Python object.

To wake a sleeping thread takes longer than a small batch. A waiting thread therefore spins for a while before it
sleeps. A share that no worker has begun when the calling thread has finished its own is cancelled, and the calling
thread runs that share, too. The words are those of pthreadpool: a call acquires workers, submits a share to each,
waits, and releases them.
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

cdef extern from *:     # functions that Cython's own declarations lack, or have with other types
    unsigned long PyThread_start_new_thread(void (*function)(void *) noexcept nogil, void *argument) noexcept
    int PyThread_acquire_lock_timed(PyThread_type_lock lock, long long microseconds, int interruptible) noexcept nogil

cdef extern from "<fenv.h>" nogil:
    ctypedef struct fenv_t:
        pass
    int fegetenv(fenv_t *environment) noexcept
    int fesetenv(const fenv_t *environment) noexcept

cdef enum:
    SPIN = 500_000      # nanoseconds of spinning before sleep: more than the Python between two calls takes
    CHECKS = 32         # loads of the state between two readings of the clock
    MAX_FAILURES = 2    # after that many failed spins in a row, waits sleep at once,
    RETRY = 16          # until that many waits have passed, and a wait spins again
    SLICE = 50_000      # microseconds of sleep between two checks for Ctrl-C, on systems where signals wake no sleeper

cdef enum State:
    IDLE
    ASLEEP      # idle, and the worker waits for the lock `wake`
    SUBMITTED   # a share is there, which the worker may begin or the caller cancel
    BUSY        # the worker has begun the share
    AWAITED     # the worker has begun the share, and the caller waits for the lock `ended`
    LOST        # the share was begun in the parent of this process, before the fork


# A thread of the pool. A Worker belongs to the process: its memory is never freed once the thread has been started.
cdef struct Worker:
    s_state state
    s_state acquired            # a call has acquired the worker
    RunState *run_state         # the share
    s_state core                # the core on which the caller ran when it submitted the share
    fenv_t environment          # the caller's floating-point environment: rounding mode, flush-to-zero
    PyThread_type_lock wake     # released once for each sleep of the worker
    PyThread_type_lock ended    # released once for each share whose state was AWAITED
    int failed_spins            # of the worker: waits in a row that saw no share, modulo RETRY
    int caller_failed_spins     # of the caller: waits in a row that saw no end of a share, modulo RETRY
    bint release_pending        # the lock `ended` will be released, or has been, and the caller has not taken it yet
    Worker *next


cdef void *newest = NULL    # Worker: the head of the list of all workers of this process


cdef bint spin(s_state *state, s_state now, int *failed_spins) noexcept nogil:
    """Spins until the state differs from `now`, or SPIN has passed; returns whether the state differs.

    A thread that spins in vain may keep the other threads from their core, so it spins less often afterwards.
    """
    cdef int64_t start = s_nanoseconds()
    cdef int _check
    while failed_spins[0] < MAX_FAILURES and s_nanoseconds() - start < SPIN:
        for _check in range(CHECKS):
            if s_load(state) != now:
                failed_spins[0] = 0
                return True
            s_pause()
    failed_spins[0] = (failed_spins[0] + 1) % RETRY
    return s_load(state) != now


# The worker's side

cdef void worker_loop(void *address) noexcept nogil:
    """Runs the shares that are submitted to a worker, until the process ends."""
    cdef Worker *worker = <Worker *>address
    cdef bint slept, begun
    cdef s_state core
    while True:
        slept = not spin(&worker.state, IDLE, &worker.failed_spins) and s_replace(&worker.state, IDLE, ASLEEP)
        if slept:
            PyThread_acquire_lock(worker.wake, WAIT_LOCK)
        begun = s_replace(&worker.state, SUBMITTED, BUSY)
        core = s_load(&worker.core)     # an atomic load: after a cancelled share the next one may be being submitted
        if slept and s_core() == core:  # on that core, the worker would keep the caller from its own share
            s_leave(<int>core)
        if begun:
            fesetenv(&worker.environment)
            advance(worker.run_state, worker.run_state.samples)
            if s_exchange(&worker.state, IDLE) == AWAITED:
                PyThread_release_lock(worker.ended)


# The caller's side

cdef Worker *acquire() except? NULL:
    """Returns a worker that no other call has acquired.

    The result is NULL if no thread can be started, as at the end of the interpreter.
    """
    cdef Worker *worker = <Worker *>s_load_pointer(&newest)
    while worker != NULL and not s_replace(&worker.acquired, False, True):
        worker = worker.next
    return worker if worker != NULL else start()


cdef Worker *start() except? NULL:
    """Starts a thread, acquired. It is not a thread of the module `threading`, since it runs no Python, and gevent
    replaces those threads by its own."""
    cdef Worker *worker = <Worker *>calloc(1, sizeof(Worker))
    if worker == NULL:
        raise MemoryError()
    worker.acquired, worker.wake, worker.ended = True, PyThread_allocate_lock(), PyThread_allocate_lock()
    if worker.wake == NULL or worker.ended == NULL:
        discard(worker)
        raise MemoryError()
    PyThread_acquire_lock(worker.wake, WAIT_LOCK)
    PyThread_acquire_lock(worker.ended, WAIT_LOCK)
    if PyThread_start_new_thread(worker_loop, worker) == <unsigned long>-1:  # no name for -1 in the stable ABI
        discard(worker)
        return NULL
    while True:
        worker.next = <Worker *>s_load_pointer(&newest)
        if s_replace_pointer(&newest, worker.next, worker):
            return worker


cdef void discard(Worker *worker) noexcept:
    """Frees a worker whose thread was not started."""
    if worker.wake != NULL:
        PyThread_free_lock(worker.wake)
    if worker.ended != NULL:
        PyThread_free_lock(worker.ended)
    free(worker)


cdef void submit(Worker *worker, RunState *run_state) noexcept nogil:
    """Hands a share to an acquired worker, and wakes the worker if it sleeps."""
    worker.run_state = run_state
    s_exchange(&worker.core, s_core())
    fegetenv(&worker.environment)
    if s_exchange(&worker.state, SUBMITTED) == ASLEEP:
        PyThread_release_lock(worker.wake)


cdef bint cancel(Worker *worker) noexcept nogil:
    """Takes back a share that the worker has not begun; returns whether the share was taken back."""
    return s_replace(&worker.state, SUBMITTED, IDLE)


cdef bint has_ended(Worker *worker) noexcept nogil:
    """Waits for the end of the worker's share, SLICE at most; returns whether the share has ended.

    A signal may end the wait before; then the result is False.
    """
    if not worker.release_pending:
        worker.release_pending = not spin(&worker.state, BUSY, &worker.caller_failed_spins) and s_replace(
            &worker.state, BUSY, AWAITED
        )
    if worker.release_pending:
        worker.release_pending = PyThread_acquire_lock_timed(worker.ended, SLICE, True) != PY_LOCK_ACQUIRED
    return not worker.release_pending


cdef int wait(Worker *worker) except -1:
    """Returns when the worker's share has ended. Ctrl-C raises before that."""
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
    """Gives the worker back to the pool, once its share is cancelled or has ended, whatever signals come meanwhile."""
    with nogil:
        cancel(worker)
        while s_load(&worker.state) in (BUSY, AWAITED) or worker.release_pending and s_load(&worker.state) != LOST:
            has_ended(worker)
    s_exchange(&worker.acquired, False)


def run_together(list runs):
    """Completes the first run in this thread, and each of the others in a worker, or here if no worker begins it.

    No thread works on any of the runs after the call, whether it returns or raises. The function is compiled, so no
    signal is heard between two of its lines.
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
    """Empties the pool in a child process after a fork, since none of the parent's threads run there."""
    global newest
    cdef Worker *worker = <Worker *>newest
    while worker != NULL:
        if s_load(&worker.state) in (BUSY, AWAITED):
            s_exchange(&worker.state, LOST)
        worker = worker.next
    newest = NULL
