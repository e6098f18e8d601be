"""The scripts in tools/ parse the output of other programs correctly."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest

import cgraph as CG

ROOT = Path(__file__).parents[2]
if not (ROOT / "tools/check_instructions.py").exists():
    pytest.skip("the tests run without the sources", allow_module_level=True)
sys.path.append(str(ROOT / "tools"))

from check_instructions import allowed, counted  # noqa: E402

# A line of objdump, its encoding and name, and whether SSE2, SSE4.1, AVX2 and AVX-512 (x86-64-v4) allow it.
LINES = {
    "SSE": ("  10:\t0f 58 c1             \taddps  %xmm1,%xmm0", "", "addps", (1, 1, 1, 1)),
    "SSSE3": ("  10:\t66 0f 38 00 c1       \tpshufb %xmm1,%xmm0", "", "pshufb", (0, 1, 1, 1)),
    "POPCNT": ("  10:\tf3 48 0f b8 c7       \tpopcnt %rdi,%rax", "", "popcnt", (0, 0, 1, 1)),
    "LZCNT": ("  10:\tf3 48 0f bd c7       \tlzcnt  %rdi,%rax", "", "lzcnt", (0, 0, 0, 0)),
    "TZCNT": ("  10:\tf3 48 0f bc c7       \ttzcnt  %rdi,%rax", "", "tzcnt", (1, 1, 1, 1)),
    "VEX, two bytes": (
        "  10:\tc5 fc 58 c1          \tvaddps %ymm1,%ymm0",
        "VEX",
        "vaddps",
        (0, 0, 1, 1),
    ),
    "VEX, three bytes": (
        "  10:\tc4 e2 4d b8 44 82 e0 \tvfmadd231ps -0x20(%rdx,%rax,4),%ymm6,%ymm0",
        *("VEX", "vfmadd231ps", (0, 0, 1, 1)),
    ),
    "VEX behind a prefix": (
        "  10:\t64 c5 fc 58 08       \tvaddps %fs:(%rax)",
        "VEX",
        "vaddps",
        (0, 0, 1, 1),
    ),
    "BMI": ("  10:\tc4 e2 78 f2 c1       \tandn   %ecx,%eax,%eax", "VEX", "andn", (0, 0, 0, 0)),
    "F16C": (
        "  10:\tc4 e2 7d 13 c0       \tvcvtph2ps %xmm0,%ymm0",
        *("VEX", "vcvtph2ps", (0, 0, 0, 0)),
    ),
    "EVEX": ("  10:\t62 f1 7c 48 58 c1    \tvaddps %zmm1,%zmm0", "EVEX", "vaddps", (0, 0, 0, 1)),
    "EVEX of 32 bytes": (
        "  10:\t62 a1 7c 20 58 c1    \tvaddps %ymm17,%ymm16,%ymm16",
        *("EVEX", "vaddps", (0, 0, 0, 1)),
    ),
    "mask registers": (
        "  10:\tc5 fb 92 c8          \tkmovd  %eax,%k1",
        "VEX",
        "kmovd",
        (0, 0, 0, 1),
    ),
    "float16 in AVX512F": (
        "  10:\t62 f2 7d 48 13 c0    \tvcvtph2ps %ymm0,%zmm0",
        *("EVEX", "vcvtph2ps", (0, 0, 0, 1)),
    ),
    "AVX512CD": (
        "  10:\t62 f2 7d 48 44 c0    \tvplzcntd %zmm0,%zmm0",
        *("EVEX", "vplzcntd", (0, 0, 0, 1)),
    ),
    "AVX512_VNNI": (
        "  10:\t62 f2 75 48 50 c2    \tvpdpbusd %zmm2,%zmm1,%zmm0",
        *("EVEX", "vpdpbusd", (0, 0, 0, 0)),
    ),
    "AVX512_VBMI": (
        "  10:\t62 f2 75 48 8d c2    \tvpermb %zmm2,%zmm1,%zmm0",
        *("EVEX", "vpermb", (0, 0, 0, 0)),
    ),
    "AVX512_FP16": (
        "  10:\t62 f5 74 48 58 c2    \tvaddph %zmm2,%zmm1,%zmm0",
        *("EVEX", "vaddph", (0, 0, 0, 0)),
    ),
    "prefix by name": (
        "  10:\tf0 48 0f b1 0f       \tlock cmpxchg %rcx,(%rdi)",
        "",
        "cmpxchg",
        (1, 1, 1, 1),
    ),
    "LLVM": (
        "      10: c5 fc 58 c1                  \tvaddps\t%ymm1, %ymm0, %ymm0",
        "VEX",
        "vaddps",
        (0, 0, 1, 1),
    ),
}


@pytest.mark.parametrize(("line", "encoding", "name", "limits"), LINES.values(), ids=LINES)
def test_an_instruction_is_known_by_its_first_byte_and_its_name(line, encoding, name, limits):
    assert counted(line) == {(encoding, name): 1}
    found = [allowed(encoding, name, limit) for limit in ("SSE2", "SSE4.1", "AVX2", "AVX-512")]
    assert found == [bool(limit) for limit in limits]


@pytest.mark.parametrize(
    "line",
    [
        "    17:\t00 00 01 ",
        "    17:\tff ff ff ",
        "    17:\tc5 fa",
        "0000000000001000 <PyInit_affine>:",
        "module.so:     file format elf64-x86-64",
        "",
    ],
)
def test_bytes_of_the_instruction_in_the_line_before_and_headings_are_none(line):
    assert not counted(f"{line}\n")


def test_the_private_attributes_that_sanitize_uses_exist():
    names = re.findall(r"\bnode\.(_\w+)", (ROOT / "tools/sanitize.sh").read_text(encoding="utf-8"))
    node = CG.Convolution2d([CG.Leaf2(5, 5)], np.ones((1, 3, 3)), 0.0)
    assert (
        {"_taps", "_scratch_size"} <= {name for name in names if hasattr(node, name)} == set(names)
    )
