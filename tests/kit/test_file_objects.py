"""Parameters in file objects: in memory, on disk, behind other bytes, and in pipes."""

import codecs
import gzip
import io
import os
import re
import tempfile

import numpy as np
import pytest
from interrupts import Stopped
from model_files import graph_of, in_threads

import cgraph as CG
from cgraph.io import ModelFileError, load_parameters, read_metadata, save_parameters

posix = pytest.mark.skipif(os.name != "posix", reason="a matter of POSIX")


def saved(value=2):
    """Returns a file in memory at its beginning."""
    file = io.BytesIO()
    save_parameters(file, graph_of(value), {"value": value})
    file.seek(0)
    return file


def value_in(file):
    """Loads from a file object, which must be whole; returns the value of all parameters."""
    graph = graph_of(-1)
    metadata = load_parameters(file, graph)
    values = {float(number) for p in CG.parameters(graph) for number in p.value.flat}
    assert values == {metadata["value"]}
    return metadata["value"]


def test_a_file_object_has_the_bytes_that_a_path_gets(tmp_path):
    save_parameters(tmp_path / "model.npz", graph_of(2), {"value": 2})
    assert (tmp_path / "model.npz").read_bytes() == saved().getvalue()


@pytest.mark.parametrize("buffering", [-1, 0], ids=["buffered", "raw"])
def test_an_open_file_is_flushed_and_stays_open(tmp_path, buffering):
    path = tmp_path / "model.npz"
    with open(path, "wb", buffering) as file:
        save_parameters(file, graph_of(3), {"value": 3})
        assert not file.closed
        assert value_in(path) == 3
        assert file.tell() == path.stat().st_size
    with open(path, "rb", buffering) as file:
        assert read_metadata(file) == {"value": 3}
        file.seek(0)
        assert value_in(file) == 3
        assert not file.closed
        assert file.tell() == path.stat().st_size


@pytest.mark.parametrize("mode", ["w+b", "r+b"])
def test_what_stands_before_the_position_is_kept_and_not_read(tmp_path, mode):
    path = tmp_path / "model.npz"
    path.write_bytes(b"")
    with open(path, mode) as file:
        file.write(saved(1).getvalue())
        start = file.tell()
        save_parameters(file, graph_of(2), {"value": 2})
        file.seek(start)
        assert value_in(file) == 2
        # Of two archives the last one counts, and it does not begin here.
        file.seek(start + 1)
        with pytest.raises(ModelFileError, match="expected members within the file"):
            load_parameters(file, graph_of(0))
        file.seek(0)
        assert file.read(start) == saved(1).getvalue()


def test_a_file_at_its_end_has_nothing_to_load():
    file = io.BytesIO()
    save_parameters(file, graph_of(2))
    size = len(file.getvalue())
    message = f"got no bytes after position {size:,}"
    with pytest.raises(ModelFileError, match=rf"^<BytesIO>: not a cgraph .*{message}"):
        load_parameters(file, graph_of(2))
    file.seek(size + 10)
    with pytest.raises(ModelFileError, match="got no bytes"):
        read_metadata(file)


@posix
@pytest.mark.parametrize("buffering", [-1, 0], ids=["buffered", "raw"])
def test_a_pipe_takes_and_gives_a_file(buffering):
    reading, writing = os.pipe()
    found = []

    def write():
        with open(writing, "wb", buffering) as file:
            # Longer than the pipe's buffer, so that one call writes a part only.
            save_parameters(file, graph_of(4, size=300), {"value": 4})

    def read():
        with open(reading, "rb", buffering) as file:
            graph = graph_of(0, size=300)
            found.append(load_parameters(file, graph))
            found.append({p.value.sum() / p.value.size for p in CG.parameters(graph)})
            assert file.read() == b""

    in_threads(write, read)
    assert found == [{"value": 4}, {4.0}]


@posix
def test_a_named_pipe_is_loaded_from(tmp_path):
    pipe, found = tmp_path / "pipe", []
    os.mkfifo(pipe)
    in_threads(lambda: pipe.write_bytes(saved(6).getvalue()), lambda: found.append(value_in(pipe)))
    assert found == [6]


