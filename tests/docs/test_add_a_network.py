"""The page "a denoiser of your own": its file, outside the package, through every command."""

import re
from pathlib import Path

import pytest
import torch
import yaml
from marks import thinned

from hqdm.diffusion.denoiser import Denoiser
from hqdm.diffusion.loading import load_denoiser
from hqdm.diffusion.schedule import CosineSchedule
from hqdm.evaluation.ablation import quantum_effect
from hqdm.nn.parts import count, quantum_parameters
from hqdm.storage.checkpoint import read_checkpoint
from hqdm.utils import plugins
from hqdm.utils.pictures import read_metric

PAGE = (Path(__file__).parents[2] / "docs" / "add_a_network.md").read_text()
LINES = 60


def block(title):
    """The code block of that title."""
    return re.search(rf'```\w+ title="{title}"\n(.*?)```', PAGE, re.DOTALL).group(1)


@pytest.fixture
def networks(tmp_path, monkeypatch, forget):
    """The user's folder, as the current one."""
    (tmp_path / "my_networks.py").write_text(block("my_networks.py"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "my_networks.py"


def configuration(name, options, epochs, **changes):
    config = yaml.safe_load(block("amplitude.yaml"))
    config["data"] |= {"limit": 256, "val_limit": 64}
    config["model"]["network"] = {"name": name, "options": options}
    config["trainer"] = {"max_epochs": epochs, "accelerator": "cpu", "log_every_n_steps": 1}
    config["sample_every"] = 0
    for key, value in changes.items():
        config["model"][key] = value
    Path("own.yaml").write_text(yaml.safe_dump(config))
    return "own.yaml"


def test_it_takes_no_more_lines_than_it_says():
    assert len(block("my_networks.py").splitlines()) <= LINES
    assert f"in {LINES} lines" in PAGE


@pytest.mark.parametrize(
    ("name", "options"),
    thinned([("Dense", {"hidden": 16}), ("AmplitudeDense", {"n_layers": 2})], every=2),
)
def test_every_command_takes_it(networks, forget, hqdm, refused, same_run, name, options):
    run = Path("runs/own")
    config = configuration(name, options, 2)
    assert hqdm("fit", "--config", config, "--out", run).code == 0
    losses = list(read_metric(run / "csv", "val_loss").values())  # always of the same noise
    assert losses[-1] < losses[0]

    # Resumed and in one go: the same bits.
    more = ("--out", run, "--resume", run / "last.ckpt", "--trainer.max_epochs", 3)
    assert hqdm("fit", "--config", config, *more).code == 0
    assert hqdm("fit", "--config", configuration(name, options, 3), "--out", "runs/whole").code == 0
    same_run(*(read_checkpoint(Path(f) / "last.ckpt") for f in ("runs/own", "runs/whole")))

    forget()
    assert "--plugin" in refused("inspect", "--checkpoint", run / "last.ckpt")
    own = ("--plugin", networks)
    shown = hqdm(*own, "inspect", "--checkpoint", run / "last.ckpt").out
    assert f"{name} for samples of shape 1x8x8" in shown
    assert "outside parts" in shown if name == "AmplitudeDense" else "outside parts" not in shown
    assert hqdm(*own, "export", "--checkpoint", run / "last.ckpt", "--out", "model").code == 0
    assert Path("model/my_networks.py").exists()
    sample = ("sample", "--checkpoint", "model", "--n", 4, "--sampler", "unipc", "--steps", 3)
    assert hqdm(*own, *sample, "--out", "samples").code == 0
    scored = ("evaluate", "--checkpoint", "model", "--data", "digits", "--n", 16, "--steps", 2)
    outcome = hqdm(*own, *scored, "--out", "scores")
    assert outcome.code == 0
    assert ("with random angles" in outcome.out) == (name == "AmplitudeDense")
    frozen = next(iter(load_denoiser("model").network.parts))
    start = ("--init-from", run / "last.ckpt", "--freeze", frozen, "--out", "runs/frozen")
    said = hqdm("fit", "--config", config, *start).err
    assert f"frozen: {frozen}" in said


def test_the_circuit_of_the_page_has_a_thousand_angles(networks):
    module = plugins.load_plugin(networks)
    network = module.AmplitudeDense()
    assert count(quantum_parameters(network)) == 1008
    # One unitary: probabilities of unit states, scaled; by hand from the layer.
    x = torch.randn(3, 1, 8, 8)
    expected = network.scale * network.circuit(x.reshape(3, 1, 64)) - 1
    torch.testing.assert_close(network(x, torch.rand(3)), expected.view(3, 1, 8, 8))


def test_angles_behind_a_tanh_are_randomised(networks):
    """By torch's parametrisation: the ablation reaches the parameter behind the angles."""
    module = plugins.load_plugin(networks)
    network = module.AmplitudeDense(n_layers=2)

    class Tanh(torch.nn.Module):
        def forward(self, w):
            return torch.tanh(w) / 2

    torch.nn.utils.parametrize.register_parametrization(network.circuit, "theta", Tanh())
    assert count(quantum_parameters(network)) == 36
    effect = quantum_effect(Denoiser(network, CosineSchedule(), "x0"), torch.rand(64, 1, 8, 8))
    assert abs(effect.random_angles / effect.loss - 1) > 1e-4


def test_a_network_that_lacks_a_member_is_refused():
    from hqdm import HQDMError, register_network

    with pytest.raises(HQDMError, match="Linear is not a network: it needs .* from_config"):
        register_network(torch.nn.Linear)
    with pytest.raises(HQDMError, match="lacks config, from_config, sample_shape, parts"):
        Denoiser(torch.nn.Linear(2, 2), CosineSchedule())


@pytest.mark.slow
def test_keys_of_another_network_are_refused(networks, refused):
    config = yaml.safe_load(Path(configuration("Dense", {"hidden": 4}, 1)).read_text())
    for change, said in (
        ({"dim": 4}, "model.network.dim is an option of UNet"),
        ({"name": "Dens"}, "unknown network 'Dens'.*did you mean 'Dense'"),
        ({"options": {"hiden": 4}}, "the options of Dense cannot be used"),
        ({"name": "UNet"}, "model.network.options are for networks other than UNet"),
    ):
        changed = {**config, "model": {**config["model"]}}
        changed["model"]["network"] = {**config["model"]["network"], **change}
        Path("changed.yaml").write_text(yaml.safe_dump(changed))
        assert re.search(said, refused("fit", "--config", "changed.yaml"))
