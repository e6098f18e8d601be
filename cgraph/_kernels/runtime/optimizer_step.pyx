"""The step that updates parameters by the rule of an optimiser:   g = dw / samples, clipped;  the rule;  then dw = 0

It is compiled once, for all dtypes: nodes/optimizers.pxi has the rules, for each build.
"""
from cpython.buffer cimport PyBUF_C_CONTIGUOUS, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.math cimport hypot, isfinite, pow, sqrt
from libc.string cimport memset

from cgraph._kernels.runtime import structs
from cgraph._kernels.runtime.atomics cimport s_exchange
from cgraph._kernels.runtime.step cimport Context, Step

cdef Settings settings_of_none
cdef Settings[::1] some_settings = <Settings[:1]>&settings_of_none
SETTINGS = structs.dtype_of(some_settings)
cdef LearningExtent no_parameters
cdef LearningExtent[::1] some_parameters = <LearningExtent[:1]>&no_parameters
LEARNING_EXTENT = structs.dtype_of(some_parameters)

cdef double CLIP_EPS = 1e-6     # of torch.nn.utils.clip_grad_norm_

RULES = ("scale", "sgd", "nesterov", "adam", "rmsprop")
NONFINITE = ("ignore", "skip", "raise")
cdef enum:
    IGNORE = 0
    SKIP = 1
    RAISE = 2


cdef class OptimizerKernels:
    """The rules as they are compiled for one build."""


cdef class OptimizerStep(Step):
    """The update of parameters by an optimiser.

    Parameters
    ----------
    owner : str
        The name of the optimiser, for messages.
    rule : str
        One of RULES.
    kernels : OptimizerKernels
        Those of the build of the parameters.
    extents : ndarray of LearningExtent
        The parameters that learn, each with the index of its settings.
    settings : ndarray of Settings
        The step counts the updates there.
    states : list of ndarray
        The state at the places of the parameters, at most three arrays; None stands for one that the rule does without.
    max_grad_norm : float
        The norm of the whole gradient beyond which it is scaled down; infinity for none.
    nonfinite : str
        One of NONFINITE: what to do with a gradient that is not finite. After "skip" and "raise" parameters, state and
        counts are as before, and the gradient sums are 0.
    total : ndarray of intp
        Its one element counts all updates of the optimiser.

    Attributes
    ----------
    count : int
        The number of updates since `begin`.
    """

    def __init__(
        self, str owner, str rule, OptimizerKernels kernels not None, extents, settings, list states,
        double max_grad_norm, str nonfinite, total
    ):
        cdef Py_ssize_t i
        self.owner, self.rule, self.nonfinite = owner, RULES.index(rule), NONFINITE.index(nonfinite)
        self.kernels, self.kept, self.max_grad_norm = kernels, [*states, total], max_grad_norm
        self.total = <Py_ssize_t *>address_of(total)
        self.extents = structs.checked(LEARNING_EXTENT, extents)
        self.settings = structs.checked(SETTINGS, settings)
        for i in range(len(states)):
            self.states[i] = NULL if states[i] is None else address_of(states[i])

    def begin(self, const double[:, ::1] rates):
        """Gives the learning rates of the next updates, a row for each, or one for all; a column for each settings."""
        if rates.shape[1] != self.settings.shape[0]:
            raise ValueError(f"OptimizerStep: needs {self.settings.shape[0]} rates, got {rates.shape[1]}")
        self.rates, self.count = rates, 0

    cdef void apply_update(self, Context *context) noexcept nogil:
        cdef double factor, scale = 1.0 / context.samples if context.samples > 0 else 1
        cdef bint clips = isfinite(self.max_grad_norm), accepts = True
        if clips or self.nonfinite != IGNORE:
            self.norm = scale * self.gradient_norm(context.parameter_grads)
            accepts = self.nonfinite == IGNORE or isfinite(self.norm)
            if clips:
                # A norm that is NaN makes all parameters NaN.
                factor = self.max_grad_norm / (self.norm + CLIP_EPS)
                scale *= 1 if factor > 1 else factor
        if accepts:
            self.apply(context, scale)
        elif self.nonfinite == RAISE:
            self.raises = True
            s_exchange(&context.failed, True)
        if not accepts or not context.grads_are_zero and self.rule != SCALE:
            self.clear(context.parameter_grads)

    cdef double gradient_norm(self, const char *dw) noexcept nogil:
        """Returns the norm of all gradient sums that learn."""
        cdef Py_ssize_t i
        cdef double norm = 0
        for i in range(self.extents.shape[0]):
            norm = hypot(norm, self.kernels.norm(dw, self.extents[i].first, self.extents[i].count))
        return norm

    cdef void apply(self, Context *context, double scale) noexcept nogil:
        """Applies the rule to all parameters that learn, and counts the update."""
        cdef Py_ssize_t i, row = min(self.count, self.rates.shape[0] - 1), last = -1
        cdef int rule = self.rule
        cdef Numbers numbers
        cdef Flat flat
        flat.w, flat.dw = context.parameters, context.parameter_grads
        flat.a, flat.b, flat.c = self.states[0], self.states[1], self.states[2]
        for i in range(self.extents.shape[0]):
            if self.extents[i].settings != last:
                last = self.extents[i].settings
                set_numbers(&numbers, &self.settings[last], self.rates[row, last], scale, rule)
            self.kernels.apply_rule(rule, &flat, self.extents[i].first, self.extents[i].count, &numbers)
        for i in range(self.settings.shape[0]):
            self.settings[i].updates += 1
        self.count = self.count + 1
        self.total[0] = self.total[0] + 1

    cdef void clear(self, char *dw) noexcept nogil:
        """Sets all gradient sums that learn to 0."""
        cdef Py_ssize_t i, item = self.kernels.itemsize
        for i in range(self.extents.shape[0]):
            memset(dw + self.extents[i].first * item, 0, self.extents[i].count * item)

    cdef object take_error(self):
        if not self.raises:
            return None
        self.raises = False
        return FloatingPointError(f"{self.owner}: gradients must be finite, got a gradient of norm {self.norm}")


cdef void set_numbers(Numbers *x, const Settings *s, double rate, double scale, int rule) noexcept nogil:
    """Computes the numbers of an update. Adam divides running means, which began at 0, by the sum of their weights."""
    x.scale, x.step, x.correction = scale, rate, 1
    x.weight_decay, x.kept = s.weight_decay, 1
    x.momentum, x.decay, x.eps = s.momentum, s.decay, s.eps
    if s.decoupled:
        x.weight_decay, x.kept = 0, 1 - rate * s.weight_decay
    if rule == ADAM:
        x.step = rate / (1 - pow(s.momentum, s.updates + 1))
        x.correction = 1 / sqrt(1 - pow(s.decay, s.updates + 1))


cdef char *address_of(array) except? NULL:
    """Returns the address of a contiguous array, which somebody else keeps alive."""
    cdef Py_buffer view
    PyObject_GetBuffer(array, &view, PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE)
    PyBuffer_Release(&view)
    return <char *>view.buf
