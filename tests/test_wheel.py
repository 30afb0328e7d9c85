"""The wheel: its description, its files, and commands outside a checkout."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

pytest.importorskip(
    "hatchling", reason="the wheel is built by hatchling, which `make env` installs"
)

ROOT = Path(__file__).parents[1]
SOURCES = (
    *("hqdm", "configs", "benchmarks", "docs", "notebooks", "pyproject.toml", ".gitignore"),
    *("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "CITATION.cff", "LICENSE", "hatch_build.py"),
)
LARGEST = 3 * 2**20  # the weights of the model that ships are 1.9 MB
RELATIVE = re.compile(r"\]\((?!https://|#)[^)]*\)")


@pytest.fixture(scope="module")
def hook():
    """The module `hatch_build.py`."""
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


README = "[here](docs/a.md#part) ![one](docs/b.png) [there](https://x.org) [top](#top) f[0](x)"


def test_links_of_the_description(hook, tmp_path):
    (tmp_path / "docs").mkdir()
    for name in ("a.md", "b.png"):
        (tmp_path / "docs" / name).touch()
    rest = "[there](https://x.org) [top](#top) f[0](x)"
    assert hook.described(README, tmp_path) == f"here one (`docs/b.png`) {rest}"
    absolute = hook.described(README, tmp_path, "https://y.org/files/", "https://y.org/raw/")
    assert absolute == (
        "[here](https://y.org/files/docs/a.md#part) ![one](https://y.org/raw/docs/b.png) " + rest
    )


def test_the_description_has_no_relative_link(hook):
    text = (ROOT / "README.md").read_text()
    assert RELATIVE.search(text)
    for addresses in (("", ""), ("https://y.org/files/", "https://y.org/raw/")):
        assert RELATIVE.findall(hook.described(text, ROOT, *addresses)) == []


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of a copy of the checkout, in which commands have left files."""
    copy, out = tmp_path_factory.mktemp("checkout"), tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name)
        else:
            shutil.copy(ROOT / name, copy / name)
    for name in ("model.carleman.safetensors", "grid.json"):
        (copy / "benchmarks" / "models" / "mnist_unet" / name).write_text("left")
    (copy / "hqdm" / "runs").mkdir()
    (copy / "hqdm" / "runs" / "last.ckpt").write_text("left")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--wheel-dir", out, copy], check=True, timeout=300)
    (path,) = out.glob("hqdm-*.whl")
    return path


@pytest.mark.slow
def test_files_of_the_wheel(wheel):
    with zipfile.ZipFile(wheel) as archive:
        infos = {info.filename: info for info in archive.infolist()}
        (metadata,) = (name for name in infos if name.endswith(".dist-info/METADATA"))
        description = Parser().parsestr(archive.read(metadata).decode())
        (points,) = (name for name in infos if name.endswith(".dist-info/entry_points.txt"))
        assert "hqdm.qubit = hqdm.device:HqdmQubit" in archive.read(points).decode()
    listed = subprocess.run(
        ["git", "ls-files", "hqdm", "configs", "benchmarks/models"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    inside = {"configs/": "hqdm/configs/", "benchmarks/models/": "hqdm/models/", "hqdm/": "hqdm/"}
    expected = {
        target + name.removeprefix(source)
        for name in listed
        for source, target in inside.items()
        if name.startswith(source)
    }
    assert "hqdm/py.typed" in expected
    assert {name for name in infos if ".dist-info/" not in name} == expected
    assert max(info.file_size for info in infos.values()) < LARGEST
    assert description["Description-Content-Type"] == "text/markdown"
    assert "# hqdm" in description.get_payload()
    assert RELATIVE.findall(description.get_payload()) == []


@pytest.mark.slow
def test_commands_outside_a_checkout(wheel, tmp_path):
    """Configurations and the trained model by name, with the requirements of this environment."""
    site, work = tmp_path / "site", tmp_path / "work"
    work.mkdir()
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", site]
    subprocess.run([*install, wheel], check=True, timeout=300)
    env = {**os.environ, "PYTHONPATH": str(site)}

    def run(*words):
        command = [sys.executable, "-c", f"import hqdm; assert {str(site)!r} in hqdm.__file__"]
        subprocess.run(command, cwd=work, env=env, check=True, timeout=300)
        command = [sys.executable, "-m", "hqdm", *words]
        done = subprocess.run(
            command, cwd=work, env=env, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "475,281" in run("inspect", "--config", "mnist_qvunet")
    assert "2 images" in run("sample", "--checkpoint", "mnist", "--n", "2", "--steps", "2")
    assert (work / "samples" / "grid.png").stat().st_size > 0
