"""Provenance: the commit that is checked out, whether it was changed, and when."""

import json
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import lightning
import pennylane
import pytest
import torch

from hqdm.utils import versions
from hqdm.utils.versions import VERSION, git_state, provenance


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """The current folder, a repository with one commit; returns a function that runs git there."""
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "work"
    folder.mkdir()

    def git(*args):
        own = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
        done = subprocess.run(
            ("git", *own, *args), cwd=folder, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    git("init", "-q")
    (folder / "a.txt").write_text("one")
    git("add", "a.txt")
    git("commit", "-q", "-m", "one")
    monkeypatch.chdir(folder)
    return git


def test_the_commit_and_changes_of_the_current_folder(repository):
    commit = repository("rev-parse", "HEAD")
    assert git_state() == {"commit": commit, "dirty": False}
    Path("new.txt").write_text("not tracked")
    assert git_state() == {"commit": commit, "dirty": False}
    Path("a.txt").write_text("two")
    assert git_state() == {"commit": commit, "dirty": True}


def test_no_program_of_a_repository_is_run(repository, tmp_path):
    """Git would run the monitor of the file system that a repository names."""
    hook = tmp_path / "hook.sh"
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    hook.chmod(0o755)
    repository("config", "core.fsmonitor", str(hook))
    (tmp_path / "ran").unlink(missing_ok=True)
    assert git_state() is not None
    assert not (tmp_path / "ran").exists()


def test_without_a_repository_it_is_absent(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(versions, "__file__", str(tmp_path / "hqdm" / "versions.py"))
    (tmp_path / "hqdm").mkdir()
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_state() is None


@pytest.mark.parametrize("error", [FileNotFoundError, subprocess.TimeoutExpired("git", 1)])
def test_without_git_it_is_absent(monkeypatch, error):
    def fail(*args, **options):
        raise error

    monkeypatch.setattr(versions.subprocess, "run", fail)
    assert git_state() is None
    assert provenance()["git"] is None


def test_provenance_is_plain_and_now():
    found = provenance()
    assert json.loads(json.dumps(found)) == found
    assert found["versions"]["hqdm"] == VERSION
    assert found["versions"]["torch"] == torch.__version__
    assert found["versions"]["pennylane"] == pennylane.__version__
    assert found["versions"]["lightning"] == lightning.__version__
    assert "python" in found["versions"]
    assert found["host"] == platform.node()
    then = datetime.fromisoformat(found["time"])
    assert then.utcoffset().total_seconds() == 0
    assert abs((datetime.now(UTC) - then).total_seconds()) < 60
