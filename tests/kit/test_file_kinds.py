"""Saving keeps the kind of a file: a link, private, mounted, a device; errors name the file that cannot be written."""

import errno
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from model_files import graph_of, in_threads, save, saved_value

import cgraph as CG
from cgraph.io import files

posix = pytest.mark.skipif(os.name != "posix", reason="a matter of POSIX")


@pytest.fixture
def mounted(tmp_path):
    """A file that is a mount point, as a container sees one that its host lends it."""
    host, path = tmp_path / "host.npz", tmp_path / "model.npz"
    save(host, 0)
    path.touch()
    try:
        subprocess.run(["mount", "--bind", host, path], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("files cannot be mounted here")
    yield path
    subprocess.run(["umount", path], check=True)
    assert sorted(os.listdir(tmp_path)) == ["host.npz", "model.npz"]


@pytest.fixture
def folder_of_a_user():
    """Returns a folder, and drops the rights of root, for whom no file is read-only."""
    folder = Path(tempfile.mkdtemp())
    save(folder / "warm.npz", 0)  # imports what saving needs, from where others may not read
    saved_value(folder / "warm.npz")
    user = 65534 if os.geteuid() == 0 else os.geteuid()
    os.chown(folder, user, -1)
    before = os.geteuid()
    os.seteuid(user)
    try:
        yield folder
    finally:
        os.seteuid(before)
        os.chmod(folder, 0o700)
        shutil.rmtree(folder)


@pytest.mark.parametrize("code", [errno.EBUSY, errno.EXDEV, errno.EPERM, errno.EACCES])
def test_what_cannot_be_replaced_is_written_in_place(tmp_path, monkeypatch, code):
    path = tmp_path / "model.npz"
    path.write_bytes(bytes(10_000))  # longer than the new content

    def refuse(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "replace", refuse)
    before = path.stat().st_ino
    save(path, 5)
    assert saved_value(path) == 5
    assert path.stat().st_ino == before
    assert os.listdir(tmp_path) == ["model.npz"]


def test_a_rename_that_fails_for_a_moment_is_tried_again(tmp_path, monkeypatch):
    replace, refusals = os.replace, [errno.EACCES, errno.EACCES]

    def refuse(*names):
        if refusals:
            code = refusals.pop()
            raise OSError(code, os.strerror(code))
        replace(*names)

    monkeypatch.setattr(os, "replace", refuse)
    monkeypatch.setattr(files, "_PAUSES", (0, 0))
    path = tmp_path / "model.npz"
    path.touch()
    before = path.stat().st_ino
    save(path, 5)
    assert saved_value(path) == 5
    assert path.stat().st_ino != before


@pytest.mark.thread_unsafe(reason="mounts")
def test_a_mounted_file_is_written(mounted):
    before = mounted.stat().st_ino
    mounted.write_bytes(bytes(10_000))
    save(mounted, 3)
    assert saved_value(mounted) == saved_value(mounted.with_name("host.npz")) == 3
    assert mounted.stat().st_ino == before


@pytest.mark.thread_unsafe(reason="mounts")
def test_saves_onto_a_mounted_file_do_not_mix(mounted):
    # The contents differ in length, so that a mixture of both has a wrong end.
    long = {"value": 1, "text": "x" * 500_000}
    for _ in range(10):
        in_threads(
            *[lambda: CG.save_parameters(mounted, graph_of(1), long)] * 2,
            *[lambda: save(mounted, 2)] * 2,
        )
        assert saved_value(mounted) in (1, 2)


@posix
def test_a_lock_of_the_caller_delays_a_save_in_place_and_no_more(tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")
    monkeypatch.setattr(files, "_PATIENCE", 0.01)
    monkeypatch.setattr(files, "_rename", lambda *_: False)
    path = tmp_path / "model.npz"
    path.touch()
    with open(path, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        save(path, 4)
    assert saved_value(path) == 4


@posix
@pytest.mark.parametrize("exists", [True, False], ids=["whole", "dangling"])
def test_a_link_stays_one_and_its_target_is_written(tmp_path, exists):
    (tmp_path / "links").mkdir()
    (tmp_path / "files").mkdir()
    target, link = tmp_path / "files" / "target.npz", tmp_path / "links" / "link.npz"
    first = tmp_path / "links" / "first.npz"
    link.symlink_to("../files/target.npz")
    first.symlink_to(link)
    if exists:
        target.touch()
    save(first, 6)
    assert first.is_symlink()
    assert link.is_symlink()
    assert not target.is_symlink()
    assert saved_value(target) == saved_value(first) == 6
    assert os.listdir(tmp_path / "files") == ["target.npz"]
    assert sorted(os.listdir(tmp_path / "links")) == ["first.npz", "link.npz"]


@posix
@pytest.mark.thread_unsafe(reason="sets the umask")
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o666, 0o777])
def test_a_file_keeps_its_mode(tmp_path, mode):
    path = tmp_path / "model.npz"
    path.touch()
    path.chmod(mode)
    before = os.umask(0o027)
    try:
        save(path, 1)
        save(tmp_path / "new.npz", 1)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert stat.S_IMODE((tmp_path / "new.npz").stat().st_mode) == 0o640


@posix
def test_a_file_that_replaces_a_private_one_is_private_from_its_first_byte(tmp_path, monkeypatch):
    path, savez, modes = tmp_path / "model.npz", np.savez, []

    def savez_and_look(file, **arrays):
        modes.append(stat.S_IMODE(os.fstat(file.fileno()).st_mode))
        savez(file, **arrays)

    save(path, 1)
    path.chmod(0o600)
    monkeypatch.setattr(np, "savez", savez_and_look)
    save(path, 2)
    assert modes == [0o600]


@posix
@pytest.mark.skipif(os.name == "posix" and os.geteuid() != 0, reason="only root gives files away")
def test_a_file_keeps_its_owner_and_group(tmp_path):
    path = tmp_path / "model.npz"
    path.touch()
    os.chown(path, 12345, 12346)
    path.chmod(0o640)
    save(path, 1)
    found = path.stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (12345, 12346, 0o640)


@posix
@pytest.mark.thread_unsafe(reason="changes the user")
def test_a_file_in_a_folder_that_takes_no_other_is_written_in_place(folder_of_a_user):
    path = folder_of_a_user / "model.npz"
    save(path, 1)
    folder_of_a_user.chmod(0o555)
    save(path, 2)
    assert saved_value(path) == 2
    with pytest.raises(PermissionError) as refused:
        save(folder_of_a_user / "new.npz", 2)
    assert refused.value.filename == str(folder_of_a_user / "new.npz")


@posix
@pytest.mark.thread_unsafe(reason="changes the user")
def test_a_file_that_may_not_be_written_is_not_replaced(folder_of_a_user):
    path = folder_of_a_user / "model.npz"
    save(path, 1)
    path.chmod(0o444)
    with pytest.raises(PermissionError) as refused:
        save(path, 2)
    assert refused.value.filename == str(path)
    assert saved_value(path) == 1


@pytest.mark.parametrize("name", ["n" * 255, "é" * 127 + "n", ".npz", "-", "a b"])
def test_any_name_that_a_file_can_have_is_taken(tmp_path, name):
    path = tmp_path / name
    try:
        path.touch()
        path.unlink()
    except OSError:
        pytest.skip("no name of a file here")
    for given in (path, str(path), os.fsencode(path)):
        save(given, 1)
        assert saved_value(given) == 1
    assert os.listdir(tmp_path) == [name]


@posix
@pytest.mark.thread_unsafe(reason="changes the folder")
def test_a_path_as_long_as_paths_may_be_is_taken(tmp_path, monkeypatch):
    longest = os.pathconf(tmp_path, "PC_PATH_MAX") - 1
    monkeypatch.chdir(tmp_path)
    part = "p" * 200
    while len(os.fsencode(os.getcwd())) + 202 < longest - 20:
        os.mkdir(part)
        os.chdir(part)
    name = "m" * (longest - len(os.fsencode(os.getcwd())) - 1)
    path = os.path.join(os.getcwd(), name)
    assert len(os.fsencode(path)) == longest
    save(path, 1)
    assert saved_value(path) == 1
    assert os.listdir() == [name]


@posix
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("nowhere/model.npz", FileNotFoundError),
        ("dangling/model.npz", FileNotFoundError),
        ("dangling", FileNotFoundError),
        ("file/model.npz", NotADirectoryError),
        ("folder", IsADirectoryError),
        ("folder/", IsADirectoryError),
        ("folder/.", IsADirectoryError),
        ("new/", IsADirectoryError),
        ("nowhere/..", OSError),
        ("", FileNotFoundError),
        ("loop", OSError),
        ("n" * 256, OSError),
    ],
)
@pytest.mark.thread_unsafe(reason="changes the folder")
def test_a_path_that_cannot_be_written_is_named_as_it_was_given(tmp_path, monkeypatch, name, kind):
    monkeypatch.chdir(tmp_path)
    os.mkdir("folder")
    Path("file").touch()
    os.symlink("nowhere/model.npz", "dangling")
    os.symlink("loop", "loop")
    before = sorted(os.listdir())
    with pytest.raises(kind) as refused:
        save(name, 1)
    assert refused.value.filename == name
    assert refused.value.__cause__ is None
    assert ".tmp" not in str(refused.value)
    assert sorted(os.listdir()) == before
    assert os.listdir("folder") == []


