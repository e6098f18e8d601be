"""Element-wise kernels, whose output elements depend on the input elements of their own index alone.

x, y: inputs; d: output; g: the gradient with respect to d; dx, dy: the inputs' gradients; n elements each. Operands may
be strided, and dx and dy may be one buffer. On the Node path backward ADDS into dx and dy.
"""
from libc.string cimport memset

from cgraph._kernels.common.arrays cimport take_variables
from cgraph._kernels.common.guard cimport require
from cgraph._kernels.common.operands cimport (
    Input, Output, added_to, data_of, descend as descend_n, get, grad_of, gradient, input_of, move, output, overwritten,
    put, requires_grad
)
from cgraph._kernels.common.simd cimport (
    V_BYTES, V_LANES, V_LINE_BYTES, V_PADDED_BYTES, real, v_add, v_at_least, v_keep_where, v_mul, v_relu, v_set1, v_sub,
    vec
)
from cgraph._kernels.common.vector_math cimport (
    v_erf, v_exp, v_exp_nonpositive, v_expm1, v_log, v_log1p, v_sigmoid, v_softplus, v_tanh
)
from cgraph._kernels.runtime import structs
from cgraph._kernels.runtime.step cimport Context, Extent, Operand, OperandFields, Step
from cgraph._kernels.runtime.step import EXTENT

# The widths of this build, in bytes, for all who lay out memory.
VECTOR_BYTES, PADDED_BYTES, LINE_BYTES = V_BYTES, V_PADDED_BYTES, V_LINE_BYTES

# A function of vectors, which the compiler inlines where it is a constant.
ctypedef vec (*Function)(vec x) noexcept nogil


cdef inline void map_vectors(Function f, Input x, Output d, Py_ssize_t n) noexcept nogil:
    """Computes d_i = f(x_i)."""
    cdef Py_ssize_t i = 0
    while i < n:
        put(d, i, n, f(get(x, i, n)))
        i += V_LANES


cdef class ElementwiseStep(Step):
    """The base of the steps of element-wise nodes, or of fused groups of them in one buffer.

    The step of an operation stands beside its kernels; if it has one input, y is x.
    """
    cdef Py_ssize_t n
    cdef OperandFields x, y, d

    def __init__(self, Py_ssize_t n, inputs, Operand d not None):
        """inputs: an Operand for each input."""
        self.n = n
        self.x, self.y, self.d = (<Operand?>inputs[0]).fields, (<Operand?>inputs[len(inputs) - 1]).fields, d.fields
        if self.x.stride == self.y.stride == self.d.stride == 1:
            # Whole vectors: the rest of the last vector belongs to no other buffer of the arena.
            self.n = (n + V_LANES - 1) // V_LANES * V_LANES


# d_i = x_i + y_i;   dx_i += g_i,  dy_i += g_i

