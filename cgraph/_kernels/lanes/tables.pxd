# The structs of the tables that steps over lanes read, which offsets.py makes. All offsets are counted in elements.

cpdef enum:
    IN_PLACE, PREFETCHED, PACKED    # how a GEMM reads weights: where they lie, there with prefetches, or from a copy
    PACKED_STRIDE = 8               # the distance between terms in packed weights
    SUMMED_ROWS = 24                # rows of a matrix with few outputs whose gradients are summed together


cdef extern from "lanes/tables.h" nogil:
    ctypedef struct Term:
        Py_ssize_t w, x
    ctypedef struct Position:
        Py_ssize_t x, y


# An output channel of a GEMM: the offsets of its weights and of its elements, and whether to compute it and to add.
cdef struct OutputChannel:
    Py_ssize_t w, y, accumulate
    Py_ssize_t requires_grad[2]


# Output channels that read the same source channels. `first_term`: the first one's number where terms are stored.
cdef struct ChannelSet:
    Py_ssize_t first_output, outputs, first_source, sources, first_term


# Positions, in all columns, that read the same taps. `first_tap`: the number of taps of the position sets before.
cdef struct PositionSet:
    Py_ssize_t first, count, first_tap, taps


# A tap of a position set: its number, and the offset of its source from the position's.
cdef struct ShiftedTap:
    Py_ssize_t tap, x


# The sizes of a layer, and its offsets in the arena and in the scratch.
cdef struct LayerSizes:
    Py_ssize_t lanes, c_out, positions, tap_count, padded_width
    Py_ssize_t d_offset, parameters_offset, rows, pitch
    Py_ssize_t packed_offset, padded_offset, totals_offset, transposed_offset, biases_offset, terms_offset  # scratch
    Py_ssize_t in_place         # the input needs no padding, and is read where it lies
    Py_ssize_t gaps             # there are gaps between the weights
    Py_ssize_t one_gemm         # each weight has one term of a sample, so that its gradient is one matrix product
