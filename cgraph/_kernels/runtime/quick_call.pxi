# What plan.pyx runs of calls with one sample that are made again and again.

cdef class QuickCall:
    """A call that does what `Executable.learn` or `Executable.compute` do, with what stands before and behind them.

    It is for steps without Python and for graphs without Dropout, of which one sample passes through the nodes' own
    arrays. Between the beginning of its run and the end of the call no signal is heard.

    Parameters
    ----------
    executable : Executable
        It has one output.
    rows : Rows
        The sample that is fed.
    remembered : RememberedFeed
        The feed, for `Graph.sample`.
    learns : bool
        Whether the call updates parameters.
    gradients : str
        What gradients the nodes hold afterwards.
    node : Node
        The node that is computed last: the output of the graph if `learns`.
    """

    cdef object executable, residency, remembered, gradients, begin_if_settled, end, output, freezes
    cdef bint learns, computes_output
    cdef Memory memory
    cdef Rows rows
    cdef Run run
    cdef Steps steps

    def __init__(self, executable, Rows rows not None, tuple remembered, bint learns, str gradients, node):
        self.executable, self.rows, self.remembered, self.learns = executable, rows, remembered, learns
        self.memory, self.residency, self.gradients = executable.memory, executable.residency, gradients
        self.begin_if_settled, self.end = self.residency.sides.begin_if_settled, self.residency.sides.end
        self.output = executable.program.outputs[0]
        self.computes_output = node is self.output

    def prepare(self, Run run, Steps update_steps):
        """Gives a run of the call, and the update for which it was prepared, as long as the same parameters learn."""
        self.run, self.steps, self.freezes = run, update_steps, self.executable._freezes

    def call(self, tuple values, optimizer, Row result not None, count):
        """Makes the call for these values and returns a copy of what a row holds then.

        `count` is called at the end with no arguments, unless it is None. Where something is unusual, nothing changes
        and the result is None.
        """
        if self.run is None or not take(&self.memory.held):
            return None
        try:
            if not self.is_usual() or not self.rows.put(values):
                return None
            if optimizer is not None and self.executable.optimizing.steps(optimizer, 1) is not self.steps:
                return None
            if not self.begin_if_settled():
                return None
            self.compute()
            if count is not None:
                count()
            return result.value()
        finally:
            leave(&self.memory.held)

    cdef bint is_usual(self) except -1:
        """Returns whether the call has to look at nothing but the arrays that were handed out."""
        residency = self.residency
        freezes = self.freezes
        return (
            residency.freezes is freezes and self.executable._freezes is freezes
            and residency.learners is None and not residency.stale
            and not (<Component>self.output._component).root().forward
        )

    cdef int compute(self) except -1:
        """Runs the sample, from the moment when arrays have been read to that when they are up to date."""
        residency, output = self.residency, self.output
        cdef Memory memory = self.memory
        memory.context.failed = memory.grads_state.updating = False
        memory.grads_state.counted = 0
        self.executable.last_feed = self.remembered
        residency.backward_may_follow = output._has_run = False
        residency.has_computed = True
        residency.gradients = "running"
        try:
            run_again(self.run, memory.grads_state.grads_are_zero)
        except BaseException:
            self.executable._is_learning = self.learns
            complete(self.executable.complete)
            raise
        residency.gradients = self.gradients
        output._has_run = self.computes_output
        if self.learns:
            output._backward_passes = 0
        if self.end():
            complete(residency.finish)
        return 0
