"""The command `cgraph`."""

from cgraph.cli.arguments import main

__all__ = ["main"]