cdef void add(Input x, Input y, Output d, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i = 0
    while i < n:
        put(d, i, n, v_add(get(x, i, n), get(y, i, n)))
        i += V_LANES


cdef void pass_on(Input g, Output dx, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i = 0
    while i < n:
        put(dx, i, n, get(g, i, n))
        i += V_LANES


def add_forward(const real[:] x, const real[:] y, real[:] d):
    require(x.shape[0] == y.shape[0] == d.shape[0])
    with nogil:
        add(input_of(x), input_of(y), overwritten(d), d.shape[0])


def add_backward(const real[:] g, real[:] dx, real[:] dy):
    require(g.shape[0] == dx.shape[0] == dy.shape[0])
    with nogil:
        pass_on(input_of(g), added_to(dx), g.shape[0])
        pass_on(input_of(g), added_to(dy), g.shape[0])


cdef class AddStep(ElementwiseStep):
    cdef void forward(self, Context *context) noexcept nogil:
        add(data_of(context, &self.x), data_of(context, &self.y), output(context, &self.d), self.n)

    cdef void backward(self, Context *context) noexcept nogil:
        if requires_grad(context, &self.x):
            pass_on(grad_of(context, &self.d), gradient(context, &self.x), self.n)
        if requires_grad(context, &self.y):
            pass_on(grad_of(context, &self.d), gradient(context, &self.y), self.n)


# d_i = x_i - y_i;   dx_i += g_i,  dy_i -= g_i

cdef void sub(Input x, Input y, Output d, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i = 0
    while i < n:
        put(d, i, n, v_sub(get(x, i, n), get(y, i, n)))
        i += V_LANES


cdef void pass_on_negative(Input g, Output dy, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i = 0
    while i < n:
        put(dy, i, n, v_sub(v_set1(0), get(g, i, n)))
        i += V_LANES


def sub_forward(const real[:] x, const real[:] y, real[:] d):
    require(x.shape[0] == y.shape[0] == d.shape[0])
    with nogil:
        sub(input_of(x), input_of(y), overwritten(d), d.shape[0])


def sub_backward(const real[:] g, real[:] dx, real[:] dy):
    require(g.shape[0] == dx.shape[0] == dy.shape[0])
    with nogil:
        pass_on(input_of(g), added_to(dx), g.shape[0])
        pass_on_negative(input_of(g), added_to(dy), g.shape[0])


cdef class SubStep(ElementwiseStep):
    cdef void forward(self, Context *context) noexcept nogil:
        sub(data_of(context, &self.x), data_of(context, &self.y), output(context, &self.d), self.n)

    cdef void backward(self, Context *context) noexcept nogil:
        if requires_grad(context, &self.x):
            pass_on(grad_of(context, &self.d), gradient(context, &self.x), self.n)
        if requires_grad(context, &self.y):
            pass_on_negative(grad_of(context, &self.d), gradient(context, &self.y), self.n)


# d_i = x_i where x_i >= 0, else 0;   dx_i += g_i where x_i >= 0.   A NaN is not < 0 and stays; it is not >= 0 either.

cdef void relu(Input x, Output d, Py_ssize_t n) noexcept nogil:
    map_vectors(v_relu, x, d, n)


cdef void relu_gradient(Input x, Input g, Output dx, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i = 0
    while i < n:
        put(dx, i, n, v_keep_where(v_at_least(get(x, i, n), v_set1(0)), get(g, i, n)))
        i += V_LANES


def relu_forward(const real[:] x, real[:] d):
    require(x.shape[0] == d.shape[0])
    with nogil:
        relu(input_of(x), overwritten(d), d.shape[0])


def relu_backward(const real[:] x, const real[:] g, real[:] dx):
    require(x.shape[0] == g.shape[0] == dx.shape[0])
    with nogil:
        relu_gradient(input_of(x), input_of(g), added_to(dx), g.shape[0])


cdef class ReLUStep(ElementwiseStep):
    cdef void forward(self, Context *context) noexcept nogil:
        relu(data_of(context, &self.x), output(context, &self.d), self.n)

    cdef void backward(self, Context *context) noexcept nogil:
        if requires_grad(context, &self.x):
            relu_gradient(data_of(context, &self.x), grad_of(context, &self.d), gradient(context, &self.x), self.n)


# d = 1 / (1 + e^-x);   dx += d (1 - d) g

cdef void sigmoid(Input x, Output d, Py_ssize_t n) noexcept nogil:
    map_vectors(v_sigmoid, x, d, n)


cdef void sigmoid_gradient(Input d, Input g, Output dx, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i = 0
    cdef vec value
    while i < n:
        value = get(d, i, n)
        put(dx, i, n, v_mul(v_mul(value, v_sub(v_set1(1), value)), get(g, i, n)))
        i += V_LANES


def sigmoid_forward(const real[:] x, real[:] d):
    require(x.shape[0] == d.shape[0])
    with nogil:
        sigmoid(input_of(x), overwritten(d), d.shape[0])


def sigmoid_backward(const real[:] d, const real[:] g, real[:] dx):
    require(d.shape[0] == g.shape[0] == dx.shape[0])
    with nogil:
        sigmoid_gradient(input_of(d), input_of(g), added_to(dx), g.shape[0])


cdef class SigmoidStep(ElementwiseStep):
    cdef void forward(self, Context *context) noexcept nogil:
        sigmoid(data_of(context, &self.x), output(context, &self.d), self.n)

    cdef void backward(self, Context *context) noexcept nogil:
        if requires_grad(context, &self.x):
            sigmoid_gradient(data_of(context, &self.d), grad_of(context, &self.d), gradient(context, &self.x), self.n)


# d = tanh x;   dx += (1 - d²) g

cdef void tanh(Input x, Output d, Py_ssize_t n) noexcept nogil:
    map_vectors(v_tanh, x, d, n)


cdef void tanh_gradient(Input d, Input g, Output dx, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i = 0
    cdef vec value
    while i < n:
        value = get(d, i, n)
        put(dx, i, n, v_mul(v_sub(v_set1(1), v_mul(value, value)), get(g, i, n)))
        i += V_LANES


def tanh_forward(const real[:] x, real[:] d):
    require(x.shape[0] == d.shape[0])
    with nogil:
        tanh(input_of(x), overwritten(d), d.shape[0])


def tanh_backward(const real[:] d, const real[:] g, real[:] dx):
    require(d.shape[0] == g.shape[0] == dx.shape[0])
    with nogil:
        tanh_gradient(input_of(d), input_of(g), added_to(dx), g.shape[0])


cdef class TanhStep(ElementwiseStep):
    cdef void forward(self, Context *context) noexcept nogil:
        tanh(data_of(context, &self.x), output(context, &self.d), self.n)

    cdef void backward(self, Context *context) noexcept nogil:
        if requires_grad(context, &self.x):
            tanh_gradient(data_of(context, &self.d), grad_of(context, &self.d), gradient(context, &self.x), self.n)


# The functions of common/vector_math.pxd, by name, for tools/accuracy.py and the tests:   d_i = f(x_i)

cdef Function[9] FUNCTIONS = [
    v_erf, v_exp, v_exp_nonpositive, v_expm1, v_log, v_log1p, v_sigmoid, v_softplus, v_tanh
]
NAMES = ("erf", "exp", "exp_nonpositive", "expm1", "log", "log1p", "sigmoid", "softplus", "tanh")


def apply(str name, const real[:] x, real[:] d):
    require(x.shape[0] == d.shape[0])
    cdef Function f = FUNCTIONS[NAMES.index(name)]
    with nogil:
        map_vectors(f, input_of(x), overwritten(d), d.shape[0])


# Gradient descent:   w_i -= eta dw_i,  then dw_i = 0

def descend(w, dw, real eta):
    cdef real *parameters
    cdef real *grads
    cdef Py_ssize_t count = take_variables(w, &parameters)
    require(take_variables(dw, &grads) == count)
    with nogil:
        descend_n(parameters, grads, eta, count)
        memset(grads, 0, count * sizeof(real))


# Gradient sums of threads:   s_i += Σ_k x_k_i

def add_up(real[::1] s, list others):
    """Adds all other sums to s, in the order of the list. If one has another size, none is added.

    No signal is heard while the sums are added.
    """
    cdef const real[::1] x
    for x in others:
        require(x.shape[0] == s.shape[0])
    for x in others:
        if s.shape[0]:
            move(input_of(x), added_to(s), s.shape[0])


# The update of the parameters, and the beginning of a backward pass, as steps

cdef class SGDStep(Step):
    """The update of the arena's parameters that learn:   w -= eta dw,  then dw = 0, or dw counts as 0."""
    cdef const Extent[::1] runs

    def __init__(self, runs):
        """runs: the Extents of the parameters that learn."""
        self.runs = structs.checked(EXTENT, runs)

    cdef void apply_update(self, Context *context) noexcept nogil:
        cdef real *w = <real *>context.parameters
        cdef real *dw = <real *>context.parameter_grads
        cdef Py_ssize_t k
        for k in range(self.runs.shape[0]):
            descend_n(w + self.runs[k].first, dw + self.runs[k].first, <real>context.eta, self.runs[k].count)
            if not context.grads_are_zero:
                memset(dw + self.runs[k].first, 0, self.runs[k].count * sizeof(real))


cdef class SeedStep(Step):
    """The step with which a backward pass begins: it sets the gradient of the loss to 1, and others to 0.

    A gradient begins at 0 where no step overwrites all of its elements.
    """
    cdef Py_ssize_t loss, lanes
    cdef const Extent[::1] cleared

    def __init__(self, Py_ssize_t loss, cleared, Py_ssize_t lanes=1):
        """loss: the offset of the loss; cleared: the Extents of the gradients that begin at 0; lanes: the number of
        lanes, each of which has a loss."""
        self.loss, self.cleared, self.lanes = loss, structs.checked(EXTENT, cleared), lanes

    cdef void backward(self, Context *context) noexcept nogil:
        cdef real *grad = <real *>context.grad
        cdef Py_ssize_t i
        for i in range(self.cleared.shape[0]):
            memset(grad + self.cleared[i].first, 0, self.cleared[i].count * sizeof(real))
        for i in range(self.lanes):
            grad[self.loss + i] = 1
