"""Sharing: which nodes have the same parameters, and which call may learn these.

The nodes may belong to several Graphs, each of which computes with a copy of the parameters in its arena. So calls that
only compute may run at once, while of those that learn, or add to the gradient sums, one at a time has the hold.
"""
from weakref import ref

from cgraph._kernels.runtime.memory cimport leave, take
from cgraph._kernels.runtime.uninterrupted import store


cdef class Sharing:
    """The nodes that have the same parameters; it refers to them weakly."""

    def __cinit__(self):
        self.references = {}

    @property
    def nodes(self):
        """The nodes that live, in the order in which they were added."""
        return [node for node in [reference() for reference in list(self.references)] if node is not None]

    def add(self, node):
        """Adds a node."""
        self.references[ref(node, self.drop)] = None

    def drop(self, reference):
        """Forgets a node that is no more."""
        self.references.pop(reference, None)


def tie(Sharing sharing not None, list nodes not None, list changes not None):
    """Makes changes by which nodes get the parameters of others, and adds these nodes. No signal is heard in between.
    """
    store(changes)
    for node in nodes:
        sharing.add(node)


def learning(Learners learners not None, str refusal, function):
    """Calls a function that learns parameters, or raises a RuntimeError with this text if another call learns them."""
    if not learners.take():
        raise RuntimeError(refusal)
    try:
        return function()
    finally:
        learners.leave()


cdef class Learners:
    """The parameters of a Graph that several nodes have, which a call that learns holds until its end."""

    def __init__(self, list sharings not None):
        self.sharings = sharings

    def take(self):
        """Takes all holds or, if another call has one of them, none; returns whether they are taken."""
        cdef Sharing sharing
        for sharing in self.sharings:
            if not take(&sharing.learning):
                self.leave()
                return False
            self.held += 1
        return True

    def leave(self):
        """Gives back the holds that the running call has taken."""
        cdef Sharing sharing
        while self.held > 0:
            sharing = self.sharings[self.held - 1]
            leave(&sharing.learning)
            self.held -= 1
