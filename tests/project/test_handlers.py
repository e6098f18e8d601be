"""Laws of the source that keep handlers of exceptions effective when a signal comes at any moment."""

import ast
import dis
import sys
import types
from pathlib import Path

import pytest

import cgraph as CG

FILES = sorted(Path(CG.__file__).parent.rglob("*.py"))


def code_objects(code):
    """Yields a code object and all code objects within it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from code_objects(constant)


def stray_jumps(code):
    """Returns the lines of the backward jumps at which a signal would leave the `try` around them.

    CPython 3.11 hears signals at such a jump, and then looks for a handler at the instruction in front of its target.
    """
    table = dis._parse_exception_table(code)

    def handler(offset):
        return next((row.target for row in table if row.start <= offset < row.end), None)

    return [
        i.positions.lineno
        for i in dis.get_instructions(code)
        if "JUMP_BACKWARD" in i.opname and "NO_INTERRUPT" not in i.opname
        if handler(i.offset) != handler(i.argval - 2)
    ]


def law_of_jumps(text):
    return [n for code in code_objects(compile(text, "", "exec")) for n in stray_jumps(code)]


def law_of_handlers(text):
    """Returns the lines of handlers that call `complete` after another statement, behind which a signal may come."""
    handlers = [h for h in ast.walk(ast.parse(text)) if isinstance(h, ast.ExceptHandler)]
    return [
        handler.lineno
        for handler in handlers
        for call in ast.walk(handler)
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "complete"
        if call is not getattr(handler.body[0], "value", None)
        or not all(isinstance(argument, ast.Name) for argument in call.args)
    ]


def broken(law):
    found = {str(path): law(path.read_text(encoding="utf-8")) for path in FILES}
    return {path: lines for path, lines in found.items() if lines}


TABLES = pytest.mark.skipif(
    not hasattr(dis, "_parse_exception_table"), reason="CPython's own tables, from 3.11"
)
LOOP = """
def f():
    pending = [1]
    try:
        while pending:
            if pending.pop():
                continue
            print()
    except BaseException:
        complete(partial(again, 1))
"""


@TABLES
def test_a_signal_at_a_backward_jump_is_handled_like_the_jump():
    assert not broken(law_of_jumps)


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="as 3.11 compiles it")
def test_a_loop_at_the_beginning_of_a_try_is_found():
    assert law_of_jumps(LOOP)
    assert not law_of_jumps(LOOP.replace("    try:\n", "    try:\n        pending = [1]\n"))


def test_what_a_handler_completes_was_made_before():
    assert not broken(law_of_handlers)
    assert law_of_handlers(LOOP) == [9]
