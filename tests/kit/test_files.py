"""A saved file is complete for every reader, beside other saves, and after an interruption at any moment."""

import itertools
import os
import subprocess
import sys

import model_files
import numpy as np
import pytest
from amounts import full
from interrupts import events, stopped
from model_files import graph_of, in_threads, save, save_often, saved_value

import cgraph as CG
from cgraph.io import files

# By default one in three.
every_bytecode = pytest.mark.parametrize("every", [3, full(1)])
posix = pytest.mark.skipif(os.name != "posix", reason="a matter of POSIX")


def test_a_save_while_another_is_half_done_disturbs_neither(tmp_path, monkeypatch):
    path, savez = tmp_path / "model.npz", np.savez

    def savez_with_another_save(file, **arrays):
        monkeypatch.setattr(np, "savez", savez)
        file.write(b"half")
        save(path, 2)
        assert saved_value(path) == 2
        file.seek(0)
        savez(file, **arrays)

    monkeypatch.setattr(np, "savez", savez_with_another_save)
    save(path, 1)
    assert saved_value(path) == 1
    assert os.listdir(tmp_path) == ["model.npz"]


@posix
def test_threads_that_save_one_path_and_read_it_see_whole_files_alone(tmp_path):
    path = tmp_path / "model.npz"
    save(path, 0)
    seen = set()

    def read():
        seen.update(saved_value(path) for _ in range(80))

    writers = [lambda k=k: save_often(path, 2 * k, 2 * k + 1) for k in range(3)]
    in_threads(*writers, read, read)
    assert seen <= set(range(6))
    assert os.listdir(tmp_path) == ["model.npz"]


SCRIPT = """
import os, sys
sys.path.insert(0, {support!r})
from model_files import save_often
assert {first} == (os.getpid() == 1), os.getpid()
save_often({path!r}, *map(int, sys.argv[1:]), count={count})
"""


@posix
@pytest.mark.thread_unsafe(reason="starts processes")
@pytest.mark.parametrize("launcher", [[], ["unshare", "--pid", "--fork"]], ids=["plain", "PID 1"])
@pytest.mark.parametrize("count", [30, full(50)])
def test_processes_that_save_one_path_leave_whole_files_to_readers(tmp_path, launcher, count):
    path = tmp_path / "model.npz"
    save(path, 0)
    try:
        subprocess.run([*launcher, sys.executable, "-c", ""], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no namespaces of process ids here")
    support = os.path.dirname(model_files.__file__)
    script = SCRIPT.format(support=support, path=str(path), first=bool(launcher), count=count)
    command = [*launcher, sys.executable, "-c", script]
    writers = [
        subprocess.Popen([*command, *values], stderr=subprocess.PIPE)
        for values in (("1", "2"), ("3", "4"))
    ]
    seen = set()
    while any(writer.poll() is None for writer in writers):
        seen.add(saved_value(path))
    for writer in writers:
        _, errors = writer.communicate()
        assert (writer.returncode, errors) == (0, b"")
    assert saved_value(path) > 0
    assert seen <= {0, 1, 2, 3, 4}
    assert os.listdir(tmp_path) == ["model.npz"]


@pytest.mark.thread_unsafe(reason="traces")
@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # of a file not closed
@every_bytecode
@pytest.mark.parametrize("renames", [True, False], ids=["renamed", "in place"])
def test_an_interrupt_at_any_bytecode_leaves_no_other_file(tmp_path, monkeypatch, renames, every):
    path, graph = tmp_path / "model.npz", graph_of(2)
    save(path, 1)
    old = path.read_bytes()
    CG.save_parameters(path, graph)
    new = path.read_bytes()
    monkeypatch.setattr(os, "fsync", lambda _: None)  # it takes most of the time
    if not renames:
        monkeypatch.setattr(files, "_rename", lambda *_: False)
    events(lambda: CG.save_parameters(path, graph), opcodes=True)  # 3.12 traces from the second on
    for moment in itertools.count(1, every):
        path.write_bytes(old)
        if stopped(lambda: CG.save_parameters(path, graph), moment, opcodes=True):
            break
        assert path.read_bytes() in (old, new)
        assert os.listdir(tmp_path) == ["model.npz"]
    assert path.read_bytes() == new
    assert moment > 200


@pytest.mark.thread_unsafe(reason="traces")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@every_bytecode
def test_an_interrupt_at_any_bytecode_loads_all_or_nothing(tmp_path, every):
    path, graph = tmp_path / "model.npz", graph_of(1)
    CG.save_parameters(path, graph_of(2))
    events(lambda: CG.load_parameters(path, graph), opcodes=True)
    for moment in itertools.count(1, every):
        for item in CG.parameters(graph):
            item.value[...] = 1
        if stopped(lambda: CG.load_parameters(path, graph), moment, opcodes=True):
            break
        assert len({item.value.sum() // item.value.size for item in CG.parameters(graph)}) == 1
    assert CG.parameters(graph)[0].value[0, 0] == 2
    assert moment > 200
