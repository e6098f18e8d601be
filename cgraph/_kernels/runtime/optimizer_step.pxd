from cgraph._kernels.runtime.step cimport Context, Step

cdef enum:
    STATES = 3      # arrays of state that a rule may have


# The rules, for all builds.
cdef enum:
    SCALE = 0       # no rule: the gradient takes the place of the sum
    SGD = 1
    NESTEROV = 2
    ADAM = 3
    RMSPROP = 4


# Parameters, their gradient sums and the state of a rule at the same places; a state that a rule does without is NULL.
cdef struct Flat:
    char *w
    char *dw
    char *a
    char *b
    char *c


# The numbers of one update of some parameters.
cdef struct Numbers:
    double scale            # of the gradient sums: 1 / samples, and less where they are clipped
    double weight_decay     # times w is added to the gradient
    double kept             # w is multiplied by this before, where the decay is decoupled
    double momentum         # of the running sum or mean of gradients
    double decay            # of the running mean of their squares
    double eps, correction  # of the root of that mean
    double step             # of w, against the direction that the rule has found


# What is compiled for each build: the rules, and the norm of n elements from `first` on.
cdef class OptimizerKernels:
    cdef void (*apply_rule)(
        int rule, const Flat *flat, Py_ssize_t first, Py_ssize_t n, const Numbers *x
    ) noexcept nogil
    cdef double (*norm)(const char *x, Py_ssize_t first, Py_ssize_t n) noexcept nogil
    cdef Py_ssize_t itemsize


# The settings of some parameters. `updates` is the number of updates that these have had.
cdef struct Settings:
    double weight_decay, momentum, decay, eps
    bint decoupled
    Py_ssize_t updates


# Consecutive parameters that learn with the same settings.
cdef struct LearningExtent:
    Py_ssize_t first, count, settings


cdef class OptimizerStep(Step):
    cdef readonly Py_ssize_t count
    cdef const LearningExtent[::1] extents
    cdef Settings[::1] settings
    cdef const double[:, ::1] rates
    cdef OptimizerKernels kernels
    cdef list kept
    cdef char *states[STATES]
    cdef Py_ssize_t *total
    cdef str owner
    cdef double max_grad_norm, norm
    cdef int rule, nonfinite
    cdef bint raises
    cdef double gradient_norm(self, const char *dw) noexcept nogil
    cdef void apply(self, Context *context, double scale) noexcept nogil
    cdef void clear(self, char *dw) noexcept nogil
