"""README and `docs/`: links, Python blocks, command lines, options and names that they print."""

import argparse
import pkgutil
import re
import runpy
import shlex
import sys
from importlib import import_module
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hqdm.cli import options
from hqdm.cli.commands import carleman, fit
from hqdm.cli.main import COMMANDS, split_plugins
from hqdm.device import HqdmQubit
from hqdm.utils.registry import ENTRY_POINT_GROUP, Registry, load_installed_plugins

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
PACKAGE = ROOT / "hqdm"

FENCE = re.compile(r'^```(\w*)(?: title="([^"]*)")?\n(.*?)^```$', re.DOTALL | re.MULTILINE)
INDENTED = re.compile(r"(?:^(?: {4}.*)?\n)+", re.MULTILINE)
SPAN = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.+?)\s*$", re.MULTILINE)


def page_name(page):
    return str(page.relative_to(ROOT))


def pages(test):
    return pytest.mark.parametrize("page", PAGES, ids=page_name)(test)


def prose(page):
    """A page without its fenced blocks."""
    return FENCE.sub("", page.read_text())


def spans(page):
    """The code inside the sentences and tables of a page."""
    return SPAN.findall(prose(page))


# Links


def anchors(page):
    """The anchors of the headings of a page: lower case, spaces as hyphens, no punctuation."""
    titles = HEADING.findall(prose(page))
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pages
def test_links_lead_somewhere(page):
    for link in LINK.findall(prose(page)):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link


# Python blocks

SMALLER = {
    "max_epochs=60": "max_epochs=1, limit_train_batches=2, limit_val_batches=1",
    "max_epochs=5": "max_epochs=1, logger=False, enable_checkpointing=False",
    "torch.rand(256, 1": "torch.rand(20, 1",
    "batch_size=64": "batch_size=2",
    "Trainer(": "Trainer(accelerator='cpu', enable_progress_bar=False, ",
    "DDIM(50)": "DDIM(2)",
    "DDPM(50)": "DDPM(2)",
    "UniPC(steps=10)": "UniPC(steps=2)",
    "n=16": "n=2",
    "steps=10, seed=0": "steps=2, seed=0",
}
"""Numbers of a page, and those that its code runs with here."""


