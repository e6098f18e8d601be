"""Passes over nodes: the order in which nodes compute, and the errors and warnings before a pass begins."""
