"""Loans: arrays that nodes hand out, which are counted as long as they live, and the mirrors of these arrays.

A parameter of a node, or its gradient sum, may be an array that mirrors elements of a Graph's arena. The arena's
elements count, but users read and write the array. So a call of the Graph first copies each array to the arena that was
handed out since the last call, and at its end copies each one back of which a view still lives. Nothing runs when a
view dies: the next call reads the counts. This module copies elements as bits, and knows no dtype.

The base of each view is a Loan of its own. A `memoryview` would not do, since NumPy looks through it, nor a weak
reference to one view, since two threads may be handed out two of them.
"""
from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int32_t, int64_t
from libc.string cimport memcmp, memcpy, memset

from cgraph._kernels.runtime.atomics cimport s_add, s_load, s_state
from cgraph._kernels.runtime.memory cimport Memory

ctypedef fused Bits:
    int32_t
    int64_t


cdef class Account:
    """The loans of one array of a node.

    Attributes
    ----------
    looks : int
        The number of views that have ever been handed out.
    live : int
        The number of views that are still referred to.
    mirror : Mirror or None
        The mirror of the array, where a Graph has one.
    """

    cdef s_state _looks, _live
    cdef public Mirror mirror

    @property
    def looks(self):
        return s_load(&self._looks)

    @property
    def live(self):
        return s_load(&self._live)

    def touch(self):
        """Brings the array up to date, and counts as if a view of it had been handed out and given back."""
        if self.mirror is not None:
            self.mirror.refresh()
        self.count_look()

    cdef void count_look(self) noexcept:
        s_add(&self._looks, 1)
        if self.mirror is not None:
            s_add(&self.mirror.side._looks, 1)


cdef class Loan:
    """The base of one view of an array, and of all views made of that view; exports the buffer of the array."""
    cdef Account account
    cdef object array

    def __cinit__(self, Account account, array):
        """Brings the array up to date, and counts the view."""
        self.account, self.array = account, array
        if account.mirror is not None:
            account.mirror.refresh()
        s_add(&account._live, 1)
        account.count_look()

    def __dealloc__(self):
        s_add(&self.account._live, -1)

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        PyObject_GetBuffer(self.array, buffer, flags)


cdef class Side:
    """The state that the mirrors of one sort in one arena share: those of parameters, or of gradient sums.

    Attributes
    ----------
    looks : int
        The number of views of these arrays that have ever been handed out.
    period : int
        The number of the period between two moments at which the arena's elements may have changed.
    running : bool
        Whether a call is running, at whose end all arrays that were handed out are brought up to date.
    """

    cdef s_state _looks
    cdef public long period
    cdef public bint running
    cdef Memory memory      # of gradient sums, else None

    def __cinit__(self, Memory memory=None):
        self.memory = memory

    @property
    def looks(self):
        return s_load(&self._looks)


cdef class Sides:
    """Both sides of an arena, and the loans with which its calls have reckoned.

    A call reads the arrays that are lent, calls `begin`, computes, calls `end`, and brings the arrays that are lent up
    to date. Where the sides `are_settled` there is nothing to read, and where `end` returns False nothing to write.

    Attributes
    ----------
    values, sums : Side
        The side of the parameters and that of the gradient sums.
    """

    cdef readonly Side values, sums
    cdef s_state seen_values, seen_sums     # the looks with which a call has reckoned
    cdef bint lent      # whether arrays were lent then; at first True, since some may have been handed out before
    cdef bint begun     # whether the running call has read the arrays, so that its results may overwrite them

    def __cinit__(self, Memory memory not None):
        self.values, self.sums, self.lent = Side(), Side(memory), True

    @property
    def looks(self):
        return self.values.looks, self.sums.looks

    def reckon(self, s_state values, s_state sums, bint lent):
        """Notes the looks with which a call has reckoned, and whether arrays are lent."""
        self.seen_values, self.seen_sums, self.lent, self.begun = values, sums, lent, False

    cpdef bint are_settled(self):
        """Returns whether no array was lent at the last reckoning, nor has been handed out since."""
        return not self.lent and (
            s_load(&self.values._looks) == self.seen_values and s_load(&self.sums._looks) == self.seen_sums
        )

    cpdef void begin(self) noexcept:
        """Begins the time in which the elements of the arena may change, once all arrays that are lent have been read.

        After an exception before that, the next call reads the arrays again.
        """
        self.turn()
        self.begun = self.values.running = self.sums.running = True

    def begin_if_settled(self):
        """Begins that time if the sides are settled, and returns whether they are."""
        if not self.are_settled():
            return False
        self.begin()
        return True

    def end(self):
        """Ends that time; returns whether arrays have to be brought up to date, after which `reckon` must be called."""
        # First, so that an array that is handed out from now on is brought up to date at once.
        self.values.running = self.sums.running = False
        if not self.begun:
            return False
        self.turn()
        self.begun = not self.are_settled()
        return self.begun

    cdef void turn(self) noexcept:
        self.values.period += 1
        self.sums.period += 1