def python_of(page):
    """The Python blocks of a page, one after the other as a reader would run them.

    Those that have the name of a file as their title are files, which the others import.
    """
    blocks = FENCE.findall(page.read_text())
    return "\n".join(code for kind, title, code in blocks if kind == "python" and not title)


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A folder that looks like the checkout, with a few images of a user's own."""
    for folder in ("benchmarks", "configs", "docs"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    random = np.random.default_rng(0)
    for split, label, n in (("train", "a", 3), ("train", "b", 3), ("test", "a", 2)):
        folder = tmp_path / "my_images" / split / label
        folder.mkdir(parents=True)
        for i in range(n):
            pixels = random.integers(0, 256, (28, 28), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{i}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def registries(monkeypatch):
    """Registries that forget what a test registers, and modules of a user's that it imports."""
    load_installed_plugins()  # once per process: what they register afterwards would be forgotten
    for registry in Registry.all:
        monkeypatch.setattr(registry, "_entries", dict(registry._entries))
    yield
    for module in [module for module in sys.modules if module.startswith("my_")]:
        del sys.modules[module]


def write_titled(page, folder):
    """Write the blocks of a page that have the name of a file as their title."""
    for _, title, code in FENCE.findall(page.read_text()):
        if title:
            (folder / title).write_text(code)


@pytest.mark.parametrize("page", [page for page in PAGES if python_of(page)], ids=page_name)
def test_python_runs(page, checkout, registries, monkeypatch):
    source = python_of(page)
    for large, small in SMALLER.items():
        source = source.replace(large, small)
    (checkout / "example.py").write_text(source)
    write_titled(page, checkout)
    monkeypatch.syspath_prepend(checkout)
    before = set(checkout.rglob("*.png"))
    runpy.run_path("example.py", run_name="__main__")
    drawn = set(checkout.rglob("*.png")) - before
    assert bool(drawn) == ("save_grid(" in source)
    assert all(min(Image.open(picture).size) >= 28 for picture in drawn)


# Command lines


class Parsed(BaseException):
    """Ends a command after its options were parsed; no handler of errors catches it."""


def command_lines(page):
    """The `hqdm` commands of a page, without comments; lines that end in a backslash go on."""
    text = page.read_text()
    blocks = [code for *_, code in FENCE.findall(text)] + INDENTED.findall(FENCE.sub("", text))
    lines = [line.strip() for b in blocks for line in b.replace("\\\n", " ").splitlines()]
    for line in lines + spans(page):
        words = shlex.split(line, comments=True) if line.startswith(("hqdm ", "python ")) else []
        if words[:2] == ["python", "train.py"]:
            words[:2] = ["hqdm"]
        if len(words) > 1 and words[0] == "hqdm":
            yield words[1:]


CONFIG = "configs/mnist_qvunet.yaml"
LEFT_OUT = {"evaluate": ["--checkpoint", "model", "--data", "mnist"]}


def completed(words):
    """A command line with a configuration that exists, and with what `...` leaves out."""
    own = [
        CONFIG if before == "--config" and not Path(word).is_file() else word
        for before, word in pairwise(["", *words])
    ]
    if "..." not in own:
        return own
    return [word for word in own if word != "..."] + LEFT_OUT[words[0]]


def parse(words, monkeypatch):
    """Run a command up to the end of its parsing."""

    def parse_known_args(self, args=None, namespace=None):
        options, rest = argparse.ArgumentParser.parse_known_args(self, args, namespace)
        if rest and not getattr(options, "config", None):  # options of fit follow it
            self.error(f"unrecognized arguments: {rest}")
        raise Parsed

    def instantiate_classes(self):
        raise Parsed

    monkeypatch.setattr(options.Parser, "parse_known_args", parse_known_args)
    monkeypatch.setattr(fit.TrainingCLI, "instantiate_classes", instantiate_classes)
    command, *rest = words
    with pytest.raises(Parsed):
        import_module(f"hqdm.cli.commands.{command.replace('-', '_')}").run(rest)


@pages
def test_command_lines_parse(page, checkout, registries, monkeypatch):
    write_titled(page, checkout)
    for line in command_lines(page):
        words, _ = split_plugins(line)
        if words[:1] == ["COMMAND"]:  # stands for any
            continue
        assert words[0] in COMMANDS, words
        own = words[1:]
        if words[0] == "carleman" and own:
            assert own[0] in carleman.COMMANDS, words
            own = own[1:]
        if own and own != ["--help"]:
            parse(completed(words), monkeypatch)


@pages
def test_yaml_is_a_configuration(page, checkout, registries, monkeypatch):
    write_titled(page, checkout)
    for kind, _, code in FENCE.findall(page.read_text()):
        if kind == "yaml":
            Path("block.yaml").write_text(code)
            parse(["fit", "--config", "block.yaml"], monkeypatch)


def test_a_wrong_option_is_found(checkout, monkeypatch):
    for words in (["sample", "--checkpoint", "m", "--stepz", "3"], ["fit", "--model.lrr", "1"]):
        with pytest.raises(options.HQDMError):
            parse(words, monkeypatch)


@pytest.fixture(scope="module")
def all_options():
    """Every option of every command."""
    found = {"--plugin", "--help"}

    def collect(self, args=None, namespace=None):
        found.update(self._option_string_actions)
        raise Parsed

    def collect_fit(self, parser, args):
        found.update(parser._option_string_actions)
        raise Parsed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(options.Parser, "parse_known_args", collect)
        patch.setattr(fit.TrainingCLI, "parse_arguments", collect_fit)
        runs = [import_module(f"hqdm.cli.commands.{c.replace('-', '_')}").run for c in COMMANDS]
        for run in [*runs, *carleman.COMMANDS.values()]:
            if run is not carleman.run:
                with pytest.raises(Parsed):
                    run([])
    return found


@pages
def test_options_exist(page, all_options):
    named = {span.split()[0].partition("=")[0] for span in spans(page) if span.startswith("--")}
    assert named <= all_options


@pages
def test_make_targets_exist(page):
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert set(re.findall(r"(?:`|^ {4})make ([a-z-]+)", page.read_text(), re.MULTILINE)) <= set(
        targets
    )


# Names

SOURCES = ("hqdm", "tests", "benchmarks")
FOLDERS = "hqdm|tests|benchmarks|docs|configs|notebooks"
FILE = re.compile(rf"(?<![\w/.-])((?:{FOLDERS})/[\w./-]*\w)(?:::(\w+))?")
SCRIPT = re.compile(r"(?<![\w/])\w+\.(?:py|sh|ipynb)\b")
DOTTED = re.compile(r"\bhqdm(?:\.\w+)+(?=\b)(?!\.)")


@pages
def test_files_exist(page):
    for file, test in FILE.findall(page.read_text()):
        assert (ROOT / file).exists(), file
        assert not test or f"def {test}(" in (ROOT / file).read_text(), test


@pages
def test_scripts_exist(page):
    known = {
        f.name for folder in ("hqdm", "tests", "benchmarks") for f in ROOT.glob(f"{folder}/**/*")
    }
    named = {file for span in spans(page) for file in SCRIPT.findall(span)}
    own = {file for file in named if file.startswith("my_")}  # a user's
    assert named - own <= known | {"train.py"}


@pages
def test_modules_and_members_exist(page):
    for name in {name for span in spans(page) for name in DOTTED.findall(span)}:
        if name not in (ENTRY_POINT_GROUP, HqdmQubit.name.fget(None)):  # names of no modules
            pkgutil.resolve_name(name)


def test_every_module_has_its_place_in_the_reference():
    directives = {
        page.stem: re.findall(r"^::: (\S+)$", page.read_text(), flags=re.MULTILINE)
        for page in (ROOT / "docs" / "api").glob("*.md")
        if page.stem != "index"
    }
    modules = {}
    for file in PACKAGE.rglob("*.py"):
        parts = file.relative_to(PACKAGE).with_suffix("").parts
        if file.name not in ("__init__.py", "__main__.py"):
            modules.setdefault(parts[0], []).append(".".join(("hqdm", *parts)))
    assert {room: sorted(names) for room, names in directives.items()} == {
        room: sorted(names) for room, names in modules.items()
    }
