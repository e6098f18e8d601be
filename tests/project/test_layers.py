"""The import rule: who may import whom, downwards only; and where no op is named."""

import ast
import re
from pathlib import Path

import pytest

import cgraph

PACKAGE = Path(cgraph.__file__).parent

# From the bottom up. A module may import the layers below its own, and its own as long as no
# circle arises; the package itself (`import cgraph`) stands above all but the commands.
LAYERS = {
    "_array": 0,
    "_kernels": 0,
    "_streams": 0,
    "_missing": 0,
    "_subclass": 0,
    "_passes": 1,
    "_mistakes": 1,
    "node": 1,
    "walk": 2,
    "nodes": 2,
    "lowering": 3,
    "_places": 4,
    "_feed": 4,
    "_steps": 4,
    "_arena": 4,
    "_summary": 4,
    "_lane_steps": 4,
    "_ways": 4,
    "_layout": 4,
    "_quota": 4,
    "_crew": 4,
    "_batches": 4,
    "_compiled": 4,
    "graph": 4,
    "cgraph": 6,
    "cli": 7,
    "_commands": 7,
    "__main__": 8,
}
ABOVE_GRAPH = 5  # io, models, train, data, optim …: whatever is not listed
MODULES = sorted(PACKAGE.rglob("*.py"))
KERNELS = sorted((PACKAGE / "_kernels").glob("*.py*"))


def module_name(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def unit(module):
    """The part of the package that a dotted name belongs to: cgraph.nodes.affine -> nodes."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else parts[0]


def layer(module):
    return LAYERS.get(unit(module), ABOVE_GRAPH)


KNOWN = {module_name(path) for path in MODULES}


def imports(path):
    """Dotted names of everything of cgraph that a module imports, wherever in the file."""
    package = module_name(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                whole = f"{base}.{alias.name}"
                is_module = base == "cgraph" and (whole in KNOWN or unit(whole) in LAYERS)
                yield whole if whole in KNOWN or is_module else base


def own_imports(path):
    return [name for name in imports(path) if name.split(".")[0] == "cgraph"]


def test_the_package_is_where_the_tests_look_for_it():
    assert {"cgraph", "cgraph.node", "cgraph._array", "cgraph.nodes", "cgraph._kernels"} <= KNOWN


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_modules_import_downwards_only(path):
    here = module_name(path)
    for name in own_imports(path):
        assert layer(name) <= layer(here), f"{here} imports {name}"


def test_imports_make_no_circle():
    graph = {unit(module_name(path)): set() for path in MODULES}
    for path in MODULES:
        here = unit(module_name(path))
        graph[here] |= {unit(name) for name in own_imports(path)} - {here}
    while graph:
        free = [name for name, needed in graph.items() if not needed & graph.keys()]
        assert free, f"a circle among {sorted(graph)}"
        for name in free:
            del graph[name]


@pytest.mark.parametrize("path", sorted((PACKAGE / "nodes").glob("*.py")), ids=module_name)
def test_one_family_of_nodes_imports_another_only_from_the_package_below(path):
    for name in own_imports(path):
        assert name.startswith(("cgraph.nodes", "cgraph.node", "cgraph._array", "cgraph._kernels"))


@pytest.mark.parametrize("path", KERNELS, ids=lambda path: path.name)
def test_kernels_import_nothing_of_the_python_above_them(path):
    pattern = r"^\s*(?:from\s+(\S+)\s+c?import|c?import\s+(\S+))"
    for match in re.finditer(pattern, path.read_text(encoding="utf-8"), re.MULTILINE):
        name = match[1] or match[2]
        assert not name.startswith("cgraph") or name.startswith("cgraph._kernels"), name
        assert name != "numpy" or path.suffix != ".pyx", "kernels see memoryviews, not NumPy"
        assert not name.startswith(".."), name


def code_words(path):
    """Names and string constants of a module, without its docstrings and comments."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    for node in ast.walk(tree):
        if isinstance(node, documented) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return set(re.findall(r"\w+", ast.unparse(tree)))


OPS = {
    *("Leaf1", "Leaf2", "Concatenation", "Add", "Sub", "Dots", "MSE", "CEE", "ReLU", "Softmax"),
    *("Sigmoid", "Tanh", "Norm2", "Affine", "Convolution2d", "MaxPooling2d", "AveragePooling2d"),
    *("MMtoM", "MMto1", "MtoM", "Mto1", "Filter2d", "MaxPooling"),
}


SERVES_ALL = [path for path in MODULES if path.stem in ("node", "walk", "graph", "io", "_draw")]


@pytest.mark.parametrize("path", SERVES_ALL, ids=module_name)
def test_no_op_is_named_where_all_ops_are_served(path):
    assert not code_words(path) & OPS


def test_the_search_for_names_of_ops_finds_them_where_they_are():
    assert "Affine" in code_words(PACKAGE / "nodes" / "affine.py") & OPS
    assert PACKAGE / "node.py" in SERVES_ALL
