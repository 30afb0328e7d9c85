"""The README's Python runs as it is printed, on a small folder of images."""

import re
import runpy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

README = Path(__file__).parents[2] / "README.md"


def test_own_images_and_own_circuit(tmp_path, monkeypatch):
    (source,) = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    random = np.random.default_rng(0)
    for split, label, n in (("train", "a", 3), ("train", "b", 3), ("test", "a", 2)):
        folder = tmp_path / "my_images" / split / label
        folder.mkdir(parents=True)
        for i in range(n):
            pixels = random.integers(0, 256, (28, 28), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{i}.png")
    source = source.replace("batch_size=64", "batch_size=2")
    source = source.replace("max_epochs=5", "max_epochs=1, logger=False, enable_progress_bar=False")
    source = source.replace("DDIM(50)", "DDIM(2)")
    monkeypatch.chdir(tmp_path)
    Path("example.py").write_text(source)
    runpy.run_path("example.py", run_name="__main__")
    assert Image.open("samples.png").size[0] > 28


def test_readme_names_files_that_exist():
    links = re.findall(r"\]\(((?!http)[^)#]+)\)", README.read_text())
    missing = [link for link in links if not (README.parent / link).exists()]
    assert links
    assert missing == []


@pytest.mark.parametrize("target", ["demo", "test"])
def test_readme_names_make_targets_that_exist(target):
    assert f"make {target}" in README.read_text()
    assert re.search(rf"^{target}:", (README.parent / "Makefile").read_text(), flags=re.MULTILINE)
