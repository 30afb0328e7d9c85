"""The text of the package and of its pages: plain English, as in textbooks."""

import ast
import io
import json
import re
import tokenize
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "hqdm"
QUESTIONS = ("What", "How", "Where", "Which", "Whether")
FILES = sorted(PACKAGE.rglob("*.py"))
SCRIPTS = sorted((ROOT / "benchmarks").rglob("*.py"))
PAGES = sorted(
    chain(
        [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md"],
        (ROOT / "docs").glob("*.md"),
        (ROOT / "benchmarks" / "results").glob("*.md"),
        (ROOT / "notebooks").glob("*.ipynb"),
    )
)

COUNTED = "evaluations|queries|seconds|milliseconds|gates|operations|multiply-adds|numbers"
PER = "call|circuit|image|layer|order|pass|pixel|run|sample|second|segment|state|step"
IDIOMS = re.compile(
    "|".join(
        (
            rf"\b(?:{COUNTED}) an? (?:{PER})\b",  # per
            r"\bkey of all noise\b",  # random seed
            r"(?<!random )(?<!quantum )\bwalks?\b(?! operator)",  # trajectory, evolution
            r"\bso (?:many|much) \w+s\b(?! (?:as|that))",  # a number of
            r"\b(?:what|how) (?:it|they|that|this) errs?\b",  # its error
            r"\berrs by\b",  # its error is
            r"\bwhatever\b",
            r"\bnobody(?:'s)?\b",
            r"\bin the place of\b",  # in place of
            r"\b(?:taken|took|takes?) \w* ?apart\b",  # split
            r"\berrors apart\b",  # separate errors
            r"\b(?:says?|tells?) why\b",  # gives the reason
            r"\b(?:its|whose) answers\b",  # results
            r"\bcome to do\b",
            r"\bnothing for the\b",  # no entry for the
            r"\bmistakes that\b",  # errors
            r"\b(?:can be|to) mend(?:ed)?\b",  # corrected
            r"\bor on chance\b",  # or random
        )
    ),
    re.IGNORECASE,
)


def name(file):
    return str(file.relative_to(ROOT))


@pytest.mark.parametrize("file", [*FILES, *SCRIPTS], ids=name)
def test_no_docstring_begins_with_a_question_word(file):
    """Docstrings are noun phrases or imperatives."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
    nodes = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, kinds)]
    texts = [ast.get_docstring(node) or "" for node in nodes]
    assert [text for text in texts if text.split(" ", 1)[0] in QUESTIONS] == []


def texts_of(file):
    """Comments and string literals of a module, or the text of a page or notebook, on one line."""
    source = file.read_text()
    if file.suffix == ".ipynb":
        source = "\n".join("".join(cell["source"]) for cell in json.loads(source)["cells"])
    if file.suffix != ".py":
        return [" ".join(source.split())]
    kinds = {tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", None)}
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return [" ".join(token.string.split()) for token in tokens if token.type in kinds]


@pytest.mark.parametrize("file", [*FILES, *SCRIPTS, *PAGES], ids=name)
def test_no_idiom_is_used(file):
    assert [hit for text in texts_of(file) for hit in IDIOMS.findall(text)] == []
