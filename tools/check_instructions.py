"""Which instructions the compiled modules of a wheel contain: only those that the module's name allows.

python tools/check_instructions.py WHEEL...     (needs objdump, of GNU binutils or of LLVM)

x86-64 wheels: nothing newer than SSE2 outside the modules `*_avx2`, and AVX2 and FMA within them, which also shows that
the search finds what it looks for. Exit code 1 if a module breaks a rule.
"""

import re
import subprocess
import sys
import tempfile
import zipfile
from collections import Counter
from pathlib import Path

# What came after SSE2: everything with VEX or EVEX encoding begins with a v, the rest is listed. Not tzcnt: compilers
# write it on purpose where it must also run as the bsf that older processors see.
NEWER_THAN_SSE2 = re.compile(
    r"v(?!err|erw|mcall|mlaunch)[a-z]\w+"
    # SSE3, SSSE3
    r"|lddqu|mov[ds]dup|movs[hl]dup|haddp[sd]|hsubp[sd]|addsubp[sd]|fisttp\w*"
    r"|pabs[bwd]|palignr|ph(add|sub)(w|d|sw)|pmaddubsw|pmulhrsw|pshufb|psign[bwd]"
    # SSE4
    r"|p?blend\w+|dpp[sd]|extractps|insertps|movntdqa|mpsadbw|packusdw|pcmp(eq|gt)q|pextr[bdq]|phminposuw"
    r"|pinsr[bdq]|pm(ax|in)(s[bd]|u[wd])|pmov[sz]x\w+|pmul(dq|ld)|ptest|round[ps][sd]|pcmp[ei]str[im]|crc32\w*"
    # BMI, POPCNT, LZCNT, MOVBE, ADX
    r"|popcnt\w*|lzcnt\w*|andn\w*|bextr\w*|bls(i|msk|r)\w*|bzhi\w*|mulx\w*|p(dep|ext)[lq]?|rorx\w*|s(ar|hl|hr)x\w*"
    r"|movbe\w*|adcx\w*|adox\w*"
)
LINE = re.compile(r"^\s*[0-9a-f]+:\t([a-z]\w*)", re.MULTILINE)
PREFIXES = {"lock", "rep", "repz", "repnz", "notrack", "bnd", "data16", "cs", "ds"}


def instructions(module: Path) -> Counter[str]:
    """How often each mnemonic occurs; of a prefix and its instruction, the instruction."""
    text = subprocess.run(
        ["objdump", "--disassemble", "--no-show-raw-insn", module],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for prefix in PREFIXES:
        text = re.sub(rf"\t{prefix} +", "\t", text)
    return Counter(LINE.findall(text))


def complaints(module: Path) -> list[str]:
    """What is wrong with one module."""
    found = instructions(module)
    newer = {name: count for name, count in found.items() if NEWER_THAN_SSE2.fullmatch(name)}
    if not found:
        return ["no instructions found"]
    if "_avx2." not in module.name:
        return [f"{count} × {name}" for name, count in newer.items()]
    if not any(name.startswith("v") for name in newer):
        return ["no AVX instruction in a module that is compiled for AVX2"]
    return []


def check(wheel: Path) -> bool:
    """Prints what was found in one wheel; whether it keeps the rules."""
    if not wheel.stem.endswith(("x86_64", "amd64")):
        print(f"{wheel.name}: not for x86-64, nothing to check")
        return True
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
        modules = sorted(p for p in Path(folder).rglob("*") if p.suffix in (".so", ".pyd"))
        wrong = {module.name: complaints(module) for module in modules}
    for name, reasons in wrong.items():
        if reasons:
            print(f"{wheel.name}: {name}: {', '.join(reasons)}")
    newer = sum("_avx2." in name for name in wrong)
    print(
        f"{wheel.name}: {len(wrong)} modules, {len(wrong) - newer} of SSE2 only, {newer} with AVX2"
    )
    return bool(wrong) and not any(wrong.values())


if __name__ == "__main__":
    results = [check(Path(name)) for name in sys.argv[1:]]
    sys.exit(not all(results))
