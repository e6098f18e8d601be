"""The compiled part of the build: its modules, directives and flags. All metadata is in pyproject.toml.

A .pyx with a stub (.pyi) becomes one module beside its source. Every other .pyx is a family of kernels, and becomes
one module in `_kernels/builds` for each dtype and instruction set; it may include parts, in .pxi files. Since two
extensions cannot share a source, every .pyx is copied under build/ once per module, which also keeps generated C out of
the tree.

Environment variables; "" and "0" mean the same as no value:
CGRAPH_DEBUG=1 turns all of Cython's checks on and the optimiser down;
CGRAPH_EMULATE_512=1 compiles the avx512 modules with vectors of their width and instructions of AVX2 alone, so that
their tests run where there is no AVX-512 (docs/understand/decisions/0012). In place only: no wheel has such modules.
CGRAPH_ABI3=1 makes one wheel for CPython 3.11 and all later ones, slower (docs/understand/decisions/0003).
Free-threaded builds ignore it.
"""

import os
import shutil
import sys
import sysconfig
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

from Cython import __version__ as cython_version
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import OptionError

KERNELS = "cgraph/_kernels"
SOURCES = "build/kernels"
SHARED_UTILITY = "cgraph._kernels.builds._cyutility"
DTYPES = {"float32": [("CGRAPH_FLOAT32", None)], "float64": []}
# The compiler flags of the instruction sets of x86-64; other machines have their baseline alone.
INSTRUCTION_SETS = {
    "baseline": {"unix": [], "msvc": []},
    "avx2": {"unix": ["-mavx2", "-mfma"], "msvc": ["/arch:AVX2"]},
    # The last flag says what compilers do anyway, unless CFLAGS tune for a processor that prefers 32 bytes.
    "avx512": {
        "unix": [
            *("-mavx2", "-mfma", "-mavx512f", "-mavx512bw", "-mavx512cd", "-mavx512dq"),
            *("-mavx512vl", "-mprefer-vector-width=512"),
        ],
        "msvc": ["/arch:AVX512"],
    },
}
EMULATION = {
    "unix": ["-mavx2", "-mfma", "-DCGRAPH_V_BYTES=64", "-Wno-psabi"],
    "msvc": ["/arch:AVX2"],
}


def switch(name: str) -> bool:
    """Whether an environment variable is set to anything but "" and "0"."""
    return os.environ.get(name, "0") not in ("", "0")


DEBUG = switch("CGRAPH_DEBUG")
EMULATE_512 = switch("CGRAPH_EMULATE_512")
if EMULATE_512:
    INSTRUCTION_SETS["avx512"] = EMULATION
# A free-threaded CPython has no stable ABI before 3.15.
ABI3 = switch("CGRAPH_ABI3") and not sysconfig.get_config_var("Py_GIL_DISABLED")
ABI3_MACROS = [("Py_LIMITED_API", "0x030B0000")] if ABI3 else []
DIRECTIVES = {
    "language_level": 3,
    "boundscheck": DEBUG,
    "initializedcheck": DEBUG,
    "nonecheck": DEBUG,
    "wraparound": False,
    "cdivision": True,
    "freethreading_compatible": True,
    "auto_pickle": False,
}
# Optimisation and debug information. These flags come behind CFLAGS, and are left out where CFLAGS has its own.
LEVELS = {
    "unix": ["-O1", "-g"] if DEBUG else ["-O3", "-g0"],
    "msvc": ["/Od", "/Z7"] if DEBUG else ["/O2"],
}
# The modules without loops over numbers that run for each sample, or in each call; the others are compiled to be small.
WITHIN_CALLS = {"plan", "request", "per_sample", "thread_pool", "propagation"}
# Calls of Python's functions without a table of jumps are shorter: 600 bytes of each module in the wheel.
COMPILE_FLAGS = {"unix": ["-fvisibility=hidden", "-fno-plt"], "msvc": []}
# Flags of single families. A compiler limits how much a module grows where functions are inlined. In the module of all
# reductions, that would leave formulas outside of their loops, which then take two to four times as long. So functions
# that say "inline" are always inlined there; others are not, nor are they copied for constant arguments.
FAMILY_FLAGS = {
    "reduction": {
        "unix": [
            "-DCYTHON_INLINE=inline __attribute__((always_inline))",
            *("-fno-ipa-cp-clone", "--param=inline-unit-growth=5"),
        ],
    },
}
# Without debug information the unwind tables are of no use either: they are a twentieth of the wheel.
WITHOUT_DEBUG = ["-fno-asynchronous-unwind-tables"]
# MSVC's linker drops the debug information of /Z7 without this flag.
LINK_FLAGS = {"unix": [], "msvc": ["/DEBUG"] if DEBUG else []}
# The environment variables that setuptools, gcc, clang and MSVC read.
VARIABLES = (
    *("CC", "CFLAGS", "CPPFLAGS", "LDSHARED", "LDFLAGS"),
    *("ARCHFLAGS", "MACOSX_DEPLOYMENT_TARGET", "SDKROOT"),
    *("CL", "_CL_", "LINK", "_LINK_"),
    "SETUPTOOLS_EXT_SUFFIX",
)


