# The step of a recurrent cell: the steps of two products, and between them the gates, whose loops are in cells.pxi.
from cgraph._kernels.runtime.memory import address
from cgraph._kernels.runtime.step cimport CellBlocks, LearningStep, MatrixKernels, Operand, OperandFields


cdef class CellStep(Step):
    """The step of one GRUCell or LSTMCell, for one sample or over lanes.

    ih, hh: the steps of the products a and b, which are outputs of their own in the data, as da and db are in the
    gradients. hh adds to the gradient of h, where this is s; else s is another part of the state.
    """
    cdef LearningStep ih, hh
    cdef MatrixKernels kernels
    cdef Py_ssize_t n, a, b, item
    cdef bint is_lstm
    cdef OperandFields s, d

    def __init__(
        self, MatrixKernels kernels not None, bint is_lstm, Py_ssize_t n, products, Operand s not None,
        Operand d not None, Py_ssize_t a, Py_ssize_t b, Py_ssize_t item
    ):
        """n: the elements of a gate, of all lanes; a, b: the offsets of the products in the data; item: the bytes of an
        element."""
        self.ih, self.hh = products
        self.kernels, self.is_lstm, self.n, self.s, self.d = kernels, is_lstm, n, s.fields, d.fields
        self.a, self.b, self.item, self.table_bytes = a, b, item, self.ih.table_bytes + self.hh.table_bytes

    @property
    def learners(self):
        return self.ih, self.hh

    cdef CellBlocks blocks(self, Context *context) noexcept nogil:
        cdef Py_ssize_t a = self.a * self.item, b = self.b * self.item, d = self.d.offset * self.item
        return CellBlocks(
            context.data + a, context.data + b, context.grad + a, context.grad + b,
            context.data + self.s.offset * self.item, context.grad + d, context.data + d, self.s.stride, self.d.stride
        )

    cdef void activate(self, Context *context, const CellBlocks *p) noexcept nogil:
        """Computes the products and the gates."""
        self.ih.forward(context)
        self.hh.forward(context)
        self.kernels.run_gates(self.is_lstm, False, p, self.n)

    cdef void forward(self, Context *context) noexcept nogil:
        cdef CellBlocks p = self.blocks(context)
        self.activate(context, &p)

    cdef void backward(self, Context *context) noexcept nogil:
        cdef CellBlocks p = self.blocks(context)
        cdef Py_ssize_t stride = p.d_stride
        if context.apart:
            p.d, p.d_stride = p.db, 1   # the data may be others now, and stay
            self.activate(context, &p)
            p.d_stride = stride
        self.kernels.run_gates(self.is_lstm, True, &p, self.n)
        self.ih.backward(context)   # first, since x and the state may be one buffer, which ih then overwrites
        if self.s.requires_grad[context.parameters_only]:
            self.kernels.put_direct_share(
                p.b, context.grad + self.s.offset * self.item, self.s.stride, self.s.accumulate, self.n
            )
        self.hh.backward(context)


def run_cell(MatrixKernels kernels not None, bint is_lstm, bint backward, Py_ssize_t n, Py_ssize_t item, room):
    """Computes the gates of a cell of n units on the Node path, or their gradients.

    room: a contiguous array of the blocks of a, b, da and db, one block of s, and two of d in a forward pass, or of g
    in a backward pass; item: the bytes of an element.
    """
    cdef Py_ssize_t size = (4 if is_lstm else 3) * n * item
    cdef char *a = <char *><size_t>address(room)
    cdef char *s = a + 4 * size
    cdef char *d = s + n * item
    if room.nbytes != 4 * size + 3 * n * item:
        raise ValueError("run_cell: room must have all blocks")
    cdef CellBlocks p = CellBlocks(a, a + size, a + 2 * size, a + 3 * size, s, d, d, 1, 1)
    with nogil:
        kernels.run_gates(is_lstm, backward, &p, n)
