# The masks of Dropout: see philox.h. `keep` has room for eight vectors.

from libc.stdint cimport uint32_t, uint64_t

from cgraph._kernels.common.simd cimport vec

cdef extern from "common/philox.h" nogil:
    ctypedef struct philox_keys:
        pass
    void philox_expand(philox_keys *keys, uint64_t seed) noexcept
    void v_keep_elements(
        vec *keep, const philox_keys *keys, uint64_t sample, Py_ssize_t block, uint32_t threshold
    ) noexcept
    void v_keep_lanes(
        vec *keep, const philox_keys *keys, uint64_t first, Py_ssize_t block, uint32_t threshold
    ) noexcept
    vec v_kept(vec keep, vec v) noexcept
