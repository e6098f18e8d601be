"""Clocks and yardsticks: alternating timings, one core, the peaks of arithmetic and memory, tables of results."""
