"""Kernels of single nodes, one family a file, as in `cgraph/nodes`: the loops of a node, and the step of a Graph."""