cdef class Mirror:
    """An array of a node, and the elements of an arena that it mirrors.

    Attributes
    ----------
    account : Account
        The loans of the array.
    in_place : bool
        Whether the array is a view of the arena, so that there is nothing to copy.
    frozen : bool
        Whether no call changes the array, whatever stands in the arena.
    """

    cdef readonly Account account
    cdef readonly bint in_place
    cdef public bint frozen
    cdef Side side
    cdef object array, arena, offsets       # keep alive the memory that the addresses below lie in
    cdef char *own
    cdef char *elements
    cdef const Py_ssize_t *offset           # of each element in the arena
    cdef Py_ssize_t count, item
    cdef s_state seen                       # the looks that a call has reckoned with
    cdef long period                        # that in which the array is up to date

    def __init__(self, Side side, Account account, array, arena=None, const Py_ssize_t[::1] offsets=None):
        """array: contiguous; offsets: of its elements in `arena`; None where the array is a view of the arena."""
        self.side, self.account, self.array, self.arena, self.offsets = side, account, array, arena, offsets
        self.in_place = arena is None
        self.count, self.item = array.size, array.itemsize
        self.own = <char *><size_t>array.__array_interface__["data"][0]
        self.period, self.seen = side.period, self.reckoned()
        if not self.in_place:
            self.elements = <char *><size_t>arena.__array_interface__["data"][0]
            self.offset = &offsets[0]

    cdef s_state reckoned(self) noexcept:
        """Returns the looks with which a copy that follows has reckoned.

        Where a view lives, users may write into it after the copy and drop it, so that the array stays lent until then.
        """
        cdef s_state looks = s_load(&self.account._looks)
        return looks - 1 if s_load(&self.account._live) > 0 else looks

    @property
    def is_lent(self):
        """Whether the array has been handed out since a call reckoned with it, or a view of it lives."""
        return s_load(&self.account._looks) != self.seen or s_load(&self.account._live) > 0

    cpdef void refresh(self) noexcept:
        """Brings the array up to date, unless it is so already, or users may have written into it since then."""
        cdef Memory sums = self.side.memory
        if self.frozen or self.period == self.side.period:
            return
        # A running call may be writing into the arena.
        if sums is not None and sums.grads_state.grads_are_zero and not (self.in_place and self.side.running):
            memset(self.own, 0, self.count * self.item)
        else:
            self.copy(False)
        self.period = self.side.period

    cdef void copy(self, bint to_arena) noexcept:
        """Copies the array to the arena, or back."""
        if self.in_place:
            return
        if self.item == 4:
            copy_bits[int32_t](<int32_t *>self.own, <int32_t *>self.elements, self.offset, self.count, to_arena)
        else:
            copy_bits[int64_t](<int64_t *>self.own, <int64_t *>self.elements, self.offset, self.count, to_arena)

    cdef bint is_zero(self) noexcept:
        """Returns whether all bytes of the array are 0."""
        return all_zero(self.own, self.count * self.item)


cdef bint all_zero(const char *data, Py_ssize_t size) noexcept nogil:
    """Returns whether all bytes are 0."""
    return size == 0 or data[0] == 0 and memcmp(data, data + 1, size - 1) == 0


