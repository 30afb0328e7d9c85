"""Files are the old ones or the new ones, whatever fails while they are written."""

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hqdm.utils.errors import HQDMError
from hqdm.utils.files import (
    NAME_LENGTH,
    check_replaceable,
    observing,
    remove_parts,
    report,
    together,
    write_file,
)


def fail_with(code):
    def fail(*_, **__):
        raise OSError(code, os.strerror(code))

    return fail


FAULTS = [
    (os, "fsync", errno.ENOSPC, "No space left on device"),
    (Path, "open", errno.EACCES, "Permission denied"),
    (Path, "replace", errno.EPERM, "Operation not permitted"),
    (Path, "mkdir", errno.EROFS, "Read-only file system"),
]


@pytest.mark.parametrize(("target", "name", "code", "said"), FAULTS, ids=[f[1] for f in FAULTS])
def test_old_file_survives_every_fault(tmp_path, monkeypatch, target, name, code, said):
    (tmp_path / "a").write_text("old")
    monkeypatch.setattr(target, name, fail_with(code))
    with pytest.raises(HQDMError, match=f"cannot write to .*a .{said}.*name another folder"):
        write_file(tmp_path / "a", "new")
    monkeypatch.undo()
    assert {f.name: f.read_text() for f in tmp_path.iterdir()} == {"a": "old"}


