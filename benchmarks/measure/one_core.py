"""Import this before NumPy: everything runs on one thread, the process on one core, so that comparisons are fair.

In a process that has been passed cores (for two threads), everything runs on as many threads as there are cores.
"""

import os
from typing import Any

PASSED_ON = (
    "CGRAPH_BENCHMARK_CORES"  # the variable with the cores of a process that another one starts
)
PINNED = hasattr(os, "sched_setaffinity")
CORES = sorted(os.sched_getaffinity(0)) if PINNED else list(range(os.cpu_count() or 1))
USED = [int(core) for core in os.environ.get(PASSED_ON, str(CORES[-1])).split(",")]

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = str(len(USED))
ONE_THREAD = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
HELD = ("--xla_cpu_max_isa", "--xla_cpu_experimental_ynn")  # flags to keep: see instructions.py
FLAGS = [flag for flag in os.environ.get("XLA_FLAGS", "").split() if flag.startswith(HELD)]
FLAGS += [ONE_THREAD] if len(USED) == 1 else []
os.environ["XLA_FLAGS"] = " ".join(FLAGS)
os.environ["JAX_PLATFORMS"] = "cpu"
if PINNED:
    os.sched_setaffinity(0, USED)


def torch_module() -> Any:
    """Imports PyTorch, with as many threads as there are cores."""
    import torch

    torch.set_num_threads(len(USED))
    return torch


def jax_module() -> Any:
    """Imports JAX, with both dtypes, and without the hand-over of each call to another thread."""
    import jax
    import jax.flatten_util

    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    return jax
