"""Optimisers: the rules by which parameters learn, and schedules of their learning rates."""