cdef void copy_bits(
    Bits *array, Bits *arena, const Py_ssize_t *offset, Py_ssize_t count, bint to_arena
) noexcept nogil:
    """Copies the elements of an array to their offsets in an arena, or back."""
    cdef Py_ssize_t i
    if to_arena:
        for i in range(count):
            arena[offset[i]] = array[i]
    else:
        for i in range(count):
            array[i] = arena[offset[i]]


def lent(list mirrors):
    """Returns the mirrors whose arrays are lent."""
    return [mirror for mirror in mirrors if mirror.is_lent]


def read_arrays(list mirrors):
    """Copies arrays to the arena. No signal is heard between the copies, nor before they count as reckoned with."""
    cdef Mirror mirror
    cdef s_state seen
    for mirror in mirrors:
        seen = mirror.reckoned()
        mirror.copy(True)
        mirror.seen = seen


def write_arrays(list mirrors):
    """Brings arrays up to date, as `refresh` does, whatever users have written into them."""
    cdef Mirror mirror
    cdef s_state seen
    for mirror in mirrors:
        seen = mirror.reckoned()
        mirror.period = mirror.side.period - 1
        mirror.refresh()
        mirror.seen = seen


def are_zero(list mirrors):
    """Returns whether all elements of all arrays are 0."""
    cdef Mirror mirror
    for mirror in mirrors:
        if not mirror.is_zero():
            return False
    return True


def is_zero(array):
    """Returns whether all bytes of an array are 0."""
    cdef Py_buffer view
    PyObject_GetBuffer(array, &view, PyBUF_SIMPLE)
    cdef bint zero = all_zero(<const char *>view.buf, view.len)
    PyBuffer_Release(&view)
    return zero


def clear_around(list mirrors, region):
    """Sets all bytes of an arena's region to 0, and then copies arrays there. No signal is heard in between."""
    cdef Mirror mirror
    cdef Py_buffer view
    cdef list kept = [bytes(mirror.array) if mirror.in_place else None for mirror in mirrors]
    cdef bytes content
    PyObject_GetBuffer(region, &view, PyBUF_WRITABLE)
    memset(view.buf, 0, view.len)
    PyBuffer_Release(&view)
    for mirror, content in zip(mirrors, kept):
        if content is not None:
            memcpy(mirror.own, <const char *>content, len(content))
    read_arrays(mirrors)


cdef class Written:
    """The memory to which calls of a Graph write.

    Parameters
    ----------
    arrays : list of ndarray
        The arrays of the arena whose views are arrays of nodes.
    may_share_memory : callable
        That of NumPy.
    others : callable or None
        Returns the arrays beside these to which the methods of nodes in Python may write.
    """

    def __init__(self, list arrays, may_share_memory, others=None):
        self.arrays, self.may_share_memory, self.others = arrays, may_share_memory, others
        self.owners = [array if array.base is None else array.base for array in arrays]
        self.array_class = type(arrays[0])

    cpdef bint holds(self, array) except -1:
        """Returns whether an array may share memory with an array of a node, or is a view that was handed out."""
        base = array.base
        if base is None:    # the array owns its memory, so it is no view of another one
            return False
        while type(base) is self.array_class and base.base is not None:
            base = base.base
        if type(base) is self.array_class:  # `base` owns the memory
            return contains(self.owners, base)
        return type(base) is Loan or self.overlaps(array, self.arrays)

    cpdef bint may_include(self, array) except -1:
        """Returns whether a call may write to an array, be it one that a node in Python declares."""
        return self.holds(array) or self.others is not None and self.overlaps(array, self.others())

    cdef bint overlaps(self, array, list arrays) except -1:
        """Returns whether an array may share memory with one of a list."""
        for other in arrays:
            if self.may_share_memory(array, other):
                return True
        return False


cdef bint contains(list objects, wanted) noexcept:
    """Returns whether an object is one of a list."""
    for each in objects:
        if each is wanted:
            return True
    return False
