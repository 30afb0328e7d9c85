"""The version of this package, and where, when and by what code a result was computed."""

import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

VERSION = "0.1.0"
GIT_SECONDS = 10  # of a command; a repository on a slow disk is left out


def versions() -> dict[str, str]:
    """The versions and the machine, for reports."""
    from importlib.metadata import version  # slow to import, and `hqdm --version` needs neither

    import torch

    return {
        "hqdm": VERSION,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "pennylane": version("pennylane"),
        "lightning": version("lightning"),
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
    }


def provenance() -> dict[str, Any]:
    """The origin of a result, for the record of a run: JSON values.

    Returns:
        `versions`, see above; `git`, see `git_state`; `host`, the name of the machine; `time`, now,
        in UTC (ISO 8601).
    """
    return {
        "versions": versions(),
        "git": git_state(),
        "host": platform.node(),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def git_state() -> dict[str, Any] | None:
    """The commit of the current folder's repository, or else of that of this package.

    Returns:
        `commit`, and `dirty`, true if tracked files differ from it; None without git or a
        repository.
    """
    for folder in (Path.cwd, Path(__file__).parent.absolute):
        try:
            where = folder()
            commit = _git(where, "rev-parse", "--verify", "HEAD")
            changes = _git(where, "status", "--porcelain", "--untracked-files=no")
        except (OSError, subprocess.SubprocessError, ValueError):
            continue
        return {"commit": commit, "dirty": bool(changes)}
    return None


def _git(folder: Path, *args: str) -> str:
    """The output of a git command that changes nothing and runs no program of the repository."""
    options = ("--no-optional-locks", "-c", "core.fsmonitor=false")
    done = subprocess.run(
        ("git", *options, "-C", str(folder), *args),
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=GIT_SECONDS,
        check=True,
        text=True,
    )
    return done.stdout.strip()
