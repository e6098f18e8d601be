"""Passes over nodes: who computes when, and what is refused or warned of before."""
