"""The machine on which something was measured, and the kind of machine that it is."""

import datetime
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from benchmarks.measure import one_core
from benchmarks.measure.instructions import SWITCHES
from benchmarks.measure.internals import available_instructions, instructions_in_use
from benchmarks.measure.peak import all_peaks
from benchmarks.measure.peers import versions
from benchmarks.measure.timing import Effort

ROOT = Path(__file__).parents[2]
PEAK_EFFORT = Effort(20, 0.005)
# By the family of AMD's processors, the generations with their least models; others are named by their numbers.
ZEN = {
    23: [(0x00, "Zen"), (0x30, "Zen 2")],
    25: [(0x00, "Zen 3"), (0x10, "Zen 4"), (0x20, "Zen 3"), (0x60, "Zen 4")],
    26: [(0x00, "Zen 5")],
}


def circumstances() -> dict[str, Any]:
    """What has to be known about the figures of a run, in words and numbers."""
    names = cpu_info()
    return {
        "kind": kind(),
        "cpu": names.get("model name", platform.processor()),
        "family": names.get("cpu family", ""),
        "model": names.get("model", ""),
        "processor": processor(names),
        "instructions": instructions_in_use(),
        "held": is_held(),
        "cores": os.cpu_count(),
        "pinned": one_core.PINNED,
        "commit": commit(),
        "date": str(datetime.date.today()),
        "python": platform.python_version(),
        "libraries": {name: version for name, version in versions().items() if version},
        "switches": {name: os.environ[name] for name in SWITCHES if name in os.environ},
        "peaks": {
            build: {dtype: round(value, 1) for dtype, value in peaks.items()}
            for build, peaks in all_peaks(PEAK_EFFORT).items()
        },
    }


def commit() -> str:
    """The last commit that changed cgraph/, and whether it has been changed since; empty outside of a repository."""
    git = ["git", "-C", str(ROOT)]
    try:
        found = [
            subprocess.run(
                [*git, *command, "--", "cgraph"], capture_output=True, text=True, check=True
            )
            for command in (["log", "-1", "--format=%h"], ["status", "--porcelain"])
        ]
    except (OSError, subprocess.CalledProcessError):
        return ""
    last, changed = (each.stdout.strip() for each in found)
    return f"{last} and changes" if changed else last


def cpu_info() -> dict[str, str]:
    """What Linux says about the first core; empty elsewhere."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().partition("\n\n")[0].splitlines() if info.exists() else []
    pairs = (line.partition(":") for line in lines)
    return {name.strip(): value.strip() for name, _, value in pairs}


def processor(names: dict[str, str]) -> str:
    """The family of the processor: AMD Zen 5, say."""
    vendor = names.get("vendor_id", "")
    if vendor == "AuthenticAMD":
        model = int(names["model"])
        named = [name for least, name in ZEN.get(int(names["cpu family"]), []) if model >= least]
        if named:
            return f"AMD {named[-1]}"
    if vendor:
        return f"{vendor} family {names['cpu family']} model {names['model']}"
    return platform.machine()


def is_held() -> bool:
    """Whether the machine has wider vectors than are in use."""
    return instructions_in_use() == "avx2" and "avx512" in available_instructions()


def kind() -> str:
    """The name of the folder of raw results: the processor and the instructions, zen5_avx512, say."""
    words = processor(cpu_info()).lower().removeprefix("amd ").replace("zen ", "zen")
    used = f"{'held_to_' if is_held() else ''}{instructions_in_use()}"
    return f"{words.replace(' ', '_')}_{used}"


def kind_in_words(found: dict[str, Any]) -> str:
    """The kind of machine of some circumstances: AMD Zen 5 held to AVX2, say."""
    names = {"avx512": "AVX-512", "avx2": "AVX2", "baseline": "baseline"}
    used = names[found["instructions"]]
    return f"{found['processor']}{' held to' if found['held'] else ','} {used}"
