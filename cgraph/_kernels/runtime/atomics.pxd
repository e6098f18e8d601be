# The declarations of atomics.h.
from libc.stdint cimport int64_t

cdef extern from "runtime/atomics.h" nogil:
    ctypedef long s_state
    s_state s_load(s_state *p) noexcept
    void *s_load_pointer(void **p) noexcept
    s_state s_add(s_state *p, s_state summand) noexcept
    s_state s_exchange(s_state *p, s_state new) noexcept
    bint s_replace(s_state *p, s_state old, s_state new) noexcept
    bint s_replace_pointer(void **p, void *old, void *new) noexcept
    void s_pause() noexcept
    int64_t s_nanoseconds() noexcept
    int s_core() noexcept
    void s_leave(int core) noexcept
