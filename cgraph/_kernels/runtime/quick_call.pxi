# What plan.pyx runs of calls with one sample that are made again and again.
from cgraph._kernels.runtime.memory cimport leave, take
from cgraph._kernels.runtime.request cimport Row, put
from cgraph._kernels.runtime.uninterrupted cimport Component, complete


cdef class QuickCall:
    """A call with one sample which, as long as nothing unusual is the case, runs in compiled code alone.

    It then does what `Executable.learn` or `Executable.compute` do, with what stands before and behind them, for a
    graph without Dropout and without steps in Python, whose sample passes through the nodes' own arrays. No signal is
    heard from the beginning of its run to the end.

    Parameters
    ----------
    careful : CarefulCall
        Makes the call in any case, and knows a run for later ones.
    executable : Executable
        It has one output.
    rows : list of Row
        The sample that is fed.
    remembered : RememberedFeed
        The feed, for `Graph.sample`.
    learns : bool
        Whether the call updates parameters.
    gradients : str
        What gradients the nodes hold afterwards.
    node : Node
        The node that is computed last: the output of the graph if `learns`.
    optimizer : Optimizer or None
        The rule of the updates; None for a learning rate.
    """

    cdef object careful, optimizer, executable, residency, remembered, gradients, begin_if_settled, end, output, freezes
    cdef bint learns, computes_output
    cdef Memory memory
    cdef list rows
    cdef object array_class
    cdef Run run
    cdef Steps steps

    def __init__(
        self, careful, executable, list rows not None, tuple remembered, bint learns, str gradients, node, optimizer
    ):
        self.careful, self.optimizer = careful, optimizer
        self.executable, self.rows, self.remembered, self.learns = executable, rows, remembered, learns
        self.memory, self.residency, self.gradients = executable.memory, executable.residency, gradients
        self.begin_if_settled, self.end = self.residency.sides.begin_if_settled, self.residency.sides.end
        self.output, self.array_class = executable.program.outputs[0], executable.written.array_class
        self.computes_output = node is self.output

    def __call__(self, str owner, tuple values, Row result not None, count=None):
        """Makes the call for these values, and returns a copy of what a row holds then.

        `count` is called at the end, with no arguments.
        """
        if self.run is not None and take(&self.memory.held):
            try:
                if self.begin(values):
                    self.compute()
                    if count is not None:
                        count()
                    return result.value()
            finally:
                leave(&self.memory.held)
        found = self.careful(owner, values, result, count)
        self.run, self.steps, self.freezes = self.careful.prepared
        return found

    cdef bint begin(self, tuple values) except -1:
        """Begins the call, if nothing is unusual; returns whether it has."""
        residency = self.residency
        freezes = self.freezes
        return (
            residency.freezes is freezes and self.executable._freezes is freezes
            and residency.learners is None and not residency.stale
            and not (<Component>self.output._component).root().forward
            and put(self.rows, values, self.array_class)
            and (self.optimizer is None or self.executable.optimizing.steps(self.optimizer, 1) is self.steps)
            and self.begin_if_settled()
        )

    cdef int compute(self) except -1:
        """Runs the sample, from the moment when arrays have been read to that when they are up to date."""
        residency, output = self.residency, self.output
        cdef Memory memory = self.memory
        cdef Run run = self.run     # which another thread may exchange meanwhile
        memory.context.failed = memory.grads_state.updating = False
        memory.grads_state.counted = 0
        self.executable.last_feed = self.remembered
        residency.backward_may_follow = output._has_run = False
        residency.has_computed = True
        residency.gradients = "running"
        try:
            run_again(run, memory.grads_state.grads_are_zero)
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
