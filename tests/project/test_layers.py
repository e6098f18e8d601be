"""The import rule, by which modules import only from lower ranks; and the modules that name no operation."""

import ast
import inspect
import re
from pathlib import Path

import pytest

import cgraph

PACKAGE = Path(cgraph.__file__).parent
SOURCES = (".py", ".pyi", ".pyx", ".pxd", ".pxi")

# From the bottom up, one rank for each folder and for each module beside them. A module may import what lies in its own
# folder, as long as no circle arises, and folders and modules of lower rank.
RANKS = {
    "_kernels": 0,
    "_validation": 0,
    "_streams": 0,
    "data": 0,
    "_propagation": 1,
    "_operators": 0,
    "init": 1,
    "_subclassing": 1,
    "tables": 1,
    "targets": 1,
    "node": 2,
    "nodes": 3,
    "traversal": 3,
    "layers": 4,
    "parameter": 4,
    "_lowering": 4,
    "optimizers": 5,
    "models": 5,
    "_execution": 6,
    "io": 6,
    "compiled": 7,
    "flat_vector": 7,
    "graph": 8,
    "checks": 9,
    "copying": 9,
    "fitting": 9,
    "streaming": 9,
    "cgraph": 10,
    "cli": 11,
    "__main__": 12,
    "__pyinstaller": 12,
}
# The ranks inside `_kernels`, for imports and cimports.
KERNEL_RANKS = {
    "runtime": 0,
    "cpu": 0,
    "missing": 0,
    "common": 1,
    "nodes": 2,
    "channels": 2,
    "lanes": 2,
    "protocols": 2,
    "builds": 3,
    "_kernels": 3,
}
LONGEST = 12  # imports in the longest chain from folder to folder
MOST_MODULES = 13  # directly in cgraph/
MODULES = sorted(PACKAGE.rglob("*.py"))
KERNELS = sorted(path for path in (PACKAGE / "_kernels").rglob("*.p*") if path.suffix in SOURCES)


def module_name(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room(module):
    """Returns the folder or module of the package to which a dotted name belongs: cgraph.nodes.affine -> nodes."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else parts[0]


KNOWN = {module_name(path) for path in MODULES}


def for_types_alone(node):
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def nodes_at_run_time(tree):
    """Yields the nodes of a syntax tree without those that a type checker alone sees."""
    for node in ast.iter_child_nodes(tree):
        if not for_types_alone(node):
            yield node
            yield from nodes_at_run_time(node)


def imports(path, walk=ast.walk):
    """Yields the dotted names of all modules that a module imports, anywhere in the file."""
    package = module_name(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    for node in walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                whole = f"{base}.{alias.name}"
                is_module = base == "cgraph" and (whole in KNOWN or room(whole) in RANKS)
                yield whole if whole in KNOWN or is_module else base


def own_imports(path, walk=ast.walk):
    return [name for name in imports(path, walk) if name.split(".")[0] == "cgraph"]


def test_the_package_is_where_the_tests_look_for_it():
    assert {
        "cgraph",
        "cgraph.node",
        "cgraph._validation",
        "cgraph.nodes",
        "cgraph._kernels",
    } <= KNOWN


def test_every_room_has_a_rank():
    assert {room(name) for name in KNOWN} == set(RANKS)


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_modules_import_downwards_only(path):
    here = room(module_name(path))
    for name in own_imports(path):
        there = room(name)
        assert here == there or RANKS[there] < RANKS[here], f"{here} imports {name}"


def test_the_way_down_is_short():
    """The longest chain of imports from folder to folder is short."""
    below = {name: set() for name in RANKS}
    for path in MODULES:
        here = room(module_name(path))
        below[here] |= {room(name) for name in own_imports(path)} - {here}
    depth = {}
    for name in sorted(RANKS, key=RANKS.get):
        depth[name] = 1 + max((depth[other] for other in below[name]), default=-1)
    assert max(depth.values()) <= LONGEST


def test_imports_make_no_circle():
    graph = {module_name(path): set(own_imports(path, nodes_at_run_time)) for path in MODULES}
    # A package gets its names from its modules; a module that imports one of them does not depend on the package.
    graph = {name: needed & graph.keys() - {name} for name, needed in graph.items()}
    while graph:
        free = [name for name, needed in graph.items() if not needed & graph.keys()]
        assert free, f"a circle among {sorted(graph)}"
        for name in free:
            del graph[name]


def test_few_modules_lie_beside_the_folders():
    assert len(list(PACKAGE.glob("*.py"))) <= MOST_MODULES


@pytest.mark.parametrize("path", sorted((PACKAGE / "nodes").glob("*.py")), ids=module_name)
def test_one_family_of_nodes_imports_another_only_from_the_package_below(path):
    for name in own_imports(path):
        assert name.startswith(
            (
                *("cgraph.nodes", "cgraph.node", "cgraph._validation", "cgraph._operators"),
                *("cgraph._kernels", "cgraph._subclassing"),
            )
        )


def kernel_room(path):
    parts = path.relative_to(PACKAGE / "_kernels").parts
    return path.parent.name if path.stem == "__init__" else parts[0].partition(".")[0]


@pytest.mark.parametrize("path", KERNELS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_kernels_import_downwards_only_and_nothing_of_the_python_above_them(path):
    here = kernel_room(path)
    pattern = r"^\s*(?:from\s+(\S+)\s+c?import\s+(\w*)|c?import\s+(\S+))"
    for match in re.finditer(pattern, path.read_text(encoding="utf-8"), re.MULTILINE):
        name = match[1] or match[3]
        assert name != "numpy" or path.suffix != ".pyx", "kernels see memoryviews, not NumPy"
        assert not name.startswith(".."), name
        if name.partition(".")[0] == "cgraph":
            there = [*name.split("."), match[2]]
            assert there[1] == "_kernels", name
            assert here == there[2] or KERNEL_RANKS[there[2]] < KERNEL_RANKS[here], name


def code_words(path):
    """Returns the names and string constants of a module, without its docstrings and comments."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    for node in ast.walk(tree):
        if isinstance(node, documented) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return set(re.findall(r"\w+", ast.unparse(tree)))


BASES = {"MMtoM", "MMto1", "MtoM", "Mto1", "Filter2d"}
PUBLIC = {getattr(cgraph, name) for name in cgraph.__all__}
OPS = {cls.__name__ for cls in PUBLIC if inspect.isclass(cls) and issubclass(cls, cgraph.Node)}
OPS.remove("Node")


# The kit builds networks of operations. In `_kernels` families of kernels have the names of classes.
KIT = {"fitting", "layers", "models", "data", "cli"}
LISTS_OPS = {"nodes", "_kernels", *KIT}
SERVES_ALL = [
    path
    for path in MODULES
    if room(module_name(path)) not in LISTS_OPS
    and path not in (PACKAGE / "__init__.py", PACKAGE / "_lowering" / "ops.py")
]


@pytest.mark.parametrize("path", SERVES_ALL, ids=module_name)
def test_no_op_is_named_where_all_ops_are_served(path):
    """Below the kit one file lists the classes of operations, so that a new one needs a row there and nowhere else."""
    assert not code_words(path) & {*OPS, "MaxPooling"}


def test_the_search_for_names_of_ops_finds_them_where_they_are():
    assert "Affine" in code_words(PACKAGE / "nodes" / "affine.py") & OPS
    assert code_words(PACKAGE / "_lowering" / "ops.py") >= OPS - BASES
    assert {PACKAGE / "node.py", PACKAGE / "_lowering" / "fusion.py"} < set(SERVES_ALL)
