"""Hooks for PyInstaller, which finds this folder by the entry point `hook-dirs`."""

import os


def get_hook_dirs() -> list[str]:
    """The folders with hooks."""
    return [os.path.dirname(__file__)]
