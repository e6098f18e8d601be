# The check at the top of every kernel of the Node path. Constructors check their arguments; but a user may exchange the
# lists of neighbours and the arrays of a node for others of a different size, and must get an error, not a crash.

cdef inline int require(bint fits) except -1:
    """Raises ValueError unless the sizes fit."""
    if not fits:
        raise ValueError(
            "the arrays of a node and of its inputs do not fit together: "
            "one of them was exchanged or resized after the node was constructed"
        )
    return 0
