"""docs/look_up/specification.md lists every member of the document, where it is, and the test that pins it."""

import ast
import inspect
import re
import typing
from pathlib import Path

import pytest

import cgraph as CG

ROOT = Path(__file__).parents[2]
PACKAGE = Path(CG.__file__).parent
PAGE = (ROOT / "docs/look_up/specification.md").read_text(encoding="utf-8")
ROWS = [
    [cell.replace("`", "") for cell in line.strip("| ").split(" | ")]
    for line in PAGE.partition("\n## ")[0].splitlines()
    if line.startswith("| `")
]
TESTS = {path.name: path for path in (ROOT / "tests").glob("*/test_*.py")}
EDGES = (ROOT / "tests/support/edge_table.py").read_text(encoding="utf-8")
PINNED = re.findall(r"`(test_\w+\.py)::(test_\w+)(?:\[(\w+)\])?`", PAGE)

SIZES = "kernelHeight, kernelWidth, stride"
PADDED = "stride, topPadding, leftPadding, height, width"
# The members in the tables of the document, in its order; constructor forms stand in parentheses.
DOCUMENT = {
    "Node": [
        *("domsize", "height", "width", "data", "grad", "forward", "backward"),
        *("f_count", "b_count", "pushThis(node)", "calcData()", "forwardPropagation()"),
        *(
            "calcPartialDerivative()",
            "backwardPropagation()",
            "updateParameters(eta)",
            "update(eta)",
        ),
    ],
    "Leaf1": ["(size)", "getInput(input)"],
    "Leaf2": ["(height, width)", "getInput(input), flat", "getInput(input), 2-D"],
    "Concatenation": [],
    "MMtoM": ["(node1, node2)"],
    "Add": [],
    "Sub": [],
    "MMto1": ["(node1, node2)"],
    "Dots": [],
    "MSE": [],
    "CEE": [],
    "MtoM": ["(node1)"],
    "ReLU": [],
    "Softmax": [],
    "Mto1": ["(node1)"],
    "Norm2": [],
    "Affine": ["weight", "gradWeight", "bias", "(node1, Weight, bias)", "(node1, Weight)"],
    "Filter2d": [
        *("kheight", "kwidth", "pl", "pt", "sw"),
        f"(nodes, {SIZES}, topPadding, leftPadding, height, width)",
    ],
    "Convolution2d": [
        *("kernel", "gradKernel", "bias", "gradBias"),
        f"(nodes, Kernel, bias, {PADDED})",
        "(nodes, Kernel, bias, stride, height, width)",
        "(nodes, Kernel, bias, stride)",
        "(nodes, Kernel, bias, height, width)",
        "(nodes, Kernel, bias)",
    ],
    "MaxPooling2d": [],
    "MaxPooling": [
        "maxCount",
        f"(node1, {SIZES}, topPadding, leftPadding, height, width)",
        f"(node1, {SIZES}, height, width)",
        f"(node1, {SIZES})",
    ],
}
# The class tree of the document, and the one class that it gives two names.
BASES = {
    "Node": "Leaf1 Leaf2 Concatenation MMtoM MMto1 MtoM Mto1 Affine Filter2d",
    "MMtoM": "Add Sub",
    "MMto1": "Dots MSE CEE",
    "MtoM": "ReLU Softmax",
    "Mto1": "Norm2",
    "Filter2d": "Convolution2d MaxPooling2d MaxPooling",
}


def test_the_page_has_exactly_the_members_of_the_document():
    expected = []
    for name, members in DOCUMENT.items():
        expected.append(name)
        expected += [name + ("" if m.startswith("(") else ".") + m for m in members]
    assert [row[0] for row in ROWS] == expected


def test_the_classes_have_the_bases_of_the_document():
    for base, names in BASES.items():
        for name in names.split():
            bases = getattr(CG, name).__mro__[
                1:
            ]  # the document's classes among them, from the nearest on
            assert next(b for b in bases if b.__name__ in DOCUMENT) is getattr(CG, base), name
    assert {name for names in BASES.values() for name in names.split()} | {"Node"} == set(DOCUMENT)


def parameters(function):
    """Returns the names of the arguments of each form of a function, without `self`."""
    forms = typing.get_overloads(function) or [function]
    return [
        [p for p in inspect.signature(form).parameters.values() if p.name != "self"]
        for form in forms
    ]


def takes(function, arguments):
    """Whether a form has these positional arguments, and demands no others."""
    for form in parameters(function):
        positional = [p for p in form if p.kind is p.POSITIONAL_OR_KEYWORD]
        names = [p.name for p in positional]
        rest = positional[len(arguments) :]
        if names[: len(arguments)] == arguments and all(p.default is not p.empty for p in rest):
            return True
    return False


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_every_member_is_where_the_page_says(row):
    member, section, where, _ = row
    name, dot, attribute, given = re.match(r"(\w+)(\.?)(\w*)(?:\((.*)\))?", member).groups()
    arguments = given.split(", ") if given else []
    cls = getattr(CG, name)
    assert section in (*DOCUMENT, "Class Inheritance Hierarchy")
    source = Path(inspect.getsourcefile(cls))
    if not dot:
        assert source == PACKAGE.parent / where
        assert given is None or takes(cls.__init__, arguments)
    elif attribute in vars(cls):
        assert source == PACKAGE.parent / where
        found = vars(cls)[attribute]
        assert isinstance(found, property) == (given is None)
        assert given is None or takes(found, arguments)
    else:
        assert hasattr(cls(0, 1, 1), attribute)
        assert f"self.{attribute}" in (PACKAGE.parent / where).read_text(encoding="utf-8")


@pytest.mark.parametrize(("file", "name", "case"), sorted(set(PINNED)))
def test_every_test_that_the_page_names_exists(file, name, case):
    text = TESTS[file].read_text(encoding="utf-8")
    functions = {node.name for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)}
    assert name in functions
    assert f'"{case}"' in text + EDGES or not case


def test_every_row_of_the_page_names_a_test():
    rows = [line for line in PAGE.splitlines() if line.startswith("| ")]
    body = [line for line in rows if not re.match(r"\| (---|member|here)", line)]
    assert len(body) > len(ROWS)
    assert [
        line for line in body if not re.search(r"`test_\w+\.py::test_\w+[^`]*` \|$", line)
    ] == []