def is_family(source: Path) -> bool:
    """Whether a source is compiled for each dtype and instruction set, and typed by a Protocol instead of a stub."""
    return not source.with_suffix(".pyi").exists()


def family_name(source: Path) -> str:
    """Returns the name of a family: that of its file, preceded by that of its folder, unless this is `nodes`."""
    folder = source.parent.name
    return source.stem if folder == "nodes" else f"{folder}_{source.stem}"


def module(name: str, original: Path, macros: list[tuple[str, str | None]]) -> Extension:
    """Returns the extension cgraph._kernels.<name>, which is built from a copy of `original` of its own."""
    source, declarations = Path(SOURCES, f"{name}.pyx"), original.with_suffix(".pxd")
    changed = not source.exists() or source.read_bytes() != original.read_bytes()
    # Cython does not find the module's own .pxd beside the copy.
    if declarations.exists() and not changed:
        changed = declarations.stat().st_mtime > source.stat().st_mtime
    if changed:
        source.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(original, source)
    return Extension(
        f"cgraph._kernels.{name}",
        [source.as_posix()],
        define_macros=[*macros, *ABI3_MACROS],
        py_limited_api=ABI3,
        include_dirs=[KERNELS],
        depends=sorted(path.as_posix() for path in Path(KERNELS).rglob("*.h")),
    )


def extensions(platform: str) -> list[Extension]:
    """Returns all compiled modules for a platform, which is named as in build_ext.plat_name."""
    isas = list(INSTRUCTION_SETS) if platform.endswith(("x86_64", "amd64")) else ["baseline"]
    if platform.startswith("macosx") and "avx512" in isas:
        isas.remove("avx512")  # macOS does not tell whether it saves these registers: see cpu.h
    sources = sorted(Path(KERNELS).rglob("*.pyx"))
    emulation: list[tuple[str, str | None]] = [("CGRAPH_EMULATE_512", None)] if EMULATE_512 else []
    return [
        *(
            module(".".join(path.relative_to(KERNELS).with_suffix("").parts), path, emulation)
            for path in sources
            if not is_family(path)
        ),
        *(
            module(f"builds.{family_name(path)}_{dtype}_{isa}", path, macros)
            for path in sources
            if is_family(path)
            for dtype, macros in DTYPES.items()
            for isa in isas
        ),
        Extension(
            SHARED_UTILITY,
            [f"{SOURCES}/_cyutility.c"],
            define_macros=ABI3_MACROS,
            py_limited_api=ABI3,
        ),
    ]


def levels(compiler: str) -> list[str]:
    """Returns the flags of LEVELS of which CFLAGS has none of the same kind: -O2, say, or -g."""
    given = os.environ.get("CFLAGS", "").split()
    return [flag for flag in LEVELS[compiler] if not any(g.startswith(flag[:2]) for g in given)]


