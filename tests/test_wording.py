"""Docstrings are noun phrases or imperatives, as in textbooks."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "hqdm"
QUESTIONS = ("What", "How", "Where", "Which", "Whether")
FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_no_docstring_begins_with_a_question_word(file):
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
    nodes = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, kinds)]
    texts = [ast.get_docstring(node) or "" for node in nodes]
    assert [text for text in texts if text.split(" ", 1)[0] in QUESTIONS] == []
