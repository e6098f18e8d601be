# Dropout: the elements of a sample are dropped, or kept and divided by the share that is kept.
#
# Design: the mask is computed anew in the backward pass, which is the same loop as the forward pass: it reads g where
# that reads x. docs/understand/decisions/0015-dropout.md has the reasons.

# d_i = c x_i where element i is kept, else 0;   dx_i += c g_i where element i is kept

cdef struct Rule:
    uint64_t seed
    uint32_t threshold  # elements whose word is smaller are dropped
    real factor         # c


cdef void drop(Input x, Output d, Py_ssize_t n, const Rule *rule, uint64_t sample) noexcept nogil:
    """Computes n elements of one sample."""
    cdef vec keep[4]
    cdef vec factor = v_set1(rule.factor)
    cdef uint32_t threshold = rule.threshold
    cdef philox_keys keys
    cdef Py_ssize_t i = 0, k
    philox_expand(&keys, rule.seed)
    while i < n:
        v_keep_elements(keep, &keys, sample, i // 4, threshold)
        for k in range(4):
            if i < n:
                put(d, i, n, v_kept(keep[k], v_mul(factor, get(x, i, n))))
            i += V_LANES


cdef void drop_lanes(
    Input x, Output d, Py_ssize_t n, Py_ssize_t lanes, const Rule *rule, uint64_t first
) noexcept nogil:
    """Computes n elements of `lanes` samples side by side, the first of which has the number `first`."""
    cdef vec keep[4]
    cdef vec factor = v_set1(rule.factor)
    cdef uint32_t threshold = rule.threshold
    cdef philox_keys keys
    cdef Py_ssize_t i, k, lane
    philox_expand(&keys, rule.seed)
    for i in range(0, n, 4):
        lane = 0
        while lane < lanes:
            v_keep_lanes(keep, &keys, first + <uint64_t>lane, i // 4, threshold)
            for k in range(min(4, n - i)):
                put_lanes(
                    output_lane(d, lane), i + k, v_kept(keep[k], v_mul(factor, get_lanes(input_lane(x, lane), i + k)))
                )
            lane += V_LANES


cdef class DropoutStep(Step):
    cdef Py_ssize_t n, lanes
    cdef OperandFields x, d
    cdef Rule rule
    cdef SampleCounter counter

    cdef void forward(self, Context *context) noexcept nogil:
        self.apply(context, data_of(context, &self.x), output(context, &self.d))

    cdef void backward(self, Context *context) noexcept nogil:
        cdef Output dx = gradient(context, &self.x)
        if dx.start != NULL:
            self.apply(context, grad_of(context, &self.d), dx)

    cdef void apply(self, Context *context, Input x, Output d) noexcept nogil:
        cdef uint64_t sample = self.counter.base + <uint64_t>context.sample
        if self.lanes > 1 and self.counter.active:
            drop_lanes(x, d, self.n, self.lanes, &self.rule, sample)
        elif self.counter.active:
            drop(x, d, self.n, &self.rule, sample)
        else:
            if self.lanes > 1:
                x.stride = d.stride = 1
            move(x, d, self.n * self.lanes)


cdef class DropoutOperation:
    """What the Node path calls, and what makes the steps of a Graph."""
    cdef Rule rule
    cdef SampleCounter counter

    def __init__(self, SampleCounter counter not None, uint64_t seed, uint32_t threshold, real factor):
        self.counter, self.rule = counter, Rule(seed, threshold, factor)

    cdef int apply(self, const real[:] x, Output d, Py_ssize_t n) except -1:
        require(x.shape[0] == n)
        with nogil:
            if self.counter.active:
                drop(input_of(x), d, n, &self.rule, self.counter.number)
            else:
                move(input_of(x), d, n)
        return 0

    def forward(self, const real[:] x, real[:] d):
        self.apply(x, overwritten(d), d.shape[0])

    def backward(self, const real[:] g, real[:] dx):
        self.apply(g, added_to(dx), dx.shape[0])

    def step(self, Py_ssize_t n, Py_ssize_t lanes, Operand x not None, Operand d not None):
        """Returns a step for one sample or, with more `lanes`, which fill whole vectors, for samples side by side."""
        cdef DropoutStep step = DropoutStep.__new__(DropoutStep)
        step.n, step.lanes, step.x, step.d = n, lanes, x.fields, d.fields
        step.rule, step.counter = self.rule, self.counter
        if x.fields.stride == d.fields.stride == 1:
            step.n = whole_vectors(n)
        return step
