"""The files of a run: what is replaced and removed, and what is there after a kill at any point."""

import os
import shutil
from pathlib import Path

import pytest

from hqdm.storage.run_files import MANIFEST, PROVENANCE, RunFiles
from hqdm.utils.errors import HQDMError
from hqdm.utils.files import write_file

OLD = {
    **{name: f"old {name}" for name in ("config.yaml", "last.ckpt", "best.ckpt", "loss.png")},
    **{name: f"old {name}" for name in ("samples/step_0000003.png", "circuits.py")},
    "csv/version_0/metrics.csv": "old",
    "tensorboard/version_0/events.out.tfevents.1.host": "old",
}
USERS = {
    name: f"of the user: {name}"
    for name in (
        *("mine.ckpt", "last.part", ".writable", "csv/notes.csv", "csv/version_0/notes.txt"),
        *("samples/step_1.png", "samples/mine.png", "tensorboard/mine"),
    )
}


def write(folder, files):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def read(folder):
    files = (file for file in folder.rglob("*") if file.is_file())
    return {
        name: file.read_text()
        for file in files
        if (name := file.relative_to(folder).as_posix()) != MANIFEST
    }


@pytest.fixture
def old(tmp_path):
    """The folder of a run, with files of the user."""
    folder = tmp_path / "run"
    write(folder, {**OLD, **USERS})
    RunFiles(folder).add(OLD)
    return folder


class Killed(BaseException):
    """Stands for SIGKILL: nothing in the package catches it."""


def kill_at(monkeypatch, n):
    """Stop before the n-th change of a file system."""
    left = [n]

    def counted(original):
        def call(*args, **options):
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            return original(*args, **options)

        return call

    for name in ("replace", "unlink", "mkdir", "rmdir"):
        monkeypatch.setattr(Path, name, counted(getattr(Path, name)))
    monkeypatch.setattr(shutil, "rmtree", counted(shutil.rmtree))


def new_run(folder, saved=True):
    """Replace a run by a new one, as training does."""
    files = RunFiles(folder)
    files.recover()
    files.set_aside(())
    for name in ("csv/version_0/metrics.csv", "samples/step_0000001.png"):
        files.record(folder / name)
        write_file(folder / name, "new")
    if saved:
        files.add(["config.yaml", "last.ckpt"])
        write_file(folder / "config.yaml", "new")
        write_file(folder / "last.ckpt", "new")
        files.settle()


NEW = {
    **dict.fromkeys(("config.yaml", "last.ckpt", "csv/version_0/metrics.csv"), "new"),
    **{"samples/step_0000001.png": "new", "circuits.py": OLD["circuits.py"]},
}


def test_new_run_replaces_the_files_of_the_old_one_only(old):
    new_run(old)
    assert read(old) == {**NEW, **USERS}
    assert RunFiles(old).listed() == set(NEW) - {"circuits.py"}


def test_run_that_never_saved_is_undone(old):
    new_run(old, saved=False)
    assert (old / "last.ckpt").read_text() == "old last.ckpt"
    RunFiles(old).restore()
    assert read(old) == {**OLD, **USERS}
    assert RunFiles(old).listed() == set(OLD)
    RunFiles(old).restore()  # of nothing
    assert read(old) == {**OLD, **USERS}


def test_killed_anywhere_the_folder_is_one_run_or_the_other(old, monkeypatch, tmp_path):
    """Killed while replacing, and once more while recovering from it."""
    seen = set()
    for n in range(200):
        folder = shutil.copytree(old, tmp_path / str(n))
        with monkeypatch.context() as patch:
            kill_at(patch, n)
            try:
                new_run(folder)
                break
            except Killed:
                pass
        assert (folder / "last.ckpt").exists()
        assert (folder / "config.yaml").exists()
        with monkeypatch.context() as patch:
            kill_at(patch, n % 7)
            try:
                RunFiles(folder).recover()
            except Killed:
                assert (folder / "last.ckpt").exists()
        RunFiles(folder).recover()
        found = read(folder)
        unfinished = {name for name in found if name.endswith(".hqdm-part")}
        found = {name: text for name, text in found.items() if name not in unfinished}
        assert found in ({**OLD, **USERS}, {**NEW, **USERS}), n
        seen.add(found["last.ckpt"])
        assert (RunFiles(folder).listed() == set(OLD)) == (found["last.ckpt"] != "new")
    assert n > 30
    assert seen == {"old last.ckpt", "new"}


def test_run_of_an_earlier_version_is_recognised_by_its_names(trained, tmp_path):
    """No manifest: files of exactly our names beside a checkpoint of ours."""
    folder = shutil.copytree(trained, tmp_path / "run")
    listed = RunFiles(folder).listed()
    (folder / MANIFEST).unlink()
    write(folder, USERS)
    assert RunFiles(folder).own() == listed - {PROVENANCE}  # which earlier versions did not write
    config = (folder / "config.yaml").read_text()
    for foreign in ("my: precious", "- 1", "{", "model: 1"):
        (folder / "config.yaml").write_text(foreign)
        assert RunFiles(folder).own() == set()
    (folder / "config.yaml").write_text(config)
    (folder / "last.ckpt").write_bytes(b"not ours")
    assert RunFiles(folder).own() == set()


def test_pictures_of_other_names_are_the_users(tmp_path):
    ours = {"samples/step_0000022.png", "samples/step_12345678.png"}
    write(tmp_path, dict.fromkeys([*ours, "samples/step_by_step.png", "samples/step_1.png"], "x"))
    assert RunFiles(tmp_path).pictures() == ours


@pytest.mark.parametrize(
    "text",
    [
        *("{", "[]", "{}", '{"format_version": 1, "files": 3}'),
        '{"format_version": 1, "files": ["../outside"]}',
        '{"format_version": 1, "files": ["a/../../outside"]}',
        '{"format_version": 1, "files": ["/etc/passwd"]}',
        '{"format_version": 1, "files": [""]}',
        '{"format_version": 1, "files": [3]}',
    ],
)
def test_damaged_manifest_removes_nothing(old, text):
    (old / MANIFEST).write_text(text)
    with pytest.raises(HQDMError, match="is damaged: move"):
        RunFiles(old).set_aside(())
    RunFiles(old).recover()
    assert read(old) == {**OLD, **USERS}


def test_files_elsewhere_are_not_listed(tmp_path):
    files = RunFiles(tmp_path / "run")
    files.record(tmp_path / "elsewhere.png")
    assert files.listed() is None
    files.record(tmp_path / "run" / "a" / "b")
    assert files.listed() == {"a/b"}


def test_another_checkpoint_of_the_same_size_and_time_is_another_one(old):
    """Killed after the new checkpoint was saved: its content decides, not its size and time."""
    files = RunFiles(old)
    files.set_aside(())
    before = (old / "last.ckpt").stat()
    files.add(["last.ckpt"])
    write_file(old / "last.ckpt", OLD["last.ckpt"].replace("old", "new"))
    os.utime(old / "last.ckpt", ns=(before.st_atime_ns, before.st_mtime_ns))
    RunFiles(old).recover()
    assert (old / "last.ckpt").read_text() == "new last.ckpt"
