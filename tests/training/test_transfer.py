"""Transfer learning: weights taken over exactly, frozen parts that do not move."""

from dataclasses import replace

import pytest
import torch
from networks import Toy

from hqdm.circuits import HQConv
from hqdm.diffusion.denoiser import Denoiser
from hqdm.diffusion.loading import load_denoiser
from hqdm.diffusion.schedule import CosineSchedule
from hqdm.nn.quantum_conv import Hybrid
from hqdm.nn.unet import QVUNet, UNet
from hqdm.storage.checkpoint import read_checkpoint
from hqdm.training.transfer import freeze, transfer
from hqdm.utils.errors import HQDMError

SMALL = {"size": 8, "dim": 8, "mults": (1, 2)}
FOUR = Hybrid(groups=1, channels_per_group=1, ansatz="HQConv", n_layers=1)


def classical(**options):
    return Denoiser(UNet(**{**SMALL, **options}), CosineSchedule())


def hybrid():
    return Denoiser(QVUNet(FOUR, **SMALL), CosineSchedule())


def test_angles_of_another_circuit_are_not_taken_over():
    """HQConv's two orders of gates have angles of one shape."""
    other = replace(FOUR, ansatz=HQConv(4, 1, interleaved=False))
    source = Denoiser(QVUNet(other, **SMALL), CosineSchedule())
    done = transfer(source, hybrid())
    assert done.fresh
    assert all(name.endswith(".theta") for name in done.fresh)
    assert not transfer(hybrid(), hybrid()).fresh


def test_matching_tensors_are_taken_over_and_the_others_named():
    source, target = classical(), hybrid()
    before = {name: value.clone() for name, value in target.state_dict().items()}
    done = transfer(source, target)
    theirs, ours = source.state_dict(), target.state_dict()
    assert set(done.taken) | set(done.fresh) == set(ours)
    assert all(torch.equal(ours[name], theirs[name]) for name in done.taken)
    assert all(torch.equal(ours[name], before[name]) for name in done.fresh)
    assert all(name.startswith("network.vertex.") for name in done.fresh)
    assert any(name.endswith(".theta") for name in done.fresh)
    for part in ("encoder", "decoder", "stem", "head", "embedding"):
        assert any(name.startswith(f"network.{part}.") for name in done.taken)


class Other(Toy):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(2, 2)


def test_models_with_nothing_in_common_are_refused():
    with pytest.raises(HQDMError, match="shares no tensor"):
        transfer(classical(dim=12), Denoiser(Other(), CosineSchedule()))


def test_frozen_parts_have_no_gradient():
    denoiser = hybrid()
    freeze(denoiser, ["encoder", "decoder"])
    still = {n.split(".")[1] for n, p in denoiser.named_parameters() if not p.requires_grad}
    moving = {n.split(".")[1] for n, p in denoiser.named_parameters() if p.requires_grad}
    assert still == {"encoder", "decoder"}
    assert moving == {"stem", "embedding", "vertex", "head"}


def test_unknown_part_and_nothing_left_are_refused():
    with pytest.raises(HQDMError, match=r"unknown part of the network 'encodr'.*'encoder'"):
        freeze(hybrid(), ["encodr"])
    with pytest.raises(HQDMError, match="leaves nothing to train"):
        freeze(hybrid(), ["stem", "embedding", "encoder", "vertex", "decoder", "head"])
    fixed = hybrid().requires_grad_(False)  # as some controls are
    freeze(fixed, [])
    assert not any(p.requires_grad for p in fixed.parameters())


@pytest.mark.slow
def test_classical_to_hybrid_from_the_command_line(hqdm, tiny, tmp_path):
    """Frozen parts equal the source exactly, in weights and average; the vertex is trained."""
    source, out = tmp_path / "source", tmp_path / "run"
    assert hqdm("fit", "--config", tiny(model__network__hybrid={}), "--out", source).code == 0
    start = ("--init-from", source / "last.ckpt", "--freeze", "encoder,decoder")
    outcome = hqdm("fit", "--config", tiny(), "--out", out, *start)
    assert outcome.code == 0
    first = outcome.err.splitlines()[0]
    model = load_denoiser(source / "last.ckpt")
    done = transfer(model, load_denoiser(out / "last.ckpt"))
    assert first == (
        f"copied {len(done.taken)} tensors from {source / 'last.ckpt'}, "
        f"{len(done.fresh)} are newly initialised; "
        f"frozen: encoder, decoder; into {out}"
    )
    theirs = model.state_dict()
    for weights in ("raw", "averaged"):
        ours = load_denoiser(out / "last.ckpt", weights).state_dict()
        moved = {n.split(".")[1] for n in done.taken if not torch.equal(ours[n], theirs[n])}
        assert moved == {"stem", "embedding", "vertex", "head"}

    # The run remembers what is frozen.
    more = ("--resume", out / "last.ckpt", "--trainer.max_epochs", 3)
    outcome = hqdm("fit", "--config", out / "config.yaml", *more)
    assert outcome.err.splitlines()[0].endswith(f"frozen: encoder, decoder; into {out}")
    assert read_checkpoint(out / "last.ckpt").frozen == ("encoder", "decoder")
    assert "freeze: encoder,decoder" in (out / "config.yaml").read_text()
    ours = load_denoiser(out / "last.ckpt", "raw").state_dict()
    assert all(torch.equal(ours[n], theirs[n]) for n in done.taken if ".encoder." in f".{n}")
    outcome = hqdm("fit", "--config", tiny(), *more, "--freeze", "stem")
    assert outcome.code == 2
    assert "was trained with encoder, decoder frozen: leave --freeze out" in outcome.err


@pytest.mark.slow
def test_average_starts_from_the_weights_taken_over(hqdm, tiny, trained, tmp_path):
    args = ("--config", tiny(), "--out", tmp_path / "run", "--trainer.max_steps", 0)
    assert hqdm("fit", *args, "--init-from", trained / "last.ckpt").code == 0
    theirs = load_denoiser(trained / "last.ckpt").state_dict()
    for weights in ("averaged", "raw"):
        ours = load_denoiser(tmp_path / "run" / "last.ckpt", weights).state_dict()
        assert all(torch.equal(ours[name], value) for name, value in theirs.items())
