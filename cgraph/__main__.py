"""Runs the command `cgraph` for `python -m cgraph`."""

import sys

from cgraph.cli.arguments import main

sys.exit(main())
