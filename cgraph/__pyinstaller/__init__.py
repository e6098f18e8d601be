"""Hooks for PyInstaller, which finds this folder by the entry point `hook-dirs`."""

import os


def get_hook_dirs() -> list[str]:
    """Returns the folder of the hooks, for PyInstaller."""
    return [os.path.dirname(__file__)]
