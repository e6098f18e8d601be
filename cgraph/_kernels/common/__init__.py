"""Code that families of kernels share: vectors, operands, geometry, parts of formulas."""
