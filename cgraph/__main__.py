"""`python -m cgraph`: the same as the command `cgraph`."""

import sys

from cgraph.cli.arguments import main

sys.exit(main())
