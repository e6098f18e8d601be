"""The kinds of nodes, one family a file. The loops are in files of equal name in cgraph/_kernels/nodes."""

from cgraph.nodes import arithmetic as arithmetic
