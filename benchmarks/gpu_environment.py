"""The packages for `make gpu` on a machine without the network.

    python benchmarks/gpu_environment.py download FOLDER [--python 3.12] [--have FILE]
    python benchmarks/gpu_environment.py install [FOLDER]

`download` collects, on a machine with the network, wheels of the packages that hqdm needs, directly
or not, in the versions installed here; except torch, its CUDA libraries and numba-cuda, of which
the other machine has builds for its GPU, and those in a file of names. `install` makes a virtual
environment in `.venv-gpu`, over the packages of the Python that runs it, and adds those in the
folder. The commit is in `commit.txt` of the folder, since git may be missing there.
"""

import argparse
import re
import site
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv-gpu"
COMMIT = "commit.txt"
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")
OF_THE_MACHINE = re.compile(r"torch|triton|numba-cuda|(cuda|nvidia)-.*")
UNUSED = {"pennylane-lightning"}  # of PennyLane, which only asks for it to be installed


def canonical(name: str) -> str:
    """The name of a package as package indices write it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def requirements() -> list[str]:
    """The direct requirements of hqdm."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        return list(tomllib.load(file)["project"]["dependencies"])


def closure(left_out: set[str], python: str) -> dict[str, str]:
    """The versions installed here of all requirements, for another version of Python.

    Args:
        left_out: Canonical names that are left out, with what only they need.
        python: The version of Python, such as 3.12.
    """
    from packaging.requirements import Requirement

    environment = {"python_version": python, "python_full_version": f"{python}.0", "extra": ""}
    found: dict[str, str] = {}
    open_ones = [Requirement(text) for text in requirements()]
    while open_ones:
        need = open_ones.pop()
        name = canonical(need.name)
        wanted = need.marker is None or need.marker.evaluate(environment)
        if not wanted or name in found or name in left_out or OF_THE_MACHINE.fullmatch(name):
            continue
        try:
            package = distribution(name)
        except PackageNotFoundError:  # for another version of Python: the newest
            found[name] = ""
            continue
        found[name] = package.version
        for inner in map(Requirement, package.requires or []):
            asked = any(
                inner.marker is not None and inner.marker.evaluate({**environment, "extra": extra})
                for extra in need.extras
            )
            if asked:
                inner.marker = None
            open_ones.append(inner)
    return found


def download(folder: Path, python: str, have: Path | None) -> None:
    """Collect the wheels."""
    words = re.split(r"[\s,]+", have.read_text()) if have else []
    left_out = UNUSED | {canonical(re.split("[=<>@]", word)[0]) for word in words if word}
    pins = [f"{name}=={v}" if v else name for name, v in sorted(closure(left_out, python).items())]
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--python-version", python, "--implementation", "cp", "--dest", str(folder)]
    for platform in PLATFORMS:
        command += ["--platform", platform]
    subprocess.run([*command, *pins], check=True)
    git = ["git", "-C", str(ROOT), "rev-parse", "HEAD"]
    (folder / COMMIT).write_text(
        subprocess.run(git, check=True, capture_output=True).stdout.decode()
    )
    total = sum(file.stat().st_size for file in folder.glob("*.whl"))
    print(f"{len(pins)} wheels in {folder}, {total / 1e6:.0f} MB")


def install(folder: Path | None, venv: Path) -> None:
    """Make the environment.

    This Python may be that of an environment itself, whose packages `--system-site-packages` does
    not reach; and it may have no pip to put into a new one.
    """
    subprocess.run([sys.executable, "-m", "venv", "--clear", "--without-pip", venv], check=True)
    (packages,) = venv.glob("lib/python*/site-packages")
    lines = [f"import site; site.addsitedir({path!r})" for path in site.getsitepackages()]
    (packages / "packages_of_the_machine.pth").write_text("\n".join(lines) + "\n")
    wheels = sorted(folder.glob("*.whl")) if folder else []
    if wheels:
        command = [sys.executable, "-m", "pip", "--python", str(venv / "bin" / "python"), "install"]
        command += ["--no-index", "--no-deps", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*command, *map(str, wheels)], check=True)
    (packages / "hqdm.pth").write_text(f"{ROOT}\n")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    tasks = parser.add_subparsers(dest="task", required=True)
    task = tasks.add_parser("download")
    task.add_argument("folder", type=Path)
    task.add_argument("--python", default=f"{sys.version_info.major}.{sys.version_info.minor}")
    task.add_argument("--have", type=Path, help="names of packages of the machine, or pip freeze")
    task = tasks.add_parser("install")
    task.add_argument("folder", type=Path, nargs="?")
    task.add_argument("--venv", type=Path, default=VENV)
    options = parser.parse_args(argv)
    try:
        if options.task == "download":
            options.folder.mkdir(parents=True, exist_ok=True)
            download(options.folder, options.python, options.have)
        else:
            install(options.folder, options.venv)
    except subprocess.CalledProcessError as error:
        print(f"error: {error.cmd[2]} ended with code {error.returncode}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
