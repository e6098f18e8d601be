"""Requests: what a call with a feed asks for, and the samples that it is fed, which are read where they lie."""
from cpython.buffer cimport (
    PyBUF_RECORDS, PyBUF_RECORDS_RO, PyBUF_SIMPLE, PyBuffer_IsContiguous, PyBuffer_Release, PyObject_GetBuffer
)
from cpython.dict cimport PyDict_Keys, PyDict_Values
from libc.stdlib cimport calloc, free

from cgraph._kernels.runtime.loans cimport Written
from cgraph._kernels.runtime.uninterrupted import assign


cdef class FeedSpec:
    """What a leaf may be fed: its dtype, and the shapes that a sample may have, two or, of one element, three.

    An array is plain if compiled code can read it where it lies: a NumPy array of that dtype, contiguous and aligned,
    each of whose rows is a sample or, with streams, holds a sample of each stream.

    streams: the number of streams; 0 for samples that are no streams. carried: whether the leaf is carried, and so is
    fed its state alone.
    """

    def __init__(
        self, dtype, Py_ssize_t size, Py_ssize_t height, Py_ssize_t width, Py_ssize_t streams=0, bint carried=False
    ):
        self.dtype, self.shapes = dtype, ((size,), (height, width)) + (((),) if size == 1 else ())
        self.size, self.height, self.width = size, height, width
        self.code = ord(dtype.char)
        self.streams, self.carried = streams, carried

    cdef bint fits(self, const Py_buffer *view) noexcept:
        """Returns whether this is the buffer of a plain array."""
        cdef Py_ssize_t first = 1 if self.streams == 0 else 2, ndim = view.ndim - first + 1
        if self.carried or ndim < 1 or (self.streams and view.shape[1] != self.streams):
            return False
        if ndim == 3:
            if view.shape[first] != self.height or view.shape[first + 1] != self.width:
                return False
        elif ndim == 2:
            if view.shape[first] != self.size:
                return False
        elif ndim != 1 or self.size != 1:
            return False
        return is_plain(view, self.code)


cdef bint is_plain(const Py_buffer *view, char code) noexcept:
    """Returns whether a buffer with a format is contiguous and aligned, and holds numbers of the dtype of this code.

    NumPy has longer formats for numbers in another byte order, and for those that are not aligned.
    """
    return view.format[0] == code and view.format[1] == 0 and PyBuffer_IsContiguous(view, b"C")


cdef class Feeds:
    """A feed that has been checked: for each leaf an array with a contiguous row for each sample.

    The arrays' buffers are held as long as this object lives.

    Attributes
    ----------
    leaves : list of Node
    arrays : list of ndarray
        For each of these leaves its samples.
    size : int
        The number of samples.
    given : list of object
        The objects that the user has fed, before any conversion.
    states : list of (Node, ndarray) or None
        The carried leaves that are fed, with copies of their states before the first sample.
    streams : int
        The number of samples of a time step; 0 without streams.
    """

    def __init__(
        self, list leaves, list arrays, Py_ssize_t size, list given=None, list states=None, Py_ssize_t streams=0
    ):
        self.leaves, self.arrays, self.size, self.given = leaves, arrays, size, given
        self.states, self.streams = states, streams
        self.allocate()
        for array in arrays:
            self.open(array, PyBUF_SIMPLE)

    def __dealloc__(self):
        while self.opened > 0:
            self.opened -= 1
            PyBuffer_Release(&self.views[self.opened])
        free(self.views)

    cdef int allocate(self) except -1:
        self.views = <Py_buffer *>calloc(max(len(self.arrays), 1), sizeof(Py_buffer))
        if self.views == NULL:
            raise MemoryError()
        return 0

    cdef int open(self, array, int flags) except -1:
        """Takes the buffer of the next array."""
        PyObject_GetBuffer(array, &self.views[self.opened], flags)
        self.opened += 1
        return 0

    def to_remember(self):
        """Returns the leaves, the objects that the user has fed, and the number of samples."""
        return self.leaves, self.given, self.size


def plain_feeds(feed, dict specs, Written written not None):
    """Returns the Feeds of a dict of plain arrays with as many rows each, to whose memory the call does not write.

    For any other feed it returns None: such a feed has to be converted, or refused.

    Parameters
    ----------
    feed : object
        What the user has fed.
    specs : dict of Node to FeedSpec
        The leaves that may be fed.
    written : Written
        The memory to which the call writes.
    """
    if type(feed) is not dict:
        return None
    cdef list leaves = PyDict_Keys(feed), arrays = PyDict_Values(feed)
    cdef Py_ssize_t count = len(leaves), i, rows
    cdef Feeds feeds = Feeds.__new__(Feeds)
    cdef FeedSpec spec
    feeds.leaves, feeds.arrays, feeds.given = leaves, arrays, arrays
    feeds.allocate()
    if count == 0 or len(arrays) != count:
        return None
    for i in range(count):
        array = arrays[i]
        spec = specs.get(leaves[i])
        if spec is None or type(array) is not written.array_class:
            return None
        try:
            feeds.open(array, PyBUF_RECORDS_RO)
        except Exception:   # of a dtype that has no buffer
            return None
        if not spec.fits(&feeds.views[i]) or written.may_include(array):
            return None
        rows = feeds.views[i].shape[0] * max(spec.streams, 1)
        if i == 0:
            feeds.size, feeds.streams = rows, spec.streams
        elif rows != feeds.size:
            return None
    return feeds


