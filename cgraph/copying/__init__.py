"""Copies: of graphs, and of parameters from one graph to another."""
