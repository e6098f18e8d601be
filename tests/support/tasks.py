"""The threads of this process as Linux lists them, and the longest wait of a test for one."""

import os

import pytest

TASKS = "/proc/self/task"  # of Linux: a file for each thread
SECONDS = 60  # until something that does not end has failed

needs_tasks = pytest.mark.skipif(not os.path.isdir(TASKS), reason="counts tasks of Linux")
