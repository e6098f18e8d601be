"""Checks that the compiled modules of a wheel contain only instructions that the module's name allows.

python tools/check_instructions.py WHEEL...     (needs objdump, of GNU binutils or of LLVM; OBJDUMP names another)

In the wheels for x86-64, other wheels being passed over:

`*_avx2`: what `-mavx2 -mfma` allow, SSE4.2 and POPCNT included. Not AVX-512; and not BMI1, BMI2, LZCNT, MOVBE, ADX or
F16C, which these flags do not imply and which `cpu.has_avx2` does not ask for. At least one instruction of AVX must
be there, which also shows that the search finds what it looks for.

`*_avx512`: these, and of AVX-512 what x86-64-v4 has: F, BW, CD, DQ and VL. At least one instruction of AVX-512 must be
there; modules that emulate its vectors have none.

All others: SSE2, the least that x86-64 can be. For macOS SSE4.1, which is clang's own choice there.

TZCNT passes everywhere: compilers write it on purpose where it must also run as the BSF that older processors see.
Exit code 1 if a module breaks a rule.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from collections import Counter
from pathlib import Path

# The first byte of an instruction tells more than its name: VEX is AVX and AVX2, FMA, BMI and the mask registers of
# AVX-512, EVEX all else of AVX-512. In 64-bit code these bytes begin nothing else.
ENCODINGS = {"c4": "VEX", "c5": "VEX", "62": "EVEX"}
LINE = re.compile(
    r"^\s*[0-9a-f]+:[ \t]*"
    r"(?:(?:26|2e|36|3e|6[457]) )*([0-9a-f]{2}) (?:[0-9a-f]{2} )*[ \t]*"  # bytes: prefixes, the first
    r"(?:(?:lock|rep|repn?[ez]|notrack|bnd|data16|addr32|[c-g]s|rex\S*)[ \t]+)*"
    r"(?![0-9a-f]{2}\b)([a-z]\w*)",  # the name; not another byte, where a long instruction goes on in a second line
    re.MULTILINE,
)

# Instructions without VEX or EVEX, by name.
SSE3_TO_SSE4_1 = (
    r"lddqu|mov[ds]dup|movs[hl]dup|haddp[sd]|hsubp[sd]|addsubp[sd]|fisttp\w*"
    r"|pabs[bwd]|palignr|ph(add|sub)(w|d|sw)|pmaddubsw|pmulhrsw|pshufb|psign[bwd]"
    r"|p?blend\w+|dpp[sd]|extractps|insertps|movntdqa|mpsadbw|packusdw|pcmpeqq|pextr[bdq]|phminposuw"
    r"|pinsr[bdq]|pm(ax|in)(s[bd]|u[wd])|pmov[sz]x\w+|pmul(dq|ld)|ptest|round[ps][sd]"
)
SSE4_2 = r"pcmpgtq|pcmp[ei]str[im]|crc32\w*|popcnt\w*"
# Instructions with VEX that belong to other extensions than AVX, AVX2 and FMA.
BEYOND_AVX2 = (
    r"lzcnt\w*|movbe\w*|adcx\w*|adox\w*|aes\w+|pclmul\w+|sha(1|256)\w+|gf2p8\w+"
    r"|vcvtph2ps|vcvtps2ph|vfn?m(add|sub|addsub|subadd)[ps][sd]|vaes\w+|vpclmul\w+|vgf2p8\w+|vpdp\w+|vpmadd52\w+"
)
# Instructions of AVX-512 that x86-64-v4 does not have: VBMI, VBMI2, VNNI, IFMA, BITALG, VPOPCNTDQ, VP2INTERSECT, BF16,
# FP16, 4FMAPS, 4VNNIW, ER and PF.
BEYOND_V4 = (
    r"lzcnt\w*|movbe\w*|adcx\w*|adox\w*|aes\w+|pclmul\w+|sha(1|256)\w+|gf2p8\w+"
    r"|vaes\w+|vpclmul\w+|vgf2p8\w+|vpdp\w+|vp4dp\w+|vpmadd52\w+|v4fn?madd\w+"
    r"|vperm(b|i2b|t2b)|vpmultishiftqb|vp(compress|expand)[bw]|vpsh[lr]dv?[wdq]|vpopcnt[bwdq]|vpshufbitqmb"
    r"|vp2intersect\w+|vdpbf16ps|vcvtne2?ps2?bf16\w*|v\w+[ps]h|vcvt\w*(ph|sh)x?2\w+"
    r"|vexp2p[sd]|vr(cp|sqrt)28\w+|v(gather|scatter)pf[01]\w+"
)
# Of these names, those that AVX-512F has as well: conversions between float32 and float16.
CONVERSIONS = re.compile("vcvtph2ps|vcvtps2ph")
BEYOND = {
    "SSE2": re.compile(f"{SSE3_TO_SSE4_1}|{SSE4_2}|{BEYOND_AVX2}"),
    "SSE4.1": re.compile(f"{SSE4_2}|{BEYOND_AVX2}"),
    "AVX2": re.compile(BEYOND_AVX2),
    "AVX-512": re.compile(BEYOND_V4),
}
# The instruction sets by the ends of the modules' names, and the encoding that a module must have.
LIMITS = {"avx2": ("AVX2", "VEX"), "avx512": ("AVX-512", "EVEX")}


def instructions(module: Path) -> Counter[tuple[str, str]]:
    """Counts the instructions of a module, by encoding and name without prefixes."""
    command = [os.environ.get("OBJDUMP", "objdump"), "--disassemble", module]
    return counted(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def counted(text: str) -> Counter[tuple[str, str]]:
    """Counts the instructions in the output of objdump."""
    return Counter((ENCODINGS.get(byte, ""), name) for byte, name in LINE.findall(text))


def allowed(encoding: str, name: str, limit: str) -> bool:
    """Whether an instruction is one of SSE2, SSE4.1, AVX2 or AVX-512."""
    if encoding == "EVEX":
        if limit != "AVX-512":
            return False
        return bool(CONVERSIONS.fullmatch(name)) or not BEYOND[limit].fullmatch(name)
    if encoding == "VEX":
        masks = limit == "AVX-512" and name.startswith("k")
        if not masks and (limit not in ("AVX2", "AVX-512") or not name.startswith("v")):
            return False
    return not BEYOND[limit].fullmatch(name)


def build_of(name: str) -> str:
    """Returns the last part of a module's name, which for kernels is their instruction set."""
    return name.partition(".")[0].rpartition("_")[2]


