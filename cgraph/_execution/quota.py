"""Limits on the number of processors of this process beside its affinity: the CPU quota and OMP_NUM_THREADS.

A container with half a processor still sees all processors of the machine; threads beyond its quota only make it wait
for the next period. No function here raises: a limit that is missing, or cannot be parsed, counts as none.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def openmp_threads() -> float:
    """Returns the number in OMP_NUM_THREADS, the first one of a list such as 4,2; inf without one.

    joblib, loky and dask set it in their workers, together with the variables of single libraries. Those are not read,
    since OPENBLAS_NUM_THREADS, for example, limits OpenBLAS alone.
    """
    text = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    if text.isascii() and text.isdigit() and len(text) < 10 and int(text) > 0:
        return int(text)
    return math.inf


@cache
def cpu_quota(root: Path | None = None) -> float:
    """Returns the processors that the control groups of this process allow, rounded up; inf without a quota.

    Parameters
    ----------
    root : pathlib.Path, optional
        The folder that contains `proc` and `sys`, by default "/".
    """
    # Imported here, since `import cgraph` would take a tenth longer with the imports of pathlib.
    from pathlib import Path

    root = root or Path("/")
    quotas = [quota for folder in _folders(root) for quota in _quotas(folder)]
    return max(1, math.ceil(min(quotas))) if quotas else math.inf


def _folders(root: Path) -> Iterator[Path]:
    """Yields the folders of the control groups of this process: its own group and those above it, where mounted."""
    from pathlib import PurePosixPath

    mounts = list(_mounts(root))
    for line in _lines(root / "proc/self/cgroup"):
        number, controllers, path = [*line.split(":", 2), "", ""][:3]
        if number != "0" and "cpu" not in controllers.split(","):
            continue
        for controller, top, mount_point in mounts:
            if controller == ("cgroup2" if number == "0" else "cpu"):
                below = PurePosixPath(path)
                # In a container the mount may show another part of the tree, whose top is then the process's group.
                inside = below.relative_to(top) if below.is_relative_to(top) else PurePosixPath()
                folder = root / mount_point.lstrip("/") / inside
                yield folder
                yield from folder.parents[: len(inside.parts)]


def _mounts(root: Path) -> Iterator[tuple[str, str, str]]:
    """Yields the mounts of control groups: "cgroup2" or "cpu", the group at the top of the mount, and the folder."""
    for line in _lines(root / "proc/self/mountinfo"):
        mount, _, kind = line.partition(" - ")
        fields, words = mount.split(), kind.split()
        if len(fields) < 5 or len(words) < 3:
            continue
        if words[0] == "cgroup2":
            yield "cgroup2", fields[3], fields[4]
        elif words[0] == "cgroup" and "cpu" in words[2].split(","):
            yield "cpu", fields[3], fields[4]


def _quotas(folder: Path) -> Iterator[float]:
    """Yields the quota of one control group in processors, if it has one, from the files of version 2 or 1."""
    for words in (
        _words(folder / "cpu.max"),
        [*_words(folder / "cpu.cfs_quota_us"), *_words(folder / "cpu.cfs_period_us")],
    ):
        # "max" and -1 stand for no quota.
        if len(words) == 2 and all(word.isascii() and word.isdigit() for word in words):
            quota, period = map(int, words)
            if quota > 0 and period > 0:
                yield quota / period


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return []


def _words(path: Path) -> list[str]:
    return [word for line in _lines(path) for word in line.split()]
