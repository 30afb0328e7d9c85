"""Claims of output folders, with processes that live, have ended, or were killed."""

import json
import os
import platform
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hqdm.storage import claims
from hqdm.storage.claims import LOCK_FILE, claim, hold, lock_of
from hqdm.utils.errors import HQDMError

HOLD = """
import sys, time
from pathlib import Path
from hqdm.storage.claims import hold
from hqdm.utils.errors import HQDMError
try:
    with hold(Path(sys.argv[1])):
        print("held", flush=True)
        sys.stdin.read()
except HQDMError as error:
    print(error, flush=True)
"""


def holder(folder):
    """A process that holds a folder until its input is closed, or says why it cannot."""
    command = [sys.executable, "-c", HOLD, folder]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_second_process_is_refused_in_one_line(tmp_path):
    first = holder(tmp_path / "out")
    try:
        assert first.stdout.readline() == "held\n"
        second = holder(tmp_path / "out")
        said = second.communicate()[0]
        assert said.startswith(f"{tmp_path / 'out'} is in use by process {first.pid} on ")
        assert said.count("\n") == 1
        with (
            pytest.raises(HQDMError, match=f"in use by process {first.pid} on {platform.node()}"),
            claim(tmp_path / "out", ("a",), overwrite=True),
        ):
            pass
    finally:
        first.communicate()
    assert list((tmp_path / "out").iterdir()) == []
    with hold(tmp_path / "out"):
        pass


def test_lock_of_a_killed_process_is_taken_over(tmp_path):
    first = holder(tmp_path)
    assert first.stdout.readline() == "held\n"
    os.kill(first.pid, signal.SIGKILL)
    os.waitid(os.P_PID, first.pid, os.WEXITED | os.WNOWAIT)  # ended, but its pid is still taken
    assert (tmp_path / LOCK_FILE).exists()
    with hold(tmp_path):
        assert json.loads((tmp_path / LOCK_FILE).read_text())["pid"] == os.getpid()
    first.communicate()
    assert not (tmp_path / LOCK_FILE).exists()


def test_one_of_many_gets_the_folder(tmp_path):
    """All at once, with the lock of an ended process in the folder."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    lock = {"pid": ended.pid, "host": platform.node(), "started": "1"}
    (tmp_path / LOCK_FILE).write_text(json.dumps(lock))
    processes = [holder(tmp_path) for _ in range(6)]
    said = [process.stdout.readline() for process in processes]
    for process in processes:
        process.communicate()
    assert said.count("held\n") == 1
    assert sum("is in use by process" in line for line in said) == 5


LOCKS = [
    ({"pid": os.getppid(), "host": platform.node(), "started": ""}, True, "unknown start"),
    ({"pid": os.getppid(), "host": platform.node(), "started": "1"}, False, "pid used again"),
    ({"pid": 2**31 - 1, "host": platform.node(), "started": "1"}, False, "no such process"),
    ({"pid": 1, "host": "elsewhere", "started": "1"}, True, "another machine"),
    ({"pid": 2**80, "host": platform.node(), "started": ""}, False, "pid out of range"),
    ({"pid": 0, "host": platform.node(), "started": ""}, False, "a group of processes"),
    ({"pid": True, "host": platform.node(), "started": ""}, False, "no number"),
    ({"pid": "x"}, False, "not a lock"),
    ("{", False, "killed while writing"),
]


@pytest.mark.skipif(not Path("/proc/1/stat").exists(), reason="start times are read from /proc")
@pytest.mark.parametrize(("lock", "held", "_"), LOCKS, ids=[lock[-1] for lock in LOCKS])
def test_locks_of_others(tmp_path, lock, held, _):
    (tmp_path / LOCK_FILE).write_text(lock if isinstance(lock, str) else json.dumps(lock))
    if not held:
        with hold(tmp_path):
            pass
        assert not (tmp_path / LOCK_FILE).exists()
        return
    with pytest.raises(HQDMError, match=f"if there is no such process, remove .*{LOCK_FILE}"):
        hold(tmp_path).__enter__()
    assert json.loads((tmp_path / LOCK_FILE).read_text()) == lock


def test_of_many_present_files_a_few_are_named(tmp_path):
    names = [f"{i}.png" for i in range(12)]
    for name in names[:8]:
        (tmp_path / name).touch()
    named = "already holds 0.png, 1.png, 2.png, 3.png, 4.png and 3 more: --overwrite"
    with pytest.raises(HQDMError, match=named), claim(tmp_path, names, overwrite=False):
        pytest.fail("the files would be replaced")


def test_present_files_are_named_and_kept(tmp_path):
    (tmp_path / "b.txt").write_text("mine")
    (tmp_path / ".writable").write_text("mine")
    names = ["a.txt", "b.txt"]
    with (
        pytest.raises(HQDMError, match=r"already holds b.txt: --overwrite replaces, --out"),
        claim(tmp_path, names, overwrite=False),
    ):
        pass
    with claim(tmp_path, names, overwrite=True), claim(tmp_path, ["c"], False, lock_of(Path("c"))):
        assert {f.name for f in tmp_path.iterdir()} == {
            *("b.txt", ".writable", ".hqdm-lock", ".c.hqdm-lock")
        }
    assert {f.name: f.read_text() for f in tmp_path.iterdir()} == {
        "b.txt": "mine",
        ".writable": "mine",
    }
    (tmp_path / "b.txt").chmod(0o444)
    with pytest.raises(HQDMError, match=r"b.txt is read-only"):
        claim(tmp_path, names, overwrite=True).__enter__()


def fail_after_writing(folder, names):
    for name in names:
        (folder / name).touch()
    raise ZeroDivisionError


def test_new_folder_goes_after_an_error_unless_it_holds_files(tmp_path):
    for name, left in (("a", []), ("b", ["file"]), ("b", [])):
        with pytest.raises(ZeroDivisionError), hold(tmp_path / name / "out"):
            fail_after_writing(tmp_path / name / "out", left)
        assert (tmp_path / name).exists() == (name == "b")
    assert [f.name for f in (tmp_path / "b" / "out").iterdir()] == ["file"]


def test_folder_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    for folder in (tmp_path / "file", tmp_path / "file" / "sub"):
        with pytest.raises(HQDMError, match=r"cannot write to .*file.*--out"):
            hold(folder).__enter__()


def test_a_file_of_the_user_is_not_taken_for_a_lock(tmp_path):
    (tmp_path / LOCK_FILE).write_text("mine")
    with pytest.raises(HQDMError, match=rf"{LOCK_FILE} is no lock of hqdm: move it"):
        hold(tmp_path).__enter__()
    assert (tmp_path / LOCK_FILE).read_text() == "mine"


def test_the_lock_of_another_process_is_not_removed(tmp_path):
    other = json.dumps({"pid": os.getppid(), "host": platform.node(), "started": ""})
    with hold(tmp_path):
        (tmp_path / LOCK_FILE).write_text(other)
    assert (tmp_path / LOCK_FILE).read_text() == other


def test_a_lock_that_was_replaced_while_this_process_waited_is_opened_again(tmp_path, monkeypatch):
    path, waits = tmp_path / LOCK_FILE, []

    def wait(file):
        waits.append(file)
        if len(waits) == 1:  # its holder removes it, and another process makes a new one
            path.rename(tmp_path / "removed")
            path.touch()

    monkeypatch.setattr(claims, "_lock_file", wait)
    with claims._alone(path) as file:
        assert os.path.samestat(os.fstat(file), path.stat())
    assert len(waits) == 2
