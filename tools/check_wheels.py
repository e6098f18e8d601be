"""Builds sdist and wheels, audits them, and runs the whole suite on the installed wheels, away from the checkout.

python tools/check_wheels.py                    CPython 3.11, 3.12, 3.13, each with its oldest and the newest NumPy
python tools/check_wheels.py python3.14 …       these Pythons instead
python tools/check_wheels.py --skip-audits …    without the auditors and the wheel for the stable ABI
python tools/check_wheels.py --fast             one wheel, the running Python, the newest NumPy; no audits

On the newest NumPy the suite runs once for each build of the kernels that this processor runs, the best one first. The
wheel for the stable ABI is tested on the first Python, with which it was built, and on the last one.

Needs git, the network for the packages of the fresh environments, and objdump. What is built is what git tracks,
with the changes that are not committed yet.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DEFAULT = ("python3.11", "python3.12", "python3.13")
# The oldest NumPy from 1.26 on that has wheels for a Python.
OLDEST = {"3.11": "1.26.0", "3.12": "1.26.0", "3.13": "2.1.0", "3.14": "2.3.2"}
MAX_MEGABYTES = 3.0
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
BUILD_REQUIRES = PYPROJECT["build-system"]["requires"]
TESTED_WITH = PYPROJECT["tool"]["cibuildwheel"]["test-sources"]
# The tests of what an installed wheel may have otherwise than a checkout: its modules, data files, commands and plugin.
OF_A_WHEEL = (
    "tests/checks",
    "tests/kernels",
    "tests/kit",
    "tests/laws/test_ops.py",
    "tests/project",
)
# The names of the builds that the processor can run, the best one last.
AVAILABLE = "from cgraph import _kernels; print(*_kernels.available())"


def run(*command: str | Path, cwd: Path = ROOT, **variables: str) -> str:
    """Returns the output of a command; a failing command's output is printed, and the script ends."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"} | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        print(done.stdout)
        sys.exit(f"failed: {' '.join(map(str, command))}")
    return done.stdout


def say(text: str) -> None:
    print(text, flush=True)


def find(name: str) -> Path:
    """Returns the interpreter `name`: a path, on PATH, or the newest of pyenv."""
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    # pyenv's 3.14.0t has a python3.14, too, which is not meant.
    flavour = "t" if name.endswith("t") else ""
    managed = sorted(versions.glob(f"*[0-9]{flavour}/bin/{name}"), key=numbers, reverse=True)
    for candidate in (shutil.which(name), *managed):
        # The shims that pyenv puts on PATH fail for versions that are not activated.
        if candidate and not subprocess.run([candidate, "-c", ""], capture_output=True).returncode:
            return Path(candidate)
    sys.exit(f"no interpreter {name}")


def numbers(path: Path) -> list[int]:
    """Returns the numbers in a path, which sort 3.13.10 behind 3.13.9."""
    return [int(number) for number in re.findall(r"\d+", str(path))]


def environment(python: Path, folder: Path, *packages: str | Path) -> Path:
    """Returns the Python of a new virtual environment with these packages."""
    run(python, "-m", "venv", folder)
    new = folder / "bin" / "python"
    run(new, "-m", "pip", "install", "--quiet", *packages)
    return new


def copy_tracked(target: Path) -> Path:
    """Copies the files that git tracks."""
    for name in run("git", "ls-files", "-z").split("\0"):
        if name and (ROOT / name).exists():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    return target


def build_sdist(python: Path, tree: Path, target: Path) -> Path:
    """Builds the sdist of a tree by the backend itself: no isolation, no network."""
    code = f"from setuptools.build_meta import build_sdist; build_sdist({str(target)!r})"
    run(python, "-c", code, cwd=tree)
    (sdist,) = target.glob("*.tar.gz")
    return sdist


