"""docs/look_up/errors.md, row by row: the class, the exact message, and that nothing is half-changed."""

import ast
import builtins
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import cgraph as CG
from cgraph import _kernels

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/look_up/errors.md").read_text(encoding="utf-8")
SETUP = compile(re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)[1], "errors.md", "exec")
ROW = re.compile(r"\| `(.+)` \| (\w+) \| `(.+)` \|")
ROWS = [ROW.fullmatch(line).groups() for line in PAGE.splitlines() if line.startswith("| `")]
SHELL_ROWS = [row for row in ROWS if row[0].startswith("CGRAPH_")]
CALLS = [row for row in ROWS if row not in SHELL_ROWS]


def linked(nodes):
    """Returns the nodes and all nodes that are connected with them in at least one direction."""
    found, pending = {}, list(nodes)
    while pending:
        node = pending.pop()
        if id(node) not in found:
            found[id(node)] = node
            pending += [*node.forward, *node.backward]
    return list(found.values())


def disturb(nodes):
    """Gives nodes state that a careless reset would lose: data, gradients and sums other than 0, waiting counters."""
    for k, node in enumerate(nodes):
        node.data += np.arange(1, node.size + 1)
        node.grad[...] = k + 0.5
        node.b_count, node.f_count = k + 1, k + 2
        for p in CG.parameters(node):
            p.grad[...] = k + 0.25


def frozen(value):
    if isinstance(value, np.ndarray):
        return id(value), value.shape, value.flags.writeable, value.tobytes()
    if isinstance(value, (list, tuple)):
        return id(value), [id(item) for item in value]
    return value if isinstance(value, (int, float)) else id(value)


def state(namespace):
    """Returns every attribute of every node and every other variable, so that any change shows."""
    nodes = linked(v for v in namespace.values() if isinstance(v, CG.Node))
    attributes = {(id(node), name): frozen(v) for node in nodes for name, v in vars(node).items()}
    return attributes | {name: frozen(value) for name, value in namespace.items()}


unchanged = threading.local()


def prepared():
    """Returns what the lines at the top of the page make, with state that a careless reset would lose."""
    namespace = {}
    exec(SETUP, namespace)
    disturb(linked(v for v in namespace.values() if isinstance(v, CG.Node)))
    return namespace


@pytest.mark.parametrize(("call", "kind", "message"), CALLS, ids=[row[0] for row in CALLS])
def test_what_the_page_says_is_refused_is_refused_and_changes_nothing(call, kind, message):
    # What the row before has left as it was serves this one, too. A row that fails leaves nothing.
    namespace = unchanged.__dict__.pop("namespace", None) or prepared()
    before = state(namespace)
    with pytest.raises(Exception) as refused:  # noqa: PT011 - its class and words are compared below
        exec(call, namespace)
    assert refused.type is getattr(builtins, kind, None) or refused.type is getattr(CG, kind)
    assert str(refused.value) == message
    assert state(namespace) == before
    unchanged.namespace = namespace


@pytest.mark.thread_unsafe(reason="starts processes")
@pytest.mark.parametrize(("call", "kind", "message"), SHELL_ROWS)
def test_what_the_environment_asks_for_in_vain_is_refused(call, kind, message):
    name, value, code = re.fullmatch(r"(\w+)=(\S+) python -c \"(.*)\"", call).groups()
    run = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {name: value},
        capture_output=True,
        text=True,
        check=False,
    )
    here = message.replace("baseline, avx2", ", ".join(_kernels.available()))
    assert run.returncode == 1
    assert run.stderr.splitlines()[-1] == f"{kind}: {here}"


SOURCES = [
    "_execution/*.py",
    "_kernels/__init__.py",
    "_lowering/*.py",
    "_propagation/*.py",
    "_subclassing/*.py",
    "_validation.py",
    "checks/contract.py",
    "checks/evaluators.py",
    "checks/gradcheck.py",
    "checks/inputs.py",
    "copying/*.py",
    "fitting/[!cs]*.py",
    "fitting/call*.py",
    "fitting/samples.py",
    "fitting/seen.py",
    "graph.py",
    "init/*.py",
    "layers/*.py",
    "models/*.py",
    "node.py",
    "nodes/*.py",
    "optimizers/*.py",
    "parameter.py",
    "streaming/*.py",
    "targets.py",
    "traversal.py",
]


def sentences():
    """Yields (place, regular expression) for every message that stands in a `raise` of the core."""
    for pattern in SOURCES:
        for path in sorted(Path(CG.__file__).parent.glob(pattern)):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
                    words = node.exc.args[0]
                    pieces = getattr(words, "values", [words])
                    if all(
                        isinstance(piece, (ast.Constant, ast.FormattedValue)) for piece in pieces
                    ):
                        yield (
                            f"{path.name}:{node.lineno}",
                            "".join(
                                re.escape(piece.value) if isinstance(piece, ast.Constant) else ".*"
                                for piece in pieces
                            ),
                        )


SENTENCES = list(sentences())


@pytest.mark.parametrize("pattern", SOURCES)
def test_every_source_of_sentences_is_there(pattern):
    assert list(Path(CG.__file__).parent.glob(pattern))


@pytest.mark.parametrize(("where", "pattern"), SENTENCES, ids=[where for where, _ in SENTENCES])
def test_every_sentence_of_the_core_stands_on_the_page(where, pattern):
    assert any(re.fullmatch(pattern, message) for _, _, message in ROWS), where


def test_every_constructor_refuses_something_on_the_page():
    text = " ".join(call for call, _, _ in ROWS)
    public = [getattr(CG, name) for name in CG.__all__]
    nodes = {cls for cls in public if isinstance(cls, type) and issubclass(cls, CG.Node)}
    own = {cls.__name__ for cls in nodes if "__init__" in vars(cls)}
    assert {name for name in own if f"CG.{name}(" not in text} == set()
    assert len(own) > 10


def test_an_overflow_made_an_exception_leaves_the_data_as_it_was():
    vector, image = CG.Leaf1(3, dtype="float32"), CG.Leaf2(1, 3, dtype="float32")
    for node in (vector, image):
        node.data[...] = 7
        with np.errstate(over="raise"):
            for assign in (node.getInput, lambda value, node=node: setattr(node, "data", value)):
                with pytest.raises(FloatingPointError):
                    assign([1.0, 1e300, 3.0])
        assert node.data.tolist() == [7, 7, 7]
        with pytest.warns(RuntimeWarning, match="overflow"):
            node.getInput([1.0, 1e300, 3.0])
        assert node.data.tolist() == [1, np.inf, 3]
