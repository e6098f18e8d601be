"""The peer libraries: contenders are built only where their library is installed."""

import importlib.metadata
import sys
from collections.abc import Callable, Mapping
from functools import cache

from benchmarks.measure.timing import Work

# The module of each peer, and its distribution.
PEERS = {
    "torch": "torch",
    "jax": "jax",
    "optax": "optax",
    "onnx": "onnx",
    "onnxruntime": "onnxruntime",
    "sklearn": "scikit-learn",
}
Makers = Mapping[str, Callable[[], Work]]


def built(makers: Makers, report: bool = True) -> dict[str, Work]:
    """Builds the contenders whose libraries can be imported; a line says which libraries cannot."""
    works = {}
    for name, make in makers.items():
        try:
            works[name] = make()
        except ImportError as error:
            module = (error.name or "").partition(".")[0]
            if module not in PEERS:
                raise
            if report:
                report_missing(module)
    return works


@cache
def report_missing(module: str) -> None:
    """Says once that rows are left out, on the error stream, so that tables can be read from the output."""
    print(f"{PEERS[module]} cannot be imported: its rows are left out.", file=sys.stderr)


def versions() -> dict[str, str | None]:
    """The version of NumPy and of each peer; None where it is not installed."""
    found: dict[str, str | None] = {}
    for name in ("numpy", *PEERS.values()):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found
