"""What the families of kernels share: vectors, operands, geometry, pieces of formulas."""
