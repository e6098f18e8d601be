"""Searches for faults in graphs: gradients by finite differences, the contract of own nodes, non-finite values."""
