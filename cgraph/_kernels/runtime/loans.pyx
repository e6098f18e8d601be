"""Loans: arrays that nodes hand out, which are counted as long as they live, and the mirrors of these arrays.

A parameter of a node, or its gradient sum, may be an array that mirrors elements of a Graph's arena. The arena's
elements count, but users read and write the array. So a call of the Graph first copies each array to the arena that was
handed out since the last call, and at its end copies each one back of which a view still lives. Nothing runs when a
view dies: the next call reads the counts. This module copies elements as bits, and knows no dtype.

The base of each view is a Loan of its own. A `memoryview` would not do, since NumPy looks through it, nor a weak
reference to one view, since two threads may be handed out two of them.
"""
from cpython.buffer cimport PyObject_GetBuffer
from libc.stdint cimport int32_t, int64_t

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
    mirrors : tuple
        Weak references to the mirrors of the array, one for each Graph that has one.
    """

    cdef s_state _looks, _live
    cdef public tuple mirrors

    def __cinit__(self):
        self.mirrors = ()

    @property
    def looks(self):
        return s_load(&self._looks)

    @property
    def live(self):
        return s_load(&self._live)

    cpdef int refresh(self) except -1:
        """Brings the array up to date."""
        cdef Mirror mirror
        for reference in self.mirrors:
            mirror = reference()
            if mirror is not None:
                mirror.refresh()
        return 0

    def touch(self):
        """Brings the array up to date, and counts as if a view of it had been handed out and given back."""
        self.refresh()
        self.count_look()

    cdef int count_look(self, Mirror writer=None) except -1:
        """Counts a look, so that each Graph with a mirror reads the array before its next call, but that of `writer`.
        """
        cdef Mirror mirror
        s_add(&self._looks, 1)
        for reference in self.mirrors:
            mirror = reference()
            if mirror is not None and mirror is not writer:
                mirror.is_older |= writer is not None
                s_add(&mirror.side._looks, 1)
        return 0


cdef class Loan:
    """The base of one view of an array, and of all views made of that view; exports the buffer of the array."""
    cdef Account account
    cdef object array

    def __cinit__(self, Account account, array):
        """Brings the array up to date, and counts the view."""
        self.account, self.array = account, array
        account.refresh()
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


include "runtime/mirrors.pxi"


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
        self.arrays, self.owners, self.may_share_memory, self.others = [], [], may_share_memory, others
        self.array_class = type(arrays[0])
        for array in arrays:
            self.add(array)

    def add(self, array):
        """Adds an array of the arena."""
        self.arrays.append(array)
        self.owners.append(array if array.base is None else array.base)

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
