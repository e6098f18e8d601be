# The structs of the tables that a ConvolutionGroupStep reads. offsets.py makes the tables.

# Rows of a product that have the same terms: `rows` of the tables of offsets, from `first` on, and `depth` terms, from
# `term` on. In an input gradient, these are input rows whose gradients come from one set of kernel rows.
cdef struct RowGroup:
    Py_ssize_t first, rows, term, depth
