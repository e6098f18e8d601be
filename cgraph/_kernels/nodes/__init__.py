"""One family of nodes a file, as in `cgraph/nodes`: the loops of one node, and its step."""
