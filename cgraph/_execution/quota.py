"""How many processors the operating system and the environment leave to this process, beside its affinity.

A container with half a processor still sees all of them; more threads than its quota only make it wait for the next
period. Nothing here raises: what is not there, or not understood, limits nothing.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path, PurePosixPath


def openmp_threads() -> float:
    """The number in OMP_NUM_THREADS, the first one of a list such as 4,2; inf without it.

    joblib, loky and dask set it in their workers, together with the variables of single libraries. Those are not read:
    who sets OPENBLAS_NUM_THREADS alone speaks of OpenBLAS.
    """
    text = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    if text.isascii() and text.isdigit() and len(text) < 10 and int(text) > 0:
        return int(text)
    return math.inf


@cache
def cpu_quota(root: Path = Path("/")) -> float:
    """The processors that the control groups of this process leave it, rounded up; inf without a quota.

    Parameters
    ----------
    root : pathlib.Path
        The folder in which `proc` and `sys` are looked for.
    """
    shares = [share for folder in _folders(root) for share in _shares(folder)]
    return max(1, math.ceil(min(shares))) if shares else math.inf


def _folders(root: Path) -> Iterator[Path]:
    """The control groups whose quota counts: that of the process and those above it, as far as they are mounted."""
    mounts = list(_mounts(root))
    for line in _lines(root / "proc/self/cgroup"):
        number, controllers, path = [*line.split(":", 2), "", ""][:3]
        if number != "0" and "cpu" not in controllers.split(","):
            continue
        for controller, top, place in mounts:
            if controller == ("cgroup2" if number == "0" else "cpu"):
                below = PurePosixPath(path)
                # Where the mount shows another part of the tree, a container's, its top is the process's own group.
                inside = below.relative_to(top) if below.is_relative_to(top) else PurePosixPath()
                folder = root / place.lstrip("/") / inside
                yield folder
                yield from folder.parents[: len(inside.parts)]


def _mounts(root: Path) -> Iterator[tuple[str, str, str]]:
    """Where control groups are mounted: "cgroup2" or "cpu", the group that is shown there, and the folder."""
    for line in _lines(root / "proc/self/mountinfo"):
        mount, _, kind = line.partition(" - ")
        fields, words = mount.split(), kind.split()
        if len(fields) < 5 or len(words) < 3:
            continue
        if words[0] == "cgroup2":
            yield "cgroup2", fields[3], fields[4]
        elif words[0] == "cgroup" and "cpu" in words[2].split(","):
            yield "cpu", fields[3], fields[4]


def _shares(folder: Path) -> Iterator[float]:
    """The quota of one group in processors, in the words of version 2 and of version 1; none where there is none."""
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
