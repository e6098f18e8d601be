"""Compares the wheels that cibuildwheel would build from pyproject.toml with the list below, by platform.

python tools/check_identifiers.py    (needs cibuildwheel; builds nothing)
"""

import subprocess
import sys
from pathlib import Path

PYTHONS = ("cp311", "cp312", "cp313", "cp314", "cp314t", "cp315", "cp315t")
# cibuildwheel's platform and architecture, and how the identifiers of its wheels end.
PLATFORMS = {
    ("linux", "x86_64"): ("manylinux_x86_64", "musllinux_x86_64"),
    ("linux", "aarch64"): ("manylinux_aarch64", "musllinux_aarch64"),
    ("windows", "AMD64"): ("win_amd64",),
    ("windows", "ARM64"): ("win_arm64",),
    ("macos", "x86_64"): ("macosx_x86_64",),
    ("macos", "arm64"): ("macosx_arm64",),
}


def identifiers(platform: str, arch: str) -> set[str]:
    """Returns the identifiers that cibuildwheel prints."""
    command = ["cibuildwheel", "--platform", platform, "--archs", arch, "--print-build-identifiers"]
    root = Path(__file__).parents[1]
    run = subprocess.run([*command, root], check=True, stdout=subprocess.PIPE, text=True)
    return set(run.stdout.split())


def main() -> int:
    wrong = 0
    for (platform, arch), endings in PLATFORMS.items():
        expected = {f"{python}-{ending}" for python in PYTHONS for ending in endings}
        found = identifiers(platform, arch)
        print(f"{platform} {arch}: {len(found)} wheels")
        for text, names in (("missing", expected - found), ("not expected", found - expected)):
            if names:
                print(f"  {text}: {', '.join(sorted(names))}")
                wrong += len(names)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
