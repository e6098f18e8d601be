"""Checks of graphs: gradients against finite differences, the contract of a node's methods, non-finite values."""
