# The step of a stretch: functions of equally many elements, all of which compute one tile of elements after the other.
# Here is also what runs a loop on operands that it cannot take where they lie, on both paths.
from libc.stdlib cimport calloc, free

from cgraph._kernels.common.elementwise_loops cimport Constants, Loop
from cgraph._kernels.common.operands cimport Input, Operands, Output, get, put
from cgraph._kernels.common.simd cimport V_LANES, real, v_load, v_store
from cgraph._kernels.runtime.step cimport Context, OperandFields, Step


cdef inline void exchange(Operands *v) noexcept nogil:
    """Exchanges x and y, for a loop that computes the share of y."""
    v.x, v.y = v.y, v.x


cdef enum:
    COPIED_VECTORS = 8  # of a tile of elements that a loop cannot take where they lie


cdef void compute(Loop loop, const Operands *v, int inputs, const Output *to, Py_ssize_t n, Constants c) noexcept nogil:
    """Runs a loop on n elements, of any stride; `inputs` is the number of operands that v has."""
    cdef real tiles[5][COPIED_VECTORS * V_LANES]
    cdef const Input *x = <const Input *>v
    cdef Operands copied
    cdef Input *copies = <Input *>&copied
    cdef Output d = Output(&tiles[4][0], 1, False)
    cdef bint contiguous = to.stride == 1
    cdef Py_ssize_t first = 0, count, i
    cdef int k
    for k in range(inputs):
        contiguous = contiguous and x[k].stride == 1
    if contiguous:
        first = n // V_LANES * V_LANES
        loop(v, to, first, c)
    while first < n:
        count = min(n - first, <Py_ssize_t>COPIED_VECTORS * V_LANES)
        for k in range(inputs):
            i = 0
            if k > 0 and x[k].start == x[k - 1].start and x[k].stride == x[k - 1].stride:
                copies[k] = copies[k - 1]   # as on the Node path, where g stands for what is not read
                continue
            copies[k] = Input(&tiles[k][0], 1)
            while i < count:
                v_store(tiles[k] + i, get(x[k], first + i, first + count))
                i += V_LANES
        loop(&copied, &d, (count + V_LANES - 1) // V_LANES * V_LANES, c)
        i = 0
        while i < count:
            put(to[0], first + i, first + count, v_load(tiles[4] + i))
            i += V_LANES
        first += count


# An operand of a link: the offsets of the first elements of its data and of its gradient, and the stride from one
# element to the next. An element of the next tile is as many strides further on as a tile has elements, or lies at the
# same place, where all tiles share it: then the pace is 0, and else the stride.
cdef struct Place:
    Py_ssize_t data, grad, data_pace, grad_pace, stride
    bint accumulate
    bint requires_grad[2]


# An operation in a stretch, with its operands.
cdef struct Link:
    Loop value, share_x, share_y
    Constants constants
    Place x, y, d


cdef inline Place place_of(OperandFields p):
    return Place(p.offset, p.offset, p.stride, p.stride, p.stride, p.accumulate, p.requires_grad)


cdef inline Input data_at(Context *context, Place *p, Py_ssize_t first) noexcept nogil:
    return Input(<real *>context.data + p.data + first * p.data_pace, p.stride)


cdef inline Input grad_at(Context *context, Place *p, Py_ssize_t first) noexcept nogil:
    return Input(<real *>context.grad + p.grad + first * p.grad_pace, p.stride)


cdef class FunctionsStep(Step):
    """The step of a stretch: operations on n elements each, for one sample or over lanes.

    All operations compute one tile of elements before the first one takes the next tile. A single operation, on a node
    or a fused group of nodes in one buffer, is a stretch of one link and one tile.
    """
    cdef Py_ssize_t n, tile, count
    cdef bint whole_vectors     # all operands are contiguous, and n is a multiple of V_LANES
    cdef Link *links            # in the order of a forward pass

    def __cinit__(self, Py_ssize_t count):
        self.count = count
        self.links = <Link *>calloc(count, sizeof(Link))
        if self.links == NULL:
            raise MemoryError()

    def __dealloc__(self):
        free(self.links)

    cdef void forward(self, Context *context) noexcept nogil:
        cdef Py_ssize_t first = 0, n, i
        cdef Link *link
        cdef Operands v
        cdef Output d
        d.accumulate = False
        while first < self.n:
            n = min(self.tile, self.n - first)
            for i in range(self.count):
                link = self.links + i
                v.x, v.y = data_at(context, &link.x, first), data_at(context, &link.y, first)
                d.start = <real *>context.data + link.d.data + first * link.d.data_pace
                d.stride = link.d.stride
                if self.whole_vectors:
                    link.value(&v, &d, n, link.constants)
                else:
                    compute(link.value, &v, 2, &d, n, link.constants)
            first += n

    cdef void backward(self, Context *context) noexcept nogil:
        cdef Py_ssize_t first = 0, n, i
        cdef Link *link
        cdef Operands v
        cdef bint has_x, has_y
        while first < self.n:
            n = min(self.tile, self.n - first)
            i = self.count - 1
            while i >= 0:
                link = self.links + i
                i -= 1
                has_x = link.x.requires_grad[context.parameters_only]
                has_y = link.share_y != NULL and link.y.requires_grad[context.parameters_only]
                if not (has_x or has_y):
                    continue
                v.x, v.y = data_at(context, &link.x, first), data_at(context, &link.y, first)
                v.d, v.g = data_at(context, &link.d, first), grad_at(context, &link.d, first)
                # dx before dy: both may be one buffer, which dx then overwrites and dy adds to.
                if has_x:
                    self.put_shares(context, link.share_x, &v, &link.x, first, n, link.constants)
                if has_y:
                    exchange(&v)
                    self.put_shares(context, link.share_y, &v, &link.y, first, n, link.constants)
            first += n

    cdef inline void put_shares(
        self, Context *context, Loop loop, const Operands *v, Place *x, Py_ssize_t first, Py_ssize_t n, Constants c
    ) noexcept nogil:
        cdef Output dx
        dx.start = <real *>context.grad + x.grad + first * x.grad_pace
        dx.stride, dx.accumulate = x.stride, x.accumulate
        if self.whole_vectors:
            loop(v, &dx, n, c)
        else:
            compute(loop, v, 4, &dx, n, c)


def stretch(list steps, Py_ssize_t tile, list places, bint keeps_data, /):
    """Returns one step for several, which compute equally many elements and follow each other.

    tile: the number of elements of a tile, whole vectors. places: for x, y and d of each step the offset of a place for
    one tile, or -1; an operand has its gradient there and, if not `keeps_data`, its data.
    """
    cdef FunctionsStep step, result = FunctionsStep.__new__(FunctionsStep, len(steps))
    cdef Place *operands[3]
    cdef Place *place
    cdef Py_ssize_t i, k, offset
    cdef list offsets
    result.tile, result.whole_vectors = tile, True
    for i in range(result.count):
        step, offsets = steps[i], places[i]
        result.links[i] = step.links[0]
        operands[0], operands[1], operands[2] = &result.links[i].x, &result.links[i].y, &result.links[i].d
        result.n = step.n if i == 0 else min(result.n, step.n)
        result.whole_vectors = result.whole_vectors and step.whole_vectors
        for k in range(3):
            offset = offsets[k]
            if offset >= 0:
                place = operands[k]
                place.grad, place.grad_pace = offset, 0
                if not keeps_data:
                    place.data, place.data_pace = offset, 0
    return result