def test_old_file_survives_a_full_disk(tmp_path):
    """The limit of the operating system on the size of a file acts as a full disk does."""
    (tmp_path / "a").write_bytes(b"old")
    script = (
        "import resource, sys; from hqdm.utils.files import write_file\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try: write_file(sys.argv[1], bytes(2000))\n"
        "except ValueError as error: print(error)\n"
    )
    command = [sys.executable, "-c", script, tmp_path / "a"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "(File too large)" in said
    assert said.count("\n") == 1
    assert {f.name: f.read_bytes() for f in tmp_path.iterdir()} == {"a": b"old"}


WRITE_ON = """
import itertools, sys
from hqdm.utils.files import write_file
for n in itertools.count():
    write_file(sys.argv[1], bytes([n % 256]) * 1_000_000)
    n or print(flush=True)
"""


def test_old_or_new_file_survives_a_kill_at_any_time(tmp_path):
    path = tmp_path / "a"
    for n in range(8):
        command = [sys.executable, "-c", WRITE_ON, path]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            process.stdout.readline()
            time.sleep(0.01 + 0.007 * n)
            process.kill()
        content = path.read_bytes()
        assert content == content[:1] * 1_000_000
    remove_parts(path)
    assert list(tmp_path.iterdir()) == [path]


def test_folders_are_made_links_and_modes_kept(tmp_path):
    write_file(tmp_path / "new" / "er" / "a", "1")
    assert (tmp_path / "new" / "er" / "a").read_text() == "1"
    (tmp_path / "real").write_text("old")
    (tmp_path / "real").chmod(0o640)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write_file(tmp_path / "link", "ä")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == "ä".encode()
    assert (tmp_path / "real").stat().st_mode & 0o777 == 0o640
    long = "x" * 255
    write_file(tmp_path / long, b"2")
    assert (tmp_path / long).read_bytes() == b"2"


def test_protected_files_and_folders_are_not_replaced(tmp_path):
    """Also for root, who may write to any file."""
    (tmp_path / "a").write_text("old")
    (tmp_path / "a").chmod(0o444)
    (tmp_path / "b").mkdir()
    for name, said in (("a", "is read-only: make it writable"), ("b", "is a folder: move it")):
        for act in (check_replaceable, lambda path: write_file(path, "new")):
            with pytest.raises(HQDMError, match=said):
                act(tmp_path / name)
    assert (tmp_path / "a").read_text() == "old"


@pytest.mark.parametrize("below", ["a/b", "a/b/c", "link/b"])
def test_nothing_is_written_below_a_file(tmp_path, below):
    (tmp_path / "a").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    with pytest.raises(HQDMError, match="is a file, not a folder: move it"):
        write_file(tmp_path / below, "new")
    assert (tmp_path / "a").read_text() == "old"


def test_the_error_of_the_writing_is_reported_not_that_of_the_cleaning(tmp_path, monkeypatch):
    """Such as on a disk that becomes read-only, or a folder that another program removes."""
    monkeypatch.setattr(os, "fsync", fail_with(errno.ENOSPC))
    monkeypatch.setattr(Path, "unlink", fail_with(errno.EROFS))
    with pytest.raises(HQDMError, match="No space left"):
        write_file(tmp_path / "a", "new")


def contents(folder):
    return {f.name: f.read_text() for f in folder.iterdir()}


def test_files_of_a_group_are_replaced_together(tmp_path, monkeypatch):
    for name in "ab":
        (tmp_path / name).write_text("old")

    def write():
        with together():
            write_file(tmp_path / "a", "new")
            with together():  # a group within a group ends with the outer one
                write_file(tmp_path / "c", "new")
            assert (tmp_path / "a").read_text() == "old"
            assert not (tmp_path / "c").exists()
            write_file(tmp_path / "b", "new")

    with monkeypatch.context() as patch:
        third = iter((None, None, fail_with(errno.ENOSPC)))
        patch.setattr(os, "fsync", lambda file: (next(third) or int)())
        with pytest.raises(HQDMError, match="No space left"):
            write()
    assert contents(tmp_path) == {"a": "old", "b": "old"}
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", fail_with(errno.EPERM))
        with pytest.raises(HQDMError):
            write()
    assert contents(tmp_path) == {"a": "old", "b": "old"}
    write()
    assert contents(tmp_path) == {"a": "new", "b": "new", "c": "new"}


def test_observers_hear_of_a_file_before_it_is_there(tmp_path):
    heard = []
    with observing(lambda path: heard.append((path.name, path.exists()))):
        write_file(tmp_path / "a", "1")
        with together():
            write_file(tmp_path / "b", "1")
            assert [name for name, _ in heard] == ["a"]
        report(tmp_path / "log")
    write_file(tmp_path / "c", "1")
    assert heard == [("a", False), ("b", False), ("log", False)]


def test_only_own_parts_are_removed(tmp_path):
    mine = {"last.part", ".last.ckpt.part", ".last.ckpt.12345.hqdm-part", ".writable"}
    other = ".best.ckpt.0123abcd.hqdm-part"
    for name in (*mine, other, ".last.ckpt.0123abcd.hqdm-part"):
        (tmp_path / name).touch()
    remove_parts(tmp_path / "last.ckpt")
    remove_parts(tmp_path / "nowhere" / "last.ckpt")
    assert {f.name for f in tmp_path.iterdir()} == mine | {other}


def test_a_file_in_place_of_a_folder_is_named(tmp_path):
    (tmp_path / "samples").touch()
    with pytest.raises(HQDMError, match=rf"^{tmp_path}/samples is a file, not a folder: move it"):
        check_replaceable(tmp_path / "samples" / "deep" / "grid.png")
    check_replaceable(tmp_path / "new" / "grid.png")


def test_parts_of_many_files_are_removed_at_once(tmp_path, monkeypatch):
    """Each folder is listed once."""
    long = "x" * 250
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        for name in ("1.png", "2.png", "3.png", long[:NAME_LENGTH]):
            (tmp_path / folder / f".{name}.0123abcd.hqdm-part").touch()
    listed, iterdir = [], Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda folder: listed.append(folder) or iterdir(folder))
    remove_parts(*(tmp_path / name for name in ("a/1.png", "a/2.png", "b/1.png", f"b/{long}")))
    assert listed == [tmp_path / "a", tmp_path / "b"]
    left = {str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*-part")}
    kept = [*(f"b/.{i}.png" for i in (2, 3)), "a/.3.png", f"a/.{long[:NAME_LENGTH]}"]
    assert left == {f"{name}.0123abcd.hqdm-part" for name in kept}
