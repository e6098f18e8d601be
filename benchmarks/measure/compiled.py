"""The C files beside this one, compiled when they are needed."""

import ctypes
import os
import platform
import subprocess
import tempfile
from functools import cache
from pathlib import Path

INTEL = platform.machine().lower() in ("x86_64", "amd64")
FLAGS = ["-O3", "-shared", "-fPIC", "-ffp-contract=fast", *(["-mavx2", "-mfma"] if INTEL else [])]


@cache
def library(name: str) -> ctypes.CDLL:
    """Compiles a .c file and loads its functions."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"{name}.so")
        source = Path(__file__).with_name(f"{name}.c")
        compiler = os.environ.get("CC", "cc")
        subprocess.run([compiler, *FLAGS, str(source), "-o", str(path)], check=True)
        return ctypes.CDLL(str(path))