def device(folder, name, minor):
    """Returns a device; for root a new one, since a faulty save could replace that of the machine."""
    if os.geteuid() != 0:
        return Path("/dev", name)
    try:
        os.mknod(folder / name, 0o666 | stat.S_IFCHR, os.makedev(1, minor))
        (folder / name).write_bytes(b"")
    except OSError:
        pytest.skip("no device can be made or used here")
    return folder / name


linux = pytest.mark.skipif(sys.platform != "linux", reason="devices have Linux's numbers")


@linux
def test_the_null_device_takes_a_file_and_stays(tmp_path):
    null = device(tmp_path, "null", 3)
    save(null, 1)
    assert stat.S_ISCHR(null.stat().st_mode)


@linux
def test_an_error_while_writing_names_the_path(tmp_path):
    full = device(tmp_path, "full", 7)
    with pytest.raises(OSError, match="No space left") as refused:
        save(full, 1)
    assert refused.value.filename == str(full)
    assert stat.S_ISCHR(full.stat().st_mode)


@posix
def test_a_named_pipe_gets_the_whole_file(tmp_path):
    pipe, copy = tmp_path / "pipe", tmp_path / "copy.npz"
    os.mkfifo(pipe)
    in_threads(lambda: save(pipe, 7), lambda: copy.write_bytes(pipe.read_bytes()))
    assert saved_value(copy) == 7
    assert stat.S_ISFIFO(pipe.stat().st_mode)


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="no links to open files here")
@pytest.mark.parametrize("removed", [False, True])
def test_a_link_to_an_open_file_writes_that_file(tmp_path, removed):
    path, copy = tmp_path / "model.npz", tmp_path / "copy.npz"
    with open(path, "w+b") as file:
        if removed:
            path.unlink()
        save(f"/proc/self/fd/{file.fileno()}", 8)
        copy.write_bytes(file.read() if removed else path.read_bytes())
    assert saved_value(copy) == 8
    assert sorted(os.listdir(tmp_path)) == ["copy.npz"] + ["model.npz"] * (not removed)


@pytest.mark.thread_unsafe(reason="mounts")
def test_a_full_disk_ends_a_save_in_place_at_once(mounted, monkeypatch):
    calls = []

    def full(_):
        calls.append(1)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as caught:
        CG.save_parameters(mounted, CG.Affine(CG.Leaf1(1), [[1.0], [2.0]]))
    assert caught.value.filename == str(mounted)
    assert len(calls) < 3
