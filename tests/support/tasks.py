"""What tests of threads look at, and how long they wait."""

import os

import pytest

TASKS = "/proc/self/task"  # of Linux: a file for each thread
SECONDS = 60  # until something that does not end has failed

needs_tasks = pytest.mark.skipif(not os.path.isdir(TASKS), reason="counts tasks of Linux")
