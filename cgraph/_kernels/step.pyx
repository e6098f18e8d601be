"""Step: the base class of what a Graph runs, one for a node or for a group of nodes; and the step that calls Python."""


cdef class Step:
    cdef void forward(self, Arena *arena) noexcept nogil:
        """Overwrites its outputs' data."""

    cdef void backward(self, Arena *arena) noexcept nogil:
        """Adds to its inputs' gradients, or overwrites them; and to the gradient sums of what learns."""

    cdef void learn(self, Arena *arena) noexcept nogil:
        """For steps whose parameters do not lie in the arena: values -= eta * sums, then the sums are 0."""


cdef class CallStep(Step):
    """A node that is computed by its own methods. An exception is kept, and ends the pass."""

    def __init__(self, node):
        self.node = node

    cdef void forward(self, Arena *arena) noexcept nogil:
        with gil:
            self.call(arena, "calcData")

    cdef void backward(self, Arena *arena) noexcept nogil:
        with gil:
            self.call(arena, "calcPartialDerivative")

    cdef void learn(self, Arena *arena) noexcept nogil:
        with gil:
            self.call(arena, "updateParameters", (arena.eta,))

    cdef void call(self, Arena *arena, str method, tuple args=()) noexcept:
        try:
            graph = self.node._graph
            graph._hand_over()
            try:
                getattr(self.node, method)(*args)
            finally:
                graph._take_back()
        except BaseException as error:
            self.error = error
            arena.failed = True
