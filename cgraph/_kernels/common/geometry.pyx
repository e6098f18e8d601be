"""The geometry of a two-dimensional filter, which the kernels of convolution and pooling share.

A *frame* is the polyphase copy of the padded input of a filter with stride s (space to depth), made of planes: row y
and column u of the padded input lie in plane (y mod s, u mod s) at row y // s, column u // s. Over the planes, every
filter has stride 1: element (i, j) of the window of output (a, b) lies in plane (i mod s, j mod s) at
(a + i // s, b + j // s). Planes that no window reads, where the stride is larger than the kernel, are left out.
"""


cdef class FilterGeometry:
    """The sizes, stride and padding of a filter, and the layout of its frame."""

    def __init__(
        self, Py_ssize_t m_h, Py_ssize_t m_w, Py_ssize_t k_h, Py_ssize_t k_w,
        Py_ssize_t n_h, Py_ssize_t n_w, Py_ssize_t s, Py_ssize_t p, Py_ssize_t q,
    ):
        self.m_h, self.m_w = m_h, m_w
        self.k_h, self.k_w = k_h, k_w
        self.n_h, self.n_w = n_h, n_w
        self.s, self.p, self.q = s, p, q
        self.phases_h, self.phases_w = min(s, k_h), min(s, k_w)
        self.padded_h = max((n_h - 1) * s + k_h, p + m_h)
        self.padded_w = max((n_w - 1) * s + k_w, q + m_w)
        self.pitch = (self.padded_w + s - 1) // s
        self.plane = (self.padded_h + s - 1) // s * self.pitch
        self.frame = self.phases_h * self.phases_w * self.plane
        self.reach = (k_h - 1) // s * self.pitch + (k_w - 1) // s
