# What plan.pyx remembers of requests: how those of one sort are computed, and by which bindings.

cdef class Binding:
    """A request made ready for one thread: steps that take `lanes` samples at a time, the thread's memory, and ports.

    feed_ports: one for each array that is fed, seeds last; fetch_ports: one for each array of results.
    kept: for each leaf that is not fed, its port and the offset of its data in the memory `origin`, in bytes.
    carry: the step that moves the data of carried nodes to their leaves after each sample; None for no carry.
    state_ports: of the carried leaves, through which the states of streams enter and leave the memory.
    """

    def __init__(
        self, Steps steps, Memory memory, Py_ssize_t lanes, list feed_ports, list fetch_ports, list kept,
        Memory origin, CarryStep carry=None, list state_ports=None
    ):
        self.steps, self.memory, self.lanes = steps, memory, lanes
        self.feed_ports, self.fetch_ports, self.kept, self.origin = feed_ports, fetch_ports, kept, origin
        self.carry, self.state_ports = carry, state_ports

    def around(self, Step step not None):
        """Returns a binding of one step, which runs the steps of this one."""
        cdef Steps steps = Steps([step])
        return Binding(steps, self.memory, self.lanes, self.feed_ports, self.fetch_ports, self.kept, self.origin)

    cdef int begin(self, bint parameters_only, double eta) except -1:
        """Sets the flags of the context, and copies the data of leaves that are not fed, before the first sample."""
        cdef Context *context = &self.memory.context
        cdef Port port
        cdef Py_ssize_t offset
        context.parameters_only, context.eta = parameters_only, eta
        context.apart = context.failed = False
        for port, offset in self.kept:
            port.broadcast(context, self.origin.context.data + offset)
        return 0


cdef class Schedule:
    """How requests of one sort are computed, which is remembered, since most calls are like the one before.

    Requests are of one sort if they ask for the same but for samples, results and eta.

    Parameters
    ----------
    bindings : list of Binding
        All have the same parameters and gradient sums. The first one takes most samples at a time. The list is empty
        where several threads share the samples.
    choice : bytes
        The number of the binding that takes the next samples, for each number of samples that are left until the next
        update; the last one counts for all larger numbers.
    patience : int
        A thread that completes a run listens to Ctrl-C after each so many samples.
    one_by_one : bool
        Whether all samples pass through the nodes' own arrays.
    is_uninterrupted : bool
        Whether no exception can end the run halfway: one thread computes, and checks for no signal.
    span : int
        Of streams, the time steps from one moment at which the states of all streams count to the next.
    """

    def __init__(
        self, Request request not None, list bindings, bytes choice not None, Py_ssize_t patience,
        bint one_by_one=False, bint is_uninterrupted=False, Py_ssize_t span=1
    ):
        if len(bindings) > MAX_BINDINGS or not choice or max(choice) >= max(len(bindings), 1):
            raise ValueError(f"Schedule: no choice among {len(bindings)} bindings, up to {MAX_BINDINGS}, got {choice}")
        self.bindings, self.choice, self.patience = bindings, choice, patience
        self.one_by_one, self.is_uninterrupted = one_by_one, is_uninterrupted
        self.node, self.leaves, self.size = request.node, request.feeds.leaves, request.size
        self.batch, self.backward, self.extras = request.batch, request.backward, request.extras
        self.carry, self.span = request.carry, span

    cdef bint serves(self, Request request) noexcept:
        """Returns whether a request is of the sort that this schedule was made for."""
        cdef list leaves = request.feeds.leaves
        cdef Py_ssize_t i
        if self.node is not request.node or self.size != request.size or self.batch != request.batch:
            return False
        if self.backward != request.backward or self.carry is not request.carry or len(self.leaves) != len(leaves):
            return False
        for i in range(len(leaves)):
            if self.leaves[i] is not leaves[i]:
                return False
        return self.extras is request.extras or (self.extras is not None and self.extras.is_like(request.extras))


def find(list schedules, Request request not None):
    """Returns the schedule that serves a request, or None."""
    cdef Schedule schedule
    for schedule in schedules:
        if schedule.serves(request):
            return schedule
    return None