def jobs() -> int | None:
    """Returns the number of compilers to run at once: one for each processor that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def settings(platform: str) -> str:
    """Returns as text all that a build depends on beside the sources; a change of it forces a new build."""
    return ascii(
        (
            SHARED_UTILITY,
            *(DIRECTIVES, LEVELS, COMPILE_FLAGS, WITHOUT_DEBUG, LINK_FLAGS, INSTRUCTION_SETS, ABI3),
            FAMILY_FLAGS,
            EMULATE_512,
            cython_version,
            *(platform, sysconfig.get_config_var("EXT_SUFFIX")),
            *(os.environ.get(name) for name in VARIABLES),
        )
    )


def remove_modules(folder: Path) -> None:
    """Removes the modules that this Python would load, since one of the other ABI would hide the new one."""
    for path in folder.rglob("*.*"):
        if f".{path.name.partition('.')[2]}" in EXTENSION_SUFFIXES:
            path.unlink()


class BuildKernels(build_ext):
    """Runs Cython when something is built, not for an sdist; compiles in parallel; knows each compiler's flags."""

    def finalize_options(self) -> None:
        self.set_undefined_options("build", ("plat_name", "plat_name"))
        self.distribution.ext_modules[:] = extensions(self.plat_name)
        super().finalize_options()
        self.parallel = self.parallel or jobs()

    def run(self) -> None:
        if EMULATE_512 and not self.inplace:
            raise OptionError("CGRAPH_EMULATE_512 is for tests, and for builds in place alone")
        # The settings of the last build that was completed in build/.
        stamp, current = Path(SOURCES, "settings"), settings(self.plat_name)
        if not stamp.exists() or stamp.read_text(encoding="utf-8") != current:
            stamp.unlink(missing_ok=True)
            self.force = True
            remove_modules(Path("" if self.inplace else self.build_lib, KERNELS))
        compiled = cythonize(
            self.extensions,
            compiler_directives=DIRECTIVES,
            include_path=[".", KERNELS],
            shared_utility_qualified_name=SHARED_UTILITY,
            force=self.force,
        )
        for ext, c in zip(self.extensions, compiled, strict=True):
            ext.sources = c.sources
        super().run()
        stamp.write_text(current, encoding="utf-8")

    def build_extensions(self) -> None:
        # MSVC's flags are set up on first use, which must not happen in several threads at once.
        if self.compiler.compiler_type == "msvc" and not self.compiler.initialized:
            self.compiler.initialize(self.plat_name)
        super().build_extensions()

    def build_extension(self, ext: Extension) -> None:
        compiler = "msvc" if self.compiler.compiler_type == "msvc" else "unix"
        name = ext.name.rpartition(".")[2]
        family, isa = name.rpartition("_float")[0], name.rpartition("_")[2]
        flags = INSTRUCTION_SETS.get(isa, {}).get(compiler, [])
        flags = flags + FAMILY_FLAGS.get(family, {}).get(compiler, [])
        level = levels(compiler)
        if not family:  # no loop over numbers, of which -O3 would make long code
            shorter = "-O2" if name in WITHIN_CALLS else "-Os"
            level = [shorter if flag == "-O3" else flag for flag in level]
        ext.extra_compile_args = level + COMPILE_FLAGS[compiler] + flags
        if "-g0" in ext.extra_compile_args:
            ext.extra_compile_args += WITHOUT_DEBUG
        ext.extra_link_args = LINK_FLAGS[compiler]
        if sys.platform == "linux" and "-g0" in ext.extra_compile_args:
            ext.extra_link_args = ["-s"]  # without symbols, which are an eighth of the wheel
        super().build_extension(ext)


# This extension stands for all of them until build_ext knows the platform.
setup(
    ext_modules=[Extension(SHARED_UTILITY, [])],
    cmdclass={"build_ext": BuildKernels},
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if ABI3 else {},
)
