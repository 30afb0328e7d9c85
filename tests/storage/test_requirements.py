"""What a model of a user's circuit needs: copied beside it, named where it is missing."""

import shutil
import sys
from pathlib import Path

import pytest

from hqdm.circuits.ansatz import HQConv
from hqdm.cli import main as cli
from hqdm.diffusion.denoiser import Denoiser
from hqdm.diffusion.loading import load_denoiser
from hqdm.diffusion.schedule import CosineSchedule
from hqdm.nn.quantum_conv import Hybrid, HybridConv
from hqdm.nn.unet import UNet
from hqdm.utils import plugins

FILE = Path(__file__).parents[1] / "fixtures" / "my_circuits.py"
SMALL = {"channels": 1, "size": 8, "dim": 8, "mults": (1, 2), "heads": 1, "head_dim": 4}


@pytest.fixture
def circuits(tmp_path, forget):
    """A user's file, outside the package."""
    return shutil.copy(FILE, tmp_path / "my_circuits.py")


def test_an_exported_model_names_and_holds_the_file(circuits, forget, refused, hqdm, tmp_path):
    ring = plugins.load_plugin(circuits).TestRing
    hybrid = Hybrid(ansatz=ring(4, 2, hop=3))
    assert (hybrid.ansatz, hybrid.n_layers, hybrid.channels_per_group) == ("TestRing", 2, 1)
    assert hybrid.ansatz_options == {"hop": 3}
    denoiser = Denoiser(UNet(hybrid={"vertex": hybrid}, **SMALL), CosineSchedule())
    model = tmp_path / "model"
    denoiser.save_pretrained(model)
    assert (model / "my_circuits.py").read_text() == Path(circuits).read_text()
    assert load_denoiser(model).config == denoiser.config

    forget()
    sample = ("sample", "--checkpoint", model, "--n", 2, "--steps", 2)
    error = refused(*sample, "--out", tmp_path / "a")
    assert "needs the ansatz 'TestRing': load the file that defines it" in error
    assert f"--plugin {model / 'my_circuits.py'}" in error
    outcome = hqdm("--plugin", model / "my_circuits.py", *sample, "--out", tmp_path / "b")
    assert outcome.code == 0
    assert load_denoiser(model).network.vertex.block_1.conv_1.quantum.layer.circuit.ansatz.hop == 3


def test_a_run_names_and_holds_the_file(circuits, forget, tiny, refused, hqdm, tmp_path):
    options = {"channels_per_group": 1, "ansatz": "TestRing", "ansatz_options": {"hop": 2}}
    config = tiny(model__network__hybrid={"vertex": options}, plugins=["my_circuits.py"])
    out = tmp_path / "run"
    assert hqdm("fit", "--config", config, "--out", out).code == 0
    assert (out / "my_circuits.py").exists()
    forget()
    # The configuration beside the checkpoint names the copy, wherever the command is run.
    more = ("--resume", out / "last.ckpt", "--trainer.max_epochs", 3)
    assert hqdm("fit", "--config", out / "config.yaml", "--out", out, *more).code == 0
    forget()
    assert "--plugin" in refused("inspect", "--checkpoint", out / "last.ckpt")
    plugin = f"--plugin={out / 'my_circuits.py'}"
    assert "TestRing" in hqdm("inspect", "--checkpoint", out / "last.ckpt", plugin).out


@pytest.mark.slow
def test_a_changed_file_is_not_mixed_with_a_run(circuits, forget, tiny, refused, hqdm, tmp_path):
    options = {"channels_per_group": 1, "ansatz": "TestRing"}
    config = tiny(model__network__hybrid={"vertex": options}, plugins=["my_circuits.py"])
    out = tmp_path / "run"
    assert hqdm("fit", "--config", config, "--out", out).code == 0
    forget()
    circuits.write_text(circuits.read_text().replace("hop: int = 1", "hop: int = 2"))
    more = ("--out", out, "--resume", out / "last.ckpt", "--trainer.max_epochs", 3)
    assert "differs from" in refused("fit", "--config", config, *more)
    assert hqdm("fit", "--config", config, "--out", out, "--overwrite").code == 0
    assert "hop: int = 2" in (out / "my_circuits.py").read_text()


def test_a_script_s_definition_is_named_without_a_file(tmp_path, refused):
    model = tmp_path / "model"
    Denoiser(UNet(**SMALL), CosineSchedule()).save_pretrained(model)
    config = (model / "config.json").read_text()
    need = '"requires": [{"kind": "ansatz", "name": "Gone", "file": null}]'
    (model / "config.json").write_text(config.replace('"requires": []', need))
    assert "was defined in a notebook or a script" in refused("inspect", "--checkpoint", model)


