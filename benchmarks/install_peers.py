"""Install the other libraries of the speed benchmark into `.venv-bench`, one by one.

    python benchmarks/install_peers.py

The environment includes the packages of the Python that runs this script, so that all use the same
torch, numpy and PennyLane as hqdm. A failed installation does not prevent the others.
"""

import subprocess
import sysconfig
import venv
from collections.abc import Iterable
from pathlib import Path

from speed.contestants import CONTESTANTS

ROOT = Path(__file__).parents[1]
ENVIRONMENT = ROOT / ".venv-bench"
PYTHON = ENVIRONMENT / "bin" / "python"
REQUIREMENTS = Path(__file__).with_name("peers.txt")
CONSTRAINTS = str(ROOT / "constraints.txt")
PIP_INSTALL = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--constraint"]


def make_environment() -> None:
    """Create the environment if it does not exist."""
    if not PYTHON.exists():
        venv.create(ENVIRONMENT, with_pip=True)
        (ENVIRONMENT / ".gitignore").write_text("*\n")
    paths = sysconfig.get_paths("venv", {"base": ENVIRONMENT, "installed_base": ENVIRONMENT})
    ours = dict.fromkeys(sysconfig.get_path(kind) for kind in ("purelib", "platlib"))
    Path(paths["purelib"], "hqdm-environment.pth").write_text("\n".join(ours) + "\n")


def install(packages: tuple[str, ...], *options: str) -> str | None:
    """Install some packages, at the versions in `peers.txt` and `constraints.txt`.

    Args:
        packages: The packages.
        *options: Options of pip, such as `--no-deps`.

    Returns:
        None, or the last line of the error message of pip.
    """
    pins = dict(line.split("==") for line in REQUIREMENTS.read_text().split() if "==" in line)
    pinned = [f"{name}=={pins[name]}" if name in pins else name for name in packages]
    command = [str(PYTHON), *PIP_INSTALL, CONSTRAINTS, *options, *pinned]
    done = subprocess.run(command, capture_output=True, text=True)
    if not done.returncode:
        return None
    lines = (done.stderr.strip() or done.stdout.strip() or "pip failed").splitlines()
    return lines[-1]


def install_peers(names: Iterable[str]) -> dict[str, str]:
    """Install the packages of some contestants.

    Returns:
        For each contestant that cannot be installed, the reason.
    """
    missing = {
        name: CONTESTANTS[name].packages for name in names if not CONTESTANTS[name].installed
    }
    if missing:
        make_environment()
    failures = {packages: install(packages) for packages in dict.fromkeys(missing.values())}
    return {name: reason for name, packages in missing.items() if (reason := failures[packages])}


def main() -> None:
    for name, reason in install_peers(CONTESTANTS).items():
        print(f"{name} cannot be installed: {reason}")


if __name__ == "__main__":
    main()