def complaints(module: Path, baseline: str) -> list[str]:
    """Returns the faults of one module."""
    found = instructions(module)
    limit, required = LIMITS.get(build_of(module.name), (baseline, ""))
    if not found:
        return ["no instructions found"]
    if not any(encoding == required for encoding, _ in found):
        return [f"no instruction with {required} in a module that is compiled for {limit}"]
    return [
        f"{count} × {name}"
        for (code, name), count in found.items()
        if not allowed(code, name, limit)
    ]


def check(wheel: Path) -> bool:
    """Prints the result for one wheel, and returns whether it keeps the rules."""
    if not wheel.stem.endswith(("x86_64", "amd64")):
        print(f"{wheel.name}: not for x86-64, nothing to check")
        return True
    baseline = "SSE4.1" if "-macosx_" in wheel.name else "SSE2"
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
        modules = sorted(p for p in Path(folder).rglob("*") if p.suffix in (".so", ".pyd"))
        wrong = {module.name: complaints(module, baseline) for module in modules}
    for name, reasons in wrong.items():
        if reasons:
            print(f"{wheel.name}: {name}: {', '.join(reasons)}")
    counts = Counter(LIMITS.get(build_of(name), (baseline,))[0] for name in wrong)
    parts = ", ".join(f"{count} for {limit}" for limit, count in sorted(counts.items()))
    print(f"{wheel.name}: {len(wrong)} modules, {parts}")
    return bool(wrong) and not any(wrong.values())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("wheels", nargs="+", type=Path)
    results = [check(wheel) for wheel in parser.parse_args().wheels]
    sys.exit(not all(results))
