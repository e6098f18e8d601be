"""Changes that no signal divides.

Python calls a signal's handler between two bytecodes, and Ctrl-C raises KeyboardInterrupt there. Compiled code has no
bytecodes: a function of this module, once called, does all of its work, unless its docstring says otherwise.
"""
from weakref import ref

cimport cython

cdef extern from "Python.h":
    int PyObject_GenericSetAttr(object holder, object name, object value) except -1

cdef enum:
    TRIES = 1000    # calls of a function that signals interrupt

cdef frozenset NOTHING = frozenset()


cpdef int complete(function) except -1:
    """Calls a function until it returns, again if an exception ends it. The last exception is raised afterwards.

    A function that may be interrupted anywhere must do no harm when it is called again.
    """
    cdef object interrupted = None
    cdef int _tries
    for _tries in range(TRIES):
        try:
            function()
            break
        except BaseException as error:
            interrupted = error
    if interrupted is not None:
        raise interrupted
    return 0


cpdef int assign(list destinations, list sources) except -1:
    """Copies the content of each source into the destination at its place in the list, of the same shape and dtype."""
    cdef Py_ssize_t i
    for i in range(len(destinations)):
        destinations[i][...] = sources[i]
    return 0


cpdef int assign_parts(list destinations, list indices, list sources) except -1:
    """Assigns each source, an array or a number, to the elements of the destination at its place that an index selects.
    """
    cdef Py_ssize_t i
    for i in range(len(destinations)):
        destinations[i][indices[i]] = sources[i]
    return 0


def call_or_undo(function, list destinations, list indices, list sources, undo):
    """Calls a function, and then `assign_parts`; if the function raises, calls `undo` instead, until it returns.

    The function itself hears signals.
    """
    try:
        function()
    except BaseException:
        complete(undo)
        raise
    assign_parts(destinations, indices, sources)


def only_one(dict known, key, candidate):
    """Returns the object that `known` refers to weakly under a key while it lives, else the candidate from then on."""
    with cython.critical_section(known):    # for builds without the GIL
        reference = known.get(key)
        existing = None if reference is None else reference()
        if existing is None:
            known[key] = ref(candidate)
            existing = candidate
    return existing


def store(list changes):
    """Sets attributes: each change is a tuple of names, and rows of an object and its values of these attributes."""
    cdef tuple names, row
    cdef list rows
    cdef Py_ssize_t i
    for names, rows in changes:
        for row in rows:
            for i in range(len(names)):
                PyObject_GenericSetAttr(row[0], names[i], row[1 + i])


@cython.final
cdef class Component:
    """The state that nodes share which are or were connected: unfinished passes, and warnings that were given.

    The components of nodes that become connected are joined, and then the attributes of their common root count.

    Attributes
    ----------
    forward, backward : set or None
        Weak references to the nodes at which an unfinished forward or backward pass has counted arrivals.
    warned : frozenset
        The warnings that were given for these nodes.
    compiled : bool
        Whether a Graph has been built of some of these nodes.
    """

    def __cinit__(self):
        self.warned = NOTHING

    cpdef Component root(self):
        """Returns the component that this one was joined into, or itself, and shortens the path to it."""
        cdef Component component = self
        while component.parent is not None:
            if component.parent.parent is not None:
                component.parent = component.parent.parent
            component = component.parent
        return component

    def drop(self, reference):
        """Forgets the unfinished passes at the node of a weak reference."""
        cdef Component root = self.root()
        if root.forward is not None:
            root.forward.discard(reference)
        if root.backward is not None:
            root.backward.discard(reference)


cdef Component joined(Component one, Component other):
    """Joins two components and returns their common root."""
    one, other = one.root(), other.root()
    if one is other:
        return one
    if one.rank < other.rank:
        one, other = other, one
    one.forward = united(one.forward, other.forward)
    one.backward = united(one.backward, other.backward)
    one.warned |= other.warned
    one.compiled |= other.compiled
    one.rank += one.rank == other.rank
    other.parent = one
    other.forward = other.backward = None
    return one


cdef set united(set one, set other):
    """Returns the union of two sets, of which one may be changed, and either may be None."""
    if not other:
        return one
    if not one:
        return other
    one.update(other)
    return one


def attach(consumer, inputs):
    """Joins a node's component with those of its inputs, and appends it to the `forward` of each."""
    cdef Component component = None, other
    cdef list lists = [node.forward for node in inputs]
    for node in inputs:
        other = node._component
        if component is None:
            component = other.root()
        elif other is not component:
            component = joined(component, other)
    consumer._component = Component() if component is None else component
    for forward in lists:
        forward.append(consumer)


def push(consumer, node):
    """Appends a node to the `forward` of another one, and joins their components."""
    forward = node.forward
    joined(consumer._component, node._component)
    forward.append(consumer)


@cython.final
cdef class Snapshot:
    """Attributes and contents of arrays as they were when the snapshot was told of them."""

    def __cinit__(self):
        self.attributes, self.fields, self.arrays, self.copies, self.held = [], [], [], [], []

    def add_attributes(self, holder):
        """Keeps all attributes in the dictionary of an object."""
        cdef dict live = holder.__dict__
        self.attributes.append((live, dict(live)))

    def add_field(self, holder, str name):
        """Keeps one attribute of an object without a dictionary."""
        self.fields.append((holder, name, getattr(holder, name)))

    def add_array(self, array):
        """Keeps the content of an array."""
        copy = array.copy()
        self.arrays.append(array)
        self.copies.append(copy)

    def add_held_array(self, holder, str name):
        """Keeps the array that an attribute is, and the content of that array."""
        array = getattr(holder, name)
        self.held.append((holder, name, array, array.copy()))

    cpdef int renew(self) except -1:
        """Keeps the present contents of the arrays, and the present values of fields and of held attributes."""
        cdef list held = self.held
        self.fields = [(holder, name, getattr(holder, name)) for holder, name, _ in self.fields]
        self.held = []
        for holder, name, _, _ in held:
            self.add_held_array(holder, name)
        return assign(self.copies, self.arrays)

    cpdef int restore(self) except -1:
        """Restores all attributes and contents of arrays that are kept."""
        cdef dict live, saved
        for live, saved in self.attributes:
            live.update(saved)
            for name in [name for name in live if name not in saved]:
                del live[name]
        for holder, name, value in self.fields:
            PyObject_GenericSetAttr(holder, name, value)
        for holder, name, array, copy in self.held:
            array[...] = copy
            PyObject_GenericSetAttr(holder, name, array)
        return assign(self.arrays, self.copies)


def preserving(function):
    """Calls a function with a new Snapshot, which the function fills, and restores the snapshot in any case."""
    cdef Snapshot snapshot = Snapshot()
    try:
        return function(snapshot)
    finally:
        snapshot.restore()
