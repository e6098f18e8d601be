"""The kinds of nodes, one family a file. The loops are in cgraph._kernels, under the same names."""
