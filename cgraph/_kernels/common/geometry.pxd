cdef class FilterGeometry:
    # m: one input channel; k: the kernel; n: the output; s: stride; p, q: top and left padding
    cdef readonly Py_ssize_t m_h, m_w, k_h, k_w, n_h, n_w, s, p, q
    # The padded input: it ends where the last window does, or with the input's last row or column if none reads these
    cdef readonly Py_ssize_t padded_h, padded_w
    # The frame of one channel has phases_h * phases_w planes of `plane` elements each, in rows of `pitch` elements
    cdef readonly Py_ssize_t phases_h, phases_w, pitch, plane, frame
    # Distance within a plane, in elements, from the first to the last element of a window
    cdef readonly Py_ssize_t reach
