"""Element-wise kernels: each output element depends on the input elements of the same index alone.

x, y: inputs; d: output; g: the gradient with respect to d; dx, dy: the inputs' gradients, which backward ADDS into.
Views may be strided, and dx and dy may be one buffer.
"""
from cgraph._kernels.guard cimport require
from cgraph._kernels.simd cimport r_exp, r_tanh, real


# d_i = x_i + y_i;   dx_i += g_i,  dy_i += g_i

cdef void add(const real[:] x, const real[:] y, real[:] d) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(d.shape[0]):
        d[i] = x[i] + y[i]


cdef void add_gradient(const real[:] g, real[:] dx, real[:] dy) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(g.shape[0]):
        dx[i] += g[i]
        dy[i] += g[i]


def add_forward(const real[:] x, const real[:] y, real[:] d):
    require(x.shape[0] == y.shape[0] == d.shape[0])
    with nogil:
        add(x, y, d)


def add_backward(const real[:] g, real[:] dx, real[:] dy):
    require(g.shape[0] == dx.shape[0] == dy.shape[0])
    with nogil:
        add_gradient(g, dx, dy)


# d_i = x_i - y_i;   dx_i += g_i,  dy_i -= g_i

cdef void sub(const real[:] x, const real[:] y, real[:] d) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(d.shape[0]):
        d[i] = x[i] - y[i]


cdef void sub_gradient(const real[:] g, real[:] dx, real[:] dy) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(g.shape[0]):
        dx[i] += g[i]
        dy[i] -= g[i]


def sub_forward(const real[:] x, const real[:] y, real[:] d):
    require(x.shape[0] == y.shape[0] == d.shape[0])
    with nogil:
        sub(x, y, d)


def sub_backward(const real[:] g, real[:] dx, real[:] dy):
    require(g.shape[0] == dx.shape[0] == dy.shape[0])
    with nogil:
        sub_gradient(g, dx, dy)


# d_i = x_i where x_i >= 0, else 0;   dx_i += g_i where x_i >= 0.   A NaN is not < 0 and stays; it is not >= 0 either.

cdef void relu(const real[:] x, real[:] d) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(d.shape[0]):
        d[i] = <real>0 if x[i] < 0 else x[i]


cdef void relu_gradient(const real[:] x, const real[:] g, real[:] dx) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(g.shape[0]):
        dx[i] += g[i] if x[i] >= 0 else <real>0


def relu_forward(const real[:] x, real[:] d):
    require(x.shape[0] == d.shape[0])
    with nogil:
        relu(x, d)


def relu_backward(const real[:] x, const real[:] g, real[:] dx):
    require(x.shape[0] == g.shape[0] == dx.shape[0])
    with nogil:
        relu_gradient(x, g, dx)


# d = 1 / (1 + e^-x), by e^-|x| so that nothing overflows;   dx += d (1 - d) g

cdef inline real sigmoid_of(real x) noexcept nogil:
    cdef real e
    if x >= 0:
        return 1 / (1 + r_exp(-x))
    e = r_exp(x)
    return e / (1 + e)


cdef void sigmoid(const real[:] x, real[:] d) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(d.shape[0]):
        d[i] = sigmoid_of(x[i])


cdef void sigmoid_gradient(const real[:] d, const real[:] g, real[:] dx) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(g.shape[0]):
        dx[i] += d[i] * (1 - d[i]) * g[i]


def sigmoid_forward(const real[:] x, real[:] d):
    require(x.shape[0] == d.shape[0])
    with nogil:
        sigmoid(x, d)


def sigmoid_backward(const real[:] d, const real[:] g, real[:] dx):
    require(d.shape[0] == g.shape[0] == dx.shape[0])
    with nogil:
        sigmoid_gradient(d, g, dx)


# d = tanh x;   dx += (1 - d²) g

cdef void tanh(const real[:] x, real[:] d) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(d.shape[0]):
        d[i] = r_tanh(x[i])


cdef void tanh_gradient(const real[:] d, const real[:] g, real[:] dx) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(g.shape[0]):
        dx[i] += (1 - d[i] * d[i]) * g[i]


def tanh_forward(const real[:] x, real[:] d):
    require(x.shape[0] == d.shape[0])
    with nogil:
        tanh(x, d)


def tanh_backward(const real[:] d, const real[:] g, real[:] dx):
    require(d.shape[0] == g.shape[0] == dx.shape[0])
    with nogil:
        tanh_gradient(d, g, dx)


# Gradient descent:   w_i -= eta dw_i,  then dw_i = 0

cdef void step(real[::1] w, real[::1] dw, real eta) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(w.shape[0]):
        w[i] -= eta * dw[i]
        dw[i] = 0


def descend(real[::1] w, real[::1] dw, real eta):
    require(w.shape[0] == dw.shape[0])
    with nogil:
        step(w, dw, eta)