def is_plain_out(out, Feeds feeds not None, Py_ssize_t size, dtype, Written written not None):
    """Returns whether results may be written at once to an array of the user, without any further check of it.

    That is so for a plain array with a row of `size` elements for each sample which shares no memory with the feeds,
    nor with what the call writes to.
    """
    cdef Py_buffer view
    cdef Py_ssize_t i
    if type(out) is not written.array_class or written.may_include(out):
        return False
    try:
        PyObject_GetBuffer(out, &view, PyBUF_RECORDS)
    except Exception:   # read-only, or of a dtype that has no buffer
        return False
    cdef int last = 2 if feeds.streams else 1
    cdef bint fits = view.ndim == last + 1 and view.shape[last] == size
    if feeds.streams:
        fits = fits and view.shape[1] == feeds.streams and view.shape[0] == feeds.size // feeds.streams
    else:
        fits = fits and view.shape[0] == feeds.size
    fits = fits and is_plain(&view, ord(dtype.char))
    for i in range(feeds.opened):
        fits = fits and not overlap(&view, &feeds.views[i])
    PyBuffer_Release(&view)
    return fits


cdef bint overlap(const Py_buffer *one, const Py_buffer *other) noexcept:
    """Returns whether two contiguous buffers have bytes in common."""
    cdef const char *first = <const char *>one.buf
    cdef const char *second = <const char *>other.buf
    return first < second + other.len and second < first + one.len


cdef class Extras:
    """What a learning call asks for beyond the losses.

    Attributes
    ----------
    seeds : list of Node or None
        The outputs with whose gradients a backward pass begins; None for the only output, whose gradient is 1.
    seed_arrays : list of ndarray
        For each of these outputs its gradients, a contiguous row for each sample.
    nodes, arrays : list
        The nodes whose data are wanted, too, and for each of them the array that gets a row for each sample.
    check_loss : str
        The name of the call if a loss that is not finite ends it; "" otherwise.
    """

    def __init__(self, list seeds, list seed_arrays not None, list nodes not None, list arrays not None,
                 str check_loss not None):
        self.seeds, self.seed_arrays, self.nodes, self.arrays = seeds, seed_arrays, nodes, arrays
        self.check_loss = check_loss

    cdef bint is_like(self, Extras other) noexcept:
        """Returns whether the same steps and ports serve both."""
        return (
            other is not None and are_same(self.seeds, other.seeds) and are_same(self.nodes, other.nodes)
            and (not self.check_loss) == (not other.check_loss)
        )

    def part(self, Py_ssize_t first, Py_ssize_t last, Py_ssize_t size):
        """Returns the extras for some of `size` samples."""
        seed_arrays = [array.reshape(size, -1)[first:last] for array in self.seed_arrays]
        arrays = [array.reshape(size, -1)[first:last] for array in self.arrays]
        return Extras(self.seeds, seed_arrays, self.nodes, arrays, self.check_loss)


cdef bint are_same(list some, list others) noexcept:
    """Returns whether two lists, or None, hold the same objects."""
    cdef Py_ssize_t i
    if some is None or others is None:
        return some is others
    if len(some) != len(others):
        return False
    for i in range(len(some)):
        if some[i] is not others[i]:
            return False
    return True


cdef class Carry:
    """What a call does whose samples follow each other in time: carried leaves keep a state from sample to sample.

    Without streams the state is what these leaves hold in the nodes' own arrays. With streams it lies in arrays of its
    own, a row for each stream: `now`, which counts, and `next`, into which the states after some time steps are written
    until all streams have got there.

    Attributes
    ----------
    streams : int
        The number of streams; 0 for none.
    now, next : list of ndarray
        For each carried leaf its states, shape (streams, size), contiguous; empty without streams.
    """

    def __init__(self, Py_ssize_t streams=0, list now=None, list next=None):
        self.streams, self.now, self.next = streams, now or [], next or []

    cpdef int commit(self) except -1:
        """Makes the states that have been written those that count."""
        return assign(self.now, self.next)


cdef class Request:
    """One call with a feed: the node to compute, or the loss (None), and the array that gets the results.

    Attributes
    ----------
    node : Node or None
    feeds : Feeds
        The samples.
    out : ndarray
        Contiguous, with a row for the results of each sample.
    size : int
        The number of samples.
    backward, parameters_only : bool
        Whether gradients are computed, and whether those of leaves are left out.
    batch : int
        The number of samples to an update; 0 for no update.
    eta : float
        The learning rate.
    first : int
        The number in the call of the first sample.
    extras : Extras or None
    carry : Carry or None
        None for samples that do not follow each other in time.
    """

    def __init__(
        self, node, Feeds feeds not None, out, bint backward=False, bint parameters_only=False, Py_ssize_t batch=0,
        double eta=0.0, Py_ssize_t first=0, Extras extras=None, Carry carry=None
    ):
        self.node, self.feeds, self.out, self.size = node, feeds, out, feeds.size
        self.backward, self.parameters_only, self.batch, self.eta = backward, parameters_only, batch, eta
        self.first, self.extras, self.carry = first, extras, carry

    def part(self, Py_ssize_t first, Py_ssize_t last):
        """Returns the request for some of the samples, for the parameters only and without an update."""
        arrays = [array.reshape(self.size, -1)[first:last] for array in self.feeds.arrays]
        feeds = Feeds(self.feeds.leaves, arrays, last - first, streams=self.feeds.streams)
        extras = None if self.extras is None else self.extras.part(first, last, self.size)
        return Request(
            self.node, feeds, self.out.reshape(self.size, -1)[first:last], self.backward, True,
            first=self.first + first, extras=extras, carry=self.carry
        )


include "runtime/rows.pxi"
