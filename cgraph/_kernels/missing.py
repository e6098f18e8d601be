"""The error message of an import that fails because a compiled module is missing."""

from __future__ import annotations

import sys
from importlib.machinery import EXTENSION_SUFFIXES
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def explained(error: ModuleNotFoundError) -> ImportError:
    """Returns the error to raise instead, which names the missing module and the remedy."""
    # Imported here, since `import cgraph` would take a tenth longer with the imports of pathlib.
    from pathlib import Path

    if _is_compiled(Path(__file__).parent / "builds") or getattr(sys, "frozen", False):
        remedy = (
            "install cgraph anew; a frozen application must bring all of cgraph._kernels "
            "(PyInstaller: --collect-submodules cgraph)"
        )
        return ImportError(f"cgraph: module {error.name} is missing: {remedy}", name=error.name)
    return ImportError(
        f"cgraph is not compiled here, module {error.name} is missing: run `pip install -e .` in the checkout, "
        "or import it from elsewhere",
        name=error.name,
    )


def _is_compiled(folder: Path) -> bool:
    """Whether a folder holds a module that was compiled for this Python."""
    return any(
        f".{path.name.partition('.')[2]}" in EXTENSION_SUFFIXES for path in folder.glob("*.*")
    )
