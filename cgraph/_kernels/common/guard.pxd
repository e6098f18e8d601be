# What stands at the top of every kernel. Constructors check what users hand in; but lists of neighbours and arrays are
# open to everybody, and whoever exchanges one for another of a different size must get an error, not a crash.

cdef inline int require(bint fits) except -1:
    if not fits:
        raise ValueError(
            "the arrays of a node and of its inputs do not fit together: "
            "one of them was exchanged or resized after the node was constructed"
        )
    return 0
