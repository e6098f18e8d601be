"""The default number of threads: affinity, CPU quotas of control groups, OMP_NUM_THREADS."""

import math

import pytest

from cgraph._execution import threads
from cgraph._execution.quota import cpu_quota, openmp_threads

pytestmark = pytest.mark.thread_unsafe(reason="changes the environment")

V2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n"
V1 = "31 23 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
V1_IN_DOCKER = V1.replace(" / ", " /docker/77 ", 1)
OTHER = "32 23 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n24 1 0:5 / /proc rw - proc\nodd\n"
CPU, CPU1 = "sys/fs/cgroup", "sys/fs/cgroup/cpu,cpuacct"

# (mountinfo, cgroup, files, processors)
TREES = {
    "container": (V2, "0::/\n", {f"{CPU}/cpu.max": "150000 100000\n"}, 2),
    "half": (V2, "0::/\n", {f"{CPU}/cpu.max": "50000 100000\n"}, 1),
    "whole": (V2, "0::/\n", {f"{CPU}/cpu.max": "400000 100000\n"}, 4),
    "no_quota": (V2, "0::/\n", {f"{CPU}/cpu.max": "max 100000\n"}, math.inf),
    "own_group": (V2, "0::/a/b\n", {f"{CPU}/a/b/cpu.max": "300000 100000\n"}, 3),
    "ancestor": (
        OTHER + V2,
        "0::/a/b\n",
        {f"{CPU}/a/b/cpu.max": "max 100000\n", f"{CPU}/a/cpu.max": "100000 50000\n"},
        2,
    ),
    "smallest": (
        V2,
        "0::/a/b\n",
        {f"{CPU}/a/b/cpu.max": "900000 100000\n", f"{CPU}/cpu.max": "200000 100000\n"},
        2,
    ),
    "of_others": (V2, "0::/a\n", {f"{CPU}/b/cpu.max": "100000 100000\n"}, math.inf),
    "version_1": (
        OTHER + V1,
        "9:memory:/\n4:cpu,cpuacct:/x\n",
        {f"{CPU1}/x/cpu.cfs_quota_us": "250000\n", f"{CPU1}/x/cpu.cfs_period_us": "100000\n"},
        3,
    ),
    "version_1_no_quota": (
        V1,
        "4:cpu,cpuacct:/\n",
        {f"{CPU1}/cpu.cfs_quota_us": "-1\n", f"{CPU1}/cpu.cfs_period_us": "100000\n"},
        math.inf,
    ),
    "version_1_in_docker": (
        V1_IN_DOCKER,
        "4:cpu,cpuacct:/docker/77/y\n",
        {f"{CPU1}/cpu.cfs_quota_us": "100000\n", f"{CPU1}/cpu.cfs_period_us": "100000\n"},
        1,
    ),
    "from_outside": (
        V1_IN_DOCKER,
        "4:cpu,cpuacct:/elsewhere\n",
        {f"{CPU1}/cpu.cfs_quota_us": "100000\n", f"{CPU1}/cpu.cfs_period_us": "100000\n"},
        1,
    ),
    "half_of_version_1": (V1, "4:cpu:/\n", {f"{CPU1}/cpu.cfs_quota_us": "100000\n"}, math.inf),
    "nonsense": (V2, "0::/\n4\n\n", {f"{CPU}/cpu.max": "lots of it\n"}, math.inf),
    "period_0": (V2, "0::/\n", {f"{CPU}/cpu.max": "100000 0\n"}, math.inf),
    "not_mounted": (OTHER, "0::/\n", {f"{CPU}/cpu.max": "100000 100000\n"}, math.inf),
}


def tree(root, mountinfo, cgroup, files):
    for name, text in {
        "proc/self/mountinfo": mountinfo,
        "proc/self/cgroup": cgroup,
        **files,
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(("mountinfo", "cgroup", "files", "expected"), TREES.values(), ids=TREES)
def test_a_quota_counts_in_the_group_and_above_it(tmp_path, mountinfo, cgroup, files, expected):
    assert cpu_quota(tree(tmp_path, mountinfo, cgroup, files)) == expected


def test_without_control_groups_there_is_no_quota(tmp_path):
    assert cpu_quota(tmp_path) == math.inf
    assert cpu_quota() >= 1


@pytest.mark.parametrize(
    ("value", "expected"),
    [("1", 1), ("4,2", 4), (" 3 ", 3), ("12", 12)]
    + [(bad, math.inf) for bad in ("", "0", "-1", "two", "1.5", ",2", "9" * 50, "²")],
)
def test_OMP_NUM_THREADS_is_read_as_OpenMP_does_and_not_judged(monkeypatch, value, expected):
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert openmp_threads() == expected


@pytest.mark.parametrize(
    ("cores", "quota", "environment", "expected"),
    [
        (8, math.inf, {}, 8),
        (8, 3, {}, 3),
        (2, 3, {}, 2),
        (8, math.inf, {"OMP_NUM_THREADS": "1"}, 1),
        (8, 3, {"OMP_NUM_THREADS": "2,4"}, 2),
        (2, math.inf, {"OMP_NUM_THREADS": "64"}, 2),
        (8, 3, {"OMP_NUM_THREADS": "none"}, 3),
        (8, math.inf, {"OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}, 8),
        (2, 1, {"OMP_NUM_THREADS": "1", "CGRAPH_NUM_THREADS": "5"}, 5),
        (8, 3, {"CGRAPH_NUM_THREADS": ""}, 3),
    ],
)
def test_the_tightest_limit_counts_but_for_a_number_of_ones_own(
    monkeypatch, cores, quota, environment, expected
):
    for name in ("CGRAPH_NUM_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(threads, "usable_cores", lambda: cores)
    monkeypatch.setattr(threads, "cpu_quota", lambda: quota)
    assert threads.default_threads() == expected
