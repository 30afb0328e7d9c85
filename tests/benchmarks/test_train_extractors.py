"""The script that trained the shipped extractors."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import nn

from hqdm.metrics.features import load_classifier

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "train_extractors.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("train_extractors", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # Dataclasses look their module up.
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def test_folding_keeps_the_function(script):
    torch.manual_seed(0)
    body = script.with_batch_norm(nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Conv2d(3, 2, 3)))
    x = torch.randn(8, 1, 9, 9)
    for _ in range(3):
        body(x)  # Moves the running statistics away from 0 and 1.
    expected = body.eval()(x)
    folded = script.without_batch_norm(body)
    assert [type(layer) for layer in folded] == [nn.Conv2d, nn.ReLU, nn.Conv2d]
    assert torch.allclose(folded(x), expected, atol=1e-5)


def test_augment_shifts_and_mirrors_each_image_on_its_own(script):
    torch.manual_seed(0)
    recipe = script.Recipe((1,), epochs=1, shift=1, flip=True)
    image = torch.arange(12.0).view(1, 1, 3, 4)
    padded = nn.functional.pad(image, (1, 1, 1, 1), value=-1.0)[0, 0]
    flipped = nn.functional.pad(image.flip(-1), (1, 1, 1, 1), value=-1.0)[0, 0]
    views = [p[i : i + 3, j : j + 4] for p in (padded, flipped) for i in range(3) for j in range(3)]
    out = script.augment(image.expand(200, 1, 3, 4), recipe)
    assert out.shape == (200, 1, 3, 4)
    which = [next(k for k, v in enumerate(views) if v.equal(x[0])) for x in out]
    assert set(which) == set(range(18))


@pytest.mark.slow
def test_two_epochs_on_digits(script, monkeypatch, tmp_path, capsys):
    recipe = script.Recipe((4, 8), epochs=2, shift=1, flip=False)
    monkeypatch.setitem(script.RECIPES, "digits", recipe)
    accuracies = []
    for run in ("a", "b"):
        (tmp_path / run).mkdir()
        monkeypatch.setattr(sys, "argv", ["train", "digits", "--out", str(tmp_path / run)])
        script.main()
        with safe_open(tmp_path / run / "digits.safetensors", "pt") as file:
            header = file.metadata()
        assert json.loads(header["arguments"])["widths"] == [4, 8]
        assert (header["epochs"], header["seed"], header["n_test"]) == ("2", "0", "360")
        accuracies.append(header["test_accuracy"])
    assert f"test accuracy {accuracies[0]}" in capsys.readouterr().out
    assert float(accuracies[0]) > 0.2
    models = [load_classifier("digits", tmp_path / run / "digits.safetensors") for run in "ab"]
    for p, q in zip(*(model.parameters() for model in models), strict=True):
        assert torch.equal(p, q)


def test_the_documentation_shows_the_headers(script, monkeypatch, tmp_path):
    """Rewriting the table changes nothing; a changed cell comes back, and other tables stay."""
    text = script.DOCS.read_text()
    copy = tmp_path / "metrics.md"
    copy.write_text(text.replace("| 99.44% |", "| 1.00% |"))
    monkeypatch.setattr(script, "DOCS", copy)
    script.update_table()
    assert copy.read_text() == text
