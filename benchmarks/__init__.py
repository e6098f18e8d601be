"""Measurements of cgraph and of its peers; each module at the top is a command: `python -m benchmarks.performance`."""