def build_wheel(python: Path, source: Path, target: Path, **variables: str) -> Path:
    """Builds the wheel of an sdist or a tree: no isolation, no network."""
    options = ("--no-build-isolation", "--no-index", "--no-deps", "--no-cache-dir")
    start = time.monotonic()
    run(
        python, "-m", "pip", "wheel", *options, "-w", target, source, cwd=target.parent, **variables
    )
    (wheel,) = target.glob("*.whl")
    megabytes = wheel.stat().st_size / 1e6
    say(f"{wheel.name}: {megabytes:.2f} MB, built in {time.monotonic() - start:.0f} s")
    if megabytes > MAX_MEGABYTES:
        sys.exit(f"larger than {MAX_MEGABYTES} MB")
    return wheel


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def run_suite(
    python: Path,
    wheel: Path,
    numpy: str,
    tree: Path,
    *,
    every_build: bool = False,
    parts: tuple[str, ...] = (),
) -> None:
    """Runs the suite on an installed wheel, in a folder without the sources.

    every_build: whether it runs for each build of the kernels that the processor runs; else for the best one alone.
    parts: the folders and files of tests that run, instead of all.
    """
    with tempfile.TemporaryDirectory(dir=tree.parent) as name:
        folder = Path(name)
        new = environment(python, folder / "venv", "pip>=25.1")
        run(new, "-m", "pip", "install", "--quiet", "--group", "test", wheel, numpy)
        for entry in TESTED_WITH:
            source = tree / entry
            copy = shutil.copytree if source.is_dir() else shutil.copy2
            copy(source, folder / entry)
        version = (
            "import platform, numpy; print(platform.python_version(), 'NumPy', numpy.__version__)"
        )
        printed = run(new, "-c", version, cwd=folder).strip()
        builds = run(new, "-c", AVAILABLE, cwd=folder).split()[::-1]
        for build in builds if every_build else builds[:1]:
            pytest = ("-m", "pytest", "-q", "-p", "no:cacheprovider", *parts)
            result = run(new, *pytest, cwd=folder, CGRAPH_SIMD=build).strip().splitlines()[-1]
            say(f"Python {printed}, {build}: {result}")


def builder(python: Path, folder: Path) -> Path:
    """Returns the Python of an environment with the build requirements alone."""
    return environment(python, folder / "build", *BUILD_REQUIRES)


def check_fast(scratch: Path) -> None:
    python = builder(Path(sys.executable), scratch)
    tree = copy_tracked(scratch / "tree")
    sdist = build_sdist(python, tree, scratch)
    wheel = build_wheel(python, sdist, scratch / "wheel")
    run_suite(Path(sys.executable), wheel, "numpy", tree, parts=OF_A_WHEEL)


def audit(python: Path, sdist: Path, wheel: Path, scratch: Path) -> tuple[Path, Path]:
    """Runs all auditors; returns two more wheels, the repaired one and that for the stable ABI."""
    tools = environment(Path(sys.executable), scratch / "tools", "pip>=25.1")
    run(tools, "-m", "pip", "install", "--quiet", "--group", "packaging")
    path = f"{tools.parent}{os.pathsep}{os.environ['PATH']}"
    run("auditwheel", "repair", "--wheel-dir", scratch / "repaired", wheel, PATH=path)
    (repaired,) = (scratch / "repaired").glob("*.whl")
    # In the tree that has just been built for one Python: none of its modules may get into this wheel.
    stable = build_wheel(python, scratch / "git", scratch / "abi3", CGRAPH_ABI3="1")
    wheels = (wheel, repaired, stable)
    for command in (
        ("validate-pyproject", "pyproject.toml"),
        ("check-sdist", "--source-dir", ROOT),
        ("twine", "check", "--strict", sdist, *wheels),
        ("check-wheel-contents", *wheels),
        ("abi3audit", "--strict", "--summary", stable),
        (tools, "tools/check_instructions.py", *wheels),
    ):
        output = run(*command, PATH=path)
        say(f"{Path(command[0]).name}: {' '.join(output.split())[-160:]}")
    return repaired, stable


def check_all(names: list[str], audits: bool, scratch: Path) -> None:
    tree = copy_tracked(scratch / "tree")
    stable = None
    for index, name in enumerate(names):
        python = find(name)
        version = run(python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])").strip()
        folder = Path(tempfile.mkdtemp(dir=scratch))
        with_tools = builder(python, folder)
        sdist = build_sdist(with_tools, tree, folder)
        wheel = build_wheel(with_tools, sdist, folder / "of-sdist")
        if index == 0:
            of_git = build_wheel(with_tools, copy_tracked(scratch / "git"), folder / "of-git")
            if contents(wheel) != contents(of_git):
                sys.exit("the wheel of the sdist differs from that of the checkout")
            say("the wheel of the sdist is that of the checkout, byte by byte")
            if audits:
                repaired, stable = audit(with_tools, sdist, wheel, scratch)
                run_suite(python, repaired, "numpy", tree)
                run_suite(python, stable, "numpy", tree)
        if version in OLDEST:
            run_suite(python, wheel, f"numpy=={OLDEST[version]}", tree)
        run_suite(python, wheel, "numpy", tree, every_build=True)
    if stable and len(names) > 1:
        run_suite(python, stable, "numpy", tree)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fast", action="store_true", help="one wheel, this Python, newest NumPy")
    parser.add_argument("--skip-audits", action="store_true", help="build and test only")
    parser.add_argument("pythons", nargs="*", default=DEFAULT, help="interpreters")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cgraph-") as name:
        if options.fast:
            check_fast(Path(name))
        else:
            check_all(options.pythons, not options.skip_audits, Path(name))


if __name__ == "__main__":
    main()
