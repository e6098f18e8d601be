"""The networks that are trained, each in the words of cgraph, PyTorch and JAX."""
