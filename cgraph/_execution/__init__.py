"""Execution: the memory of a Graph, and its calls by way of executors and threads."""
