# The structs of the tables that a ConvolutionGroupStep reads. offsets.py makes the tables.

# Input rows whose gradients come from one set of kernel rows: `rows` elements of `grad_offsets` and `input_offsets`,
# from `first` on; `depth` rows of the transposed kernels, from `kernel` on.
cdef struct Subconvolution:
    Py_ssize_t first, rows, kernel, depth
