# What loans.pyx knows of mirrors: which elements of an arena an array has, and when either is copied to the other.
from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release
from libc.string cimport memcmp, memcpy, memmove, memset

cimport cython

from cgraph._kernels.runtime.sharing cimport Sharing
from cgraph._kernels.runtime.memory import address
from cgraph._kernels.runtime.uninterrupted import store

cdef object publication = object()  # the lock of copies between arenas and arrays that several Graphs have mirrors of


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
    sharing : Sharing or None
        The nodes that have this array, if they are several.
    members : int
        How many of these nodes belong to the Graph of the arena. Where there are others, the mirror is public: the
        array holds what the last finished call has learnt, be it one of this Graph or of another one.
    """

    cdef object __weakref__
    cdef readonly Account account
    cdef readonly bint in_place
    cdef public bint frozen
    cdef public Sharing sharing
    cdef public Py_ssize_t members
    cdef Side side
    cdef object array, arena                # keep alive the memory that the addresses below lie in
    cdef readonly object offsets            # a memoryview
    cdef char *own
    cdef char *elements
    cdef const Py_ssize_t *offset           # of each element in the arena
    cdef bint is_run                        # whether the elements lie there one behind the other
    cdef Py_ssize_t count, item
    cdef s_state seen                       # the looks that a call has reckoned with
    # Whether another Graph has published into the array since it was last read. Then the arena is older than the array,
    # also once the other Graph is no more.
    cdef bint is_older
    cdef long period                        # that in which the array is up to date

    def __init__(self, Side side, Account account, array, arena=None, const Py_ssize_t[::1] offsets=None):
        """array: contiguous; offsets: of its elements in `arena`; None where the array is a view of the arena."""
        self.side, self.account, self.array = side, account, array
        self.in_place = arena is None
        self.count, self.item = array.size, array.itemsize
        self.own = <char *><size_t>array.__array_interface__["data"][0]
        self.period, self.seen = side.period, self.reckoned()
        if not self.in_place:
            self.move(arena, offsets)

    cdef int move(self, arena, const Py_ssize_t[::1] offsets) except -1:
        """Makes the array one that mirrors elements of an arena at these offsets."""
        self.arena, self.offsets, self.in_place = arena, offsets, False
        self.elements = <char *><size_t>arena.__array_interface__["data"][0]
        self.offset = &offsets[0]
        self.is_run = offsets[self.count - 1] - offsets[0] == self.count - 1 and is_rising(offsets)
        return 0

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

    @property
    def is_public(self):
        return self.has_others()

    cdef bint has_others(self) noexcept:
        """Returns whether the mirror is public."""
        return self.sharing is not None and len(self.sharing.references) > self.members

    cpdef void refresh(self) noexcept:
        """Brings the array up to date, unless it is so already, or users may have written into it since then."""
        if not self.frozen and self.period != self.side.period:
            if not (self.has_others() or self.is_older):
                self.write()
            self.period = self.side.period

    cdef void write(self) noexcept:
        """Writes the elements of the arena, or the zeros that they count as, into the array."""
        cdef Memory sums = self.side.memory
        # A running call may be writing into the arena.
        if sums is not None and sums.grads_state.grads_are_zero and not (self.in_place and self.side.running):
            memset(self.own, 0, self.count * self.item)
        else:
            self.copy(False)

    cdef void copy(self, bint to_arena) noexcept:
        """Copies the array to the arena, or back."""
        cdef char *elements
        if self.in_place:
            return
        if self.is_run:
            elements = self.elements + self.offset[0] * self.item
            memcpy(elements if to_arena else self.own, self.own if to_arena else elements, self.count * self.item)
        elif self.item == 4:
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


cdef bint is_rising(const Py_ssize_t[::1] offsets) noexcept:
    """Returns whether each offset is larger than the one before."""
    cdef Py_ssize_t i
    for i in range(1, offsets.shape[0]):
        if offsets[i] <= offsets[i - 1]:
            return False
    return True


def lent(list mirrors, bint public=True):
    """Returns the mirrors whose arrays are lent; public ones only with `public`."""
    return [mirror for mirror in mirrors if mirror.is_lent and (public or not mirror.is_public)]


def read_arrays(list mirrors):
    """Copies arrays to the arena. No signal is heard between the copies, nor before they count as reckoned with."""
    cdef Mirror mirror
    cdef s_state seen
    for mirror in mirrors:
        seen, mirror.is_older = mirror.reckoned(), False
        mirror.copy(True)
        mirror.seen = seen


def read_lent(list mirrors, bint public=True):
    """Copies all arrays that are lent to the arena, as they are at one moment, and returns their mirrors."""
    with cython.critical_section(publication):
        found = lent(mirrors, public)
        read_arrays(found)
    return found


def write_arrays(list mirrors):
    """Brings arrays up to date, whatever users have written into them, but those of public mirrors."""
    cdef Mirror mirror
    cdef s_state seen
    for mirror in mirrors:
        if mirror.frozen or mirror.has_others() or mirror.is_older:
            continue
        seen = mirror.reckoned()
        mirror.write()
        mirror.seen, mirror.period = seen, mirror.side.period


def publish(list mirrors):
    """Copies what a call has learnt to the arrays of public mirrors, which other Graphs read before their next calls.

    A call that reads them meanwhile sees all of them as before, or all as they are then.
    """
    cdef Mirror mirror
    with cython.critical_section(publication):
        for mirror in mirrors:
            if not mirror.frozen and mirror.has_others():
                mirror.write()
                mirror.account.refresh()
                mirror.account.count_look(mirror)
                mirror.seen = mirror.reckoned()


def copy_at_once(list copies, list arrays):
    """Copies contiguous arrays into others like them, as they are at one moment: no Graph publishes in between."""
    cdef size_t copy, array, nbytes
    cdef list places = [(address(x), address(y), y.nbytes) for x, y in zip(copies, arrays)]
    with cython.critical_section(publication):
        for copy, array, nbytes in places:
            memmove(<char *>copy, <const char *>array, nbytes)


def move_out(list mirrors, list arenas, list offsets, list memories, list changes):
    """Moves the parameters and gradient sums of an arena to other memory, to which no array of a node belongs.

    mirrors, arenas, offsets: what each mirror mirrors from then on; an array that was a view of the arena keeps its
    memory. memories: rows of a Memory and its new addresses. No signal is heard between these and other changes.
    """
    cdef Py_ssize_t i
    for i in range(len(mirrors)):
        (<Mirror?>mirrors[i]).move(arenas[i], offsets[i])
    for memory, parameters, parameter_grads in memories:
        memory.move_parameters(parameters, parameter_grads)
    store(changes)


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