def test_a_file_outside_the_folder_is_never_named(tmp_path, refused):
    """A record may come from anybody: only a name beside the model is printed."""
    model = tmp_path / "model"
    Denoiser(UNet(**SMALL), CosineSchedule()).save_pretrained(model)
    config = (model / "config.json").read_text()
    need = '"requires": [{"kind": "ansatz", "name": "Gone", "file": "../../elsewhere/evil.py"}]'
    (model / "config.json").write_text(config.replace('"requires": []', need))
    assert f"--plugin {model / 'evil.py'}" in refused("inspect", "--checkpoint", model)


@pytest.mark.slow
def test_unknown_names_and_options_are_refused_in_one_line(refused, tiny, circuits):
    vertex = {"vertex": {"channels_per_group": 1, "ansatz": "TestRing"}}
    assert "unknown ansatz 'TestRing'" in refused(
        "fit", "--config", tiny(model__network__hybrid=vertex)
    )
    vertex["vertex"]["ansatz_options"] = {"hops": 2}
    config = tiny(model__network__hybrid=vertex, plugins=[str(circuits)])
    error = refused("fit", "--config", config)
    assert "unknown option of the ansatz TestRing 'hops': expected one of hop" in error
    assert "there is no plugin" in refused("--plugin", "nothing.py", "inspect")
    assert "--plugin needs a Python file" in refused("inspect", "--plugin")


def test_an_ansatz_object_makes_a_convolution():
    conv = HybridConv(40, 40, ansatz=HQConv(12, 1))
    assert conv.quantum.layer.circuit.ansatz == HQConv(12, 1)
    assert HybridConv(4, 4, ansatz=HQConv(4, 1)).quantum_channels == 1


def test_plugins_come_from_anywhere_on_the_command_line():
    words = ["sample", "--plugin", "a.py", "--n", "2", "--plugin=b.py"]
    assert cli.split_plugins(words) == (["sample", "--n", "2"], ["a.py", "b.py"])


@pytest.mark.parametrize(
    "records", ['"x"', "3", "null", "[3]", '["x"]', "[{}]", '[{"kind": [], "name": "a"}]']
)
def test_damaged_records_are_refused_in_one_line(tmp_path, refused, records):
    model = tmp_path / "model"
    Denoiser(UNet(**SMALL), CosineSchedule()).save_pretrained(model)
    config = (model / "config.json").read_text()
    (model / "config.json").write_text(config.replace('"requires": []', f'"requires": {records}'))
    line = refused("inspect", "--checkpoint", model)
    assert f"{model / 'config.json'}: requires: expected a list" in line or "is damaged" in line


@pytest.mark.slow
def test_plugins_are_taken_from_the_options_too(circuits, forget, tiny, hqdm, tmp_path):
    options = {"channels_per_group": 1, "ansatz": "TestRing"}
    config = tiny(model__network__hybrid={"vertex": options})
    given = ("--plugins", f"[{circuits}]", "--out", tmp_path / "run")
    assert hqdm("fit", "--config", config, *given).code == 0


def test_files_that_a_plugin_imports_are_copied_with_it(forget, tmp_path, hqdm, monkeypatch):
    monkeypatch.setattr("sys.path", list(sys.path))
    own = tmp_path / "own"
    own.mkdir()
    text = FILE.read_text().replace("hop: int = 1", "hop: int = hops.DEFAULT")
    (own / "my_rings.py").write_text(text.replace("import penny", "import hops\nimport penny"))
    (own / "hops.py").write_text("DEFAULT = 1\n")
    (own / "unused.py").write_text("")
    ring = plugins.load_plugin(own / "my_rings.py").TestRing
    hybrid = Hybrid(ansatz=ring(4, 1))
    model = tmp_path / "model"
    Denoiser(UNet(hybrid={"vertex": hybrid}, **SMALL), CosineSchedule()).save_pretrained(model)
    assert {file.name for file in model.glob("*.py")} == {"my_rings.py", "hops.py"}
    forget()
    sys.modules.pop("hops")
    shutil.rmtree(own)
    inspected = hqdm("--plugin", model / "my_rings.py", "inspect", "--checkpoint", model)
    assert inspected.code == 0
    assert Path(sys.modules.pop("hops").__file__).parent == model
