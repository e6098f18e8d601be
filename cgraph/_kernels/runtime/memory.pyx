"""Memory: the arena of a Graph as steps see it, which one call at a time holds."""
from functools import wraps

from cgraph._kernels.runtime.atomics cimport s_exchange, s_load, s_replace, s_state
from cgraph._kernels.runtime.uninterrupted cimport complete

cdef long generation = 0    # forks up to this process: a call that the parent was in does not run in the child


def renew():
    """Frees all memories in a child process after a fork, since no call of the parent goes on there."""
    global generation
    generation += 1


cdef bint take(s_state *hold) noexcept:
    """Takes a hold, unless a call of this process has it; returns whether it is taken now.

    A test and set in one exchange: without the GIL, two threads may be here. A hold of another generation is void.
    """
    cdef s_state before = s_load(hold), now = 1 + generation
    return before != now and s_replace(hold, before, now)


cdef bint is_taken(s_state *hold) noexcept:
    """Returns whether a call of this process has a hold."""
    return s_load(hold) == 1 + generation


cdef void leave(s_state *hold) noexcept:
    """Gives a hold back."""
    s_exchange(hold, 0)


def address(array):
    """Returns the address of an array's first element."""
    return array.__array_interface__["data"][0]


cdef class Memory:
    """An arena: the addresses of its arrays, which the owner of this object keeps alive, and the context of a pass."""

    def __init__(self, size_t data, size_t grad, size_t parameters, size_t parameter_grads, size_t scratch):
        self.context.data, self.context.grad = <char *>data, <char *>grad
        self.context.parameters, self.context.parameter_grads = <char *>parameters, <char *>parameter_grads
        self.context.scratch = <char *>scratch

    @property
    def grads_are_zero(self):
        """Whether the gradient sums count as 0, whatever they hold."""
        return self.grads_state.grads_are_zero

    @grads_are_zero.setter
    def grads_are_zero(self, bint value):
        self.grads_state.grads_are_zero = value
        if value:
            self.grads_state.samples = 0

    @property
    def samples(self):
        """The number of samples whose gradients have been added to the sums since the last update."""
        return self.grads_state.samples

    @samples.setter
    def samples(self, Py_ssize_t value):
        self.grads_state.samples = value

    @property
    def counted(self):
        """The samples of the running call that count."""
        return self.grads_state.counted

    @counted.setter
    def counted(self, Py_ssize_t value):
        self.grads_state.counted = value

    def accumulated(self, Py_ssize_t count):
        """Notes that the gradient sums hold those of the samples of the running call."""
        self.grads_state.grads_are_zero, self.grads_state.counted = False, count

    @property
    def updating(self):
        """Whether an update has begun and has not ended."""
        return self.grads_state.updating

    @property
    def busy(self):
        """Whether a call of `exclusively` holds this memory."""
        return is_taken(&self.held)

    def move_parameters(self, size_t parameters, size_t parameter_grads):
        """Exchanges the addresses of the parameters and of their gradient sums."""
        self.context.parameters, self.context.parameter_grads = <char *>parameters, <char *>parameter_grads


def exclusive(method):
    """Decorates a method of a Graph: only one runs at a time, and the graph's executable completes each call.

    This function is compiled, so no signal is heard between two of its lines.
    """
    cdef str owner = f"Graph.{method.__name__}"

    @wraps(method)
    def guarded(graph, *arguments, **named):
        executable = graph._executable
        return exclusively(executable.memory, owner, executable.complete, method, (graph, *arguments), named)

    return guarded


cpdef object exclusively(Memory memory, str owner, finish, function, tuple arguments, dict named):
    """Calls a function with the memory held, so that a second such call is refused, and then `finish` in any case.

    A signal that interrupts `finish` makes it be called again.
    """
    if not take(&memory.held):
        raise RuntimeError(f"{owner}: is already running, in another thread or in a node's own method")
    memory.context.failed = memory.grads_state.updating = False
    try:
        return function(*arguments, **named)
    finally:
        try:
            complete(finish)
        finally:
            leave(&memory.held)