@pytest.mark.skipif(not hasattr(os, "set_blocking"), reason="no files that do not block")
@posix
def test_a_file_that_would_block_is_an_error():
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with open(reading, "rb"), open(writing, "wb", 0) as file:
        with pytest.raises(BlockingIOError) as refused:
            save_parameters(file, graph_of(1, size=300))
        assert refused.value.filename == "<FileIO>"


class Frugal:
    """A file object of a user's own class, with as few methods as there may be."""

    def __init__(self, content=b""):
        self.content = content

    def write(self, content):
        assert type(content) is bytes
        self.content += content

    def read(self, size):
        content, self.content = self.content[:size], self.content[size:]
        return content


def test_an_object_that_only_reads_or_writes_is_sufficient():
    file = Frugal()
    save_parameters(file, graph_of(5), {"value": 5})
    assert file.content == saved(5).getvalue()
    assert value_in(file) == 5


@pytest.mark.parametrize("make", [tempfile.TemporaryFile, tempfile.SpooledTemporaryFile])
def test_temporary_files_are_taken(make):
    with make() as file:
        save_parameters(file, graph_of(5), {"value": 5})
        file.seek(0)
        assert value_in(file) == 5


def test_a_compressed_file_is_taken(tmp_path):
    with gzip.open(tmp_path / "model.gz", "wb") as file:
        save_parameters(file, graph_of(5), {"value": 5})
    with gzip.open(tmp_path / "model.gz", "rb") as file:
        assert value_in(file) == 5


TEXT_FILES = {
    "StringIO": lambda path: io.StringIO(),
    "TextIOWrapper": lambda path: open(path, "w+", encoding="utf-8"),  # noqa: SIM115
    "_TemporaryFileWrapper": lambda path: tempfile.NamedTemporaryFile("w+"),  # noqa: SIM115
    "StreamReaderWriter": lambda path: codecs.open(path, "w+", "utf-8"),  # noqa: SIM115
}


@pytest.mark.filterwarnings("ignore:codecs.open:DeprecationWarning")
@pytest.mark.parametrize("name", TEXT_FILES)
@pytest.mark.parametrize("function", [save_parameters, load_parameters, read_metadata])
def test_a_text_file_is_refused(tmp_path, function, name):
    rest = [graph_of(1)] * (function is not read_metadata)
    message = f"{function.__name__}: file must be binary, got a text file of type {name}"
    with (
        TEXT_FILES[name](tmp_path / "text") as file,
        pytest.raises(TypeError, match=f"^{message}$"),
    ):
        function(file, *rest)


@pytest.mark.parametrize("file", [io.BytesIO, open, object(), [b""]])
def test_what_is_no_file_object_is_refused(file):
    message = "load_parameters: file must be a path or a binary file object, got "
    with pytest.raises(TypeError, match=f"^{message}"):
        load_parameters(file, graph_of(1))


def test_a_file_that_is_open_for_the_other_purpose_is_refused(tmp_path):
    path = tmp_path / "model.npz"
    with open(path, "wb") as file:
        message = f"load_parameters: file must be open for reading, got {path}"
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            load_parameters(file, graph_of(1))
    with open(path, "rb") as file:
        message = f"save_parameters: file must be open for writing, got {path}"
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            save_parameters(file, graph_of(1))
    assert file.closed
    with pytest.raises(ValueError, match=r"closed file|must be open for writing"):
        save_parameters(file, graph_of(1))


@pytest.mark.parametrize(
    ("given", "shown"),
    [("here", "here"), (b"here", "here"), (3, "<BytesIO>"), ("", "<BytesIO>"), (None, "<BytesIO>")],
)
def test_errors_name_a_file_object(given, shown):
    file = saved()
    if given is not None:
        file = type("BytesIO", (io.BytesIO,), {"name": given})(file.getvalue())
    with pytest.raises(ModelFileError, match=f"^{shown}: expected 0 parameter arrays"):
        load_parameters(file, CG.Leaf1(2))


def test_nothing_is_written_before_the_content_is_complete(monkeypatch):
    file, savez = io.BytesIO(b"old"), np.savez

    def savez_half(stream, **arrays):
        savez(stream, **arrays)
        raise Stopped

    monkeypatch.setattr(np, "savez", savez_half)
    with pytest.raises(Stopped):
        save_parameters(file, graph_of(1))
    with pytest.raises(TypeError, match="metadata must be a mapping"):
        save_parameters(file, graph_of(1), 3)
    assert (file.getvalue(), file.tell()) == (b"old", 0)
