"""Runs the python blocks of a page by sybil, and compares what they print with the text blocks behind them."""

import contextlib
import importlib.util
import io
import re
from pathlib import Path

import pytest
from sybil import Sybil
from sybil.evaluators.python import PythonEvaluator
from sybil.example import SybilFailure
from sybil.parsers.markdown import CodeBlockParser

from cgraph import _kernels

ROOT = Path(__file__).parents[2]
DECIMAL = re.compile(r"\d+\.\d+")
# The memory of blocks of samples, and what decides their sizes, are those of the build for AVX2.
LAYOUTS = re.compile(r"[\d,]+(?= for all| bytes| samples| without)")
HAS_SCIPY = importlib.util.find_spec("scipy") is not None


class Page:
    """A page as a document of sybil; decimals in output about epochs may differ by the tolerance, others not at all."""

    def __init__(self, name, tolerance=0.0):
        self.tolerance = tolerance
        # The block that has run, and what it printed, until this has been compared.
        self.last = None
        self.skips = False  # whether the last block was left out
        self.unchecked = 0  # blocks of text that say what no block of python prints
        parsers = [CodeBlockParser("python", self.execute), CodeBlockParser("text", self.compare)]
        self.document = Sybil(parsers).parse(ROOT / name)
        self.document.namespace["__name__"] = "page"

    def run(self):
        """Runs all blocks from top to bottom, and returns the names that they have defined."""
        for example in self.document:
            example.evaluate()
        self.expect("")
        return self.document.namespace

    def code(self):
        """The python blocks, each with the title of its section, which is empty in front of the first one."""
        for example in self.document:
            if example.region.evaluator == self.execute:
                _, heading, section = self.document.text[: example.start].rpartition("\n## ")
                yield heading and section.split("\n")[0], str(example.parsed)

    def execute(self, example):
        """Runs a block of python; it is the block of text behind it that says what it prints, if there is one."""
        self.expect("")
        self.skips = is_suite(example.parsed) or ("scipy" in example.parsed and not HAS_SCIPY)
        if self.skips:
            return
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            PythonEvaluator()(example)
        self.last = example, printed.getvalue()

    def compare(self, example):
        """Compares a block of text, unless no block that has run stands in front of it."""
        self.unchecked += self.last is None and not self.skips
        self.skips = False
        self.expect(example.parsed)

    def expect(self, text):
        if self.last is None:
            return
        (block, printed), self.last = self.last, None
        found, said = ([float(n) for n in DECIMAL.findall(each)] for each in (printed, text))
        near = pytest.approx(said, abs=self.tolerance if "epoch" in text else 0, rel=0)
        if without_numbers(printed) != without_numbers(text) or found != near:
            raise SybilFailure(block, f"printed:\n{printed}\nand the page says:\n{text}")


def is_suite(code):
    """Whether a block is a file for pytest, which begins with its name."""
    return code.startswith("# test_")


def without_numbers(text):
    """The text without decimals, and without the numbers that depend on the build where another one runs."""
    if _kernels._selected != "avx2":
        text = LAYOUTS.sub("#", text)
    return DECIMAL.sub("#", text)
