"""Step: the base class of what a Graph runs, one for a node or for a group of nodes."""


cdef class Step:
    cdef void forward(self, Arena *arena) noexcept nogil:
        """Overwrites its outputs' data."""

    cdef void backward(self, Arena *arena) noexcept nogil:
        """Adds to its inputs' gradients, or overwrites them; and to the gradient sums of what learns."""
