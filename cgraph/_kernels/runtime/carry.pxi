# What plan.pyx runs of samples that follow each other in time: the carry after each sample, and streams side by side.
#
# Design: the state of a graph is what its carried leaves hold. Without streams that is the nodes' own memory, through
# which all samples pass, so nothing is copied but the carry. With streams, arrays hold a row of states for each stream.
# If all streams of a run lie side by side in one block of lanes, their states enter the lanes once and stay there. Else
# each block of streams in turn runs over a span of time steps: its states enter the lanes and leave them once in a
# span, and count when all blocks have got to its end.
from libc.string cimport memcpy

from cgraph._kernels.runtime import structs

cdef CarryCopy carry_copy
cdef CarryCopy[::1] carry_copies = <CarryCopy[:1]>&carry_copy
CARRY_COPY = structs.dtype_of(carry_copies)


cdef class CarryStep(Step):
    """Moves the data of carried nodes to their leaves, all at once, after a sample, whose step `forward` is this.

    copies: array of CarryCopy; item: the size of an element in bytes.
    """

    def __init__(self, copies, Py_ssize_t item):
        self.copies, self.item = structs.checked(CARRY_COPY, copies), item

    cdef void forward(self, Context *context) noexcept nogil:
        cdef const CarryCopy *copy
        cdef Py_ssize_t i
        for i in range(self.copies.shape[0]):
            copy = &self.copies[i]
            if copy.aside >= 0:
                gather(context.data, copy, copy.aside, self.item)
        for i in range(self.copies.shape[0]):
            copy = &self.copies[i]
            if copy.aside < 0:
                gather(context.data, copy, copy.target, self.item)
            else:
                memcpy(
                    context.data + copy.target * self.item, context.data + copy.aside * self.item,
                    copy.count * self.item
                )


cdef inline void gather(char *data, const CarryCopy *copy, Py_ssize_t target, Py_ssize_t item) noexcept nogil:
    """Copies the elements of a carried node to where they follow each other."""
    cdef const char *x = data + copy.source * item
    cdef char *y = data + target * item
    cdef Py_ssize_t i
    if copy.pitch == 1:
        memcpy(y, x, copy.count * item)
        return
    for i in range(copy.count):
        memcpy(y + i * item, x + i * copy.pitch * item, item)


cdef inline void carry(RunState *state, int which) noexcept nogil:
    """Ends a time step of the streams in the memory of a binding."""
    (<Step>state.carry[which]).forward(state.context[which])


cdef void advance_streams(RunState *state, Py_ssize_t most) noexcept nogil:
    """Runs the next time steps of all streams of a run: `most` samples or some more, or fewer if a step or loss fails.

    A batch ends with an update. The states that count are those after the last time step that all streams have
    completed, with its update, or those after some time steps before.
    """
    cdef Py_ssize_t last = min(state.samples - state.sample, most) + state.sample, end
    cdef int whole = state.choice[min(state.width, state.most)], which
    cdef bint stays = state.width <= state.lanes[whole]     # all states lie in one block of lanes
    if stays and state.sample == 0:
        move_states(state, whole, 0, state.width, False)
    while state.sample < last and not has_failed(state):
        if state.batch and state.sample % state.batch == 0:
            begin_batch(state, state.sample)
        end = min(state.sample + state.span * state.stride, state.end)
        which = run_span(state, end, stays)
        if which < 0:
            break
        state.sample = end
        if state.batch and end == state.end:
            update(state, state.context[which])
            if has_failed(state):
                break
        if stays:
            carry(state, which)
        else:
            commit(state)
    if stays:
        move_states(state, whole, 0, state.width, True)
        commit(state)


cdef int run_span(RunState *state, Py_ssize_t end, bint stays) noexcept nogil:
    """Runs all streams up to time step `end`, a sample number, block by block; returns the last binding, -1 on failure.

    If states stay in the lanes, the carry after the last time step is left to the caller.
    """
    cdef Py_ssize_t stream = 0, sample, n
    cdef int which = -1
    while stream < state.width:
        which = state.choice[min(state.width - stream, state.most)]
        n = min(state.width - stream, state.lanes[which])
        if not stays:
            move_states(state, which, stream, n, False)
        sample = state.sample
        while True:
            if not compute(state, which, sample + state.left + stream, n):
                return -1
            sample += state.stride
            if sample >= end:
                break
            carry(state, which)
        if not stays:
            carry(state, which)
            move_states(state, which, stream, n, True)
        stream += n
    return which


cdef void move_states(RunState *state, int which, Py_ssize_t stream, Py_ssize_t n, bint out) noexcept nogil:
    """Copies the states that count of `n` streams into the memory of a binding or, with `out`, the states there out."""
    cdef Stream *rows = state.next if out else state.now
    cdef Py_ssize_t i, nbytes
    cdef char *row
    for i in range(state.carried):
        nbytes = rows[i].nbytes
        row = rows[i].rows + (state.left + stream) * nbytes
        if out:
            (<Port>rows[i].port[which]).fetch(state.context[which], row, n)
        else:
            (<Port>rows[i].port[which]).feed(state.context[which], row, n)


cdef void commit(RunState *state) noexcept nogil:
    """Makes the states count that all streams of this run have written, unless other runs have other streams."""
    cdef Py_ssize_t i, nbytes
    if state.commits:
        for i in range(state.carried):
            nbytes = state.now[i].nbytes
            memcpy(state.now[i].rows, state.next[i].rows, state.stride * nbytes)
