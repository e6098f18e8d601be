"""The C files beside this one, compiled when they are needed, with the instructions of a build of cgraph."""

import ctypes
import os
import platform
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from benchmarks.measure.internals import instructions_in_use

FLAGS = ["-O3", "-shared", "-fPIC", "-ffp-contract=fast", "-fno-math-errno"]
AVX2 = ["-mavx2", "-mfma"]
# What setup.py adds for each build on x86-64; other machines have the baseline alone.
INSTRUCTIONS = {
    "baseline": [],
    "avx2": AVX2,
    "avx512": [*AVX2, *(f"-mavx512{part}" for part in ("f", "bw", "cd", "dq", "vl"))],
}
if platform.machine().lower() not in ("x86_64", "amd64"):
    INSTRUCTIONS = {"baseline": []}


@cache
def library(name: str, instructions: str | None = None) -> ctypes.CDLL:
    """Compiles a .c file with the instructions of a build, by default the one in use, and loads its functions."""
    flags = [*FLAGS, *INSTRUCTIONS[instructions or instructions_in_use()]]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"{name}.so")
        source = Path(__file__).with_name(f"{name}.c")
        compiler = os.environ.get("CC", "cc")
        subprocess.run([compiler, *flags, str(source), "-o", str(path)], check=True)
        return ctypes.CDLL(str(path))
