"""Import this before NumPy: everything runs on one thread, the process on one core, so that comparisons are fair."""

import os
from typing import Any

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"
os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
os.environ["JAX_PLATFORMS"] = "cpu"
PINNED = hasattr(os, "sched_setaffinity")
if PINNED:
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def torch_module() -> Any:
    """PyTorch."""
    import torch

    torch.set_num_threads(1)
    return torch


def jax_module() -> Any:
    """JAX, with both dtypes, and without the hand-over of each call to another thread."""
    import jax

    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    return jax
