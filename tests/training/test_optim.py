"""The learning-rate schedule: its formula, and the mechanism that hands it to training."""

import math

import pytest
import torch

from hqdm.cli.commands.fit import TrainingCLI
from hqdm.diffusion.denoiser import Denoiser
from hqdm.diffusion.schedule import CosineSchedule
from hqdm.nn.unet import UNet
from hqdm.storage.checkpoint import read_checkpoint
from hqdm.training import DiffusionModule, WarmupCosine
from hqdm.utils.errors import HQDMError
from hqdm.utils.pictures import read_metric


@pytest.mark.parametrize(("warmup", "total"), [(0, 10), (4, 20), (1, 3)])
def test_rates_follow_the_formula(warmup, total):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    schedule = WarmupCosine(optimizer, warmup, total)
    for k in range(total + 5):
        rise = min(1, (k + 1) / warmup) if warmup else 1
        expected = 0.5 * rise * (1 + math.cos(math.pi * min(1, k / total))) / 2
        assert optimizer.param_groups[0]["lr"] == pytest.approx(expected, abs=1e-15)
        optimizer.step()
        schedule.step()


def test_bad_numbers_are_refused(refused, tiny):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    with pytest.raises(HQDMError, match="warmup >= 0 and total >= 1"):
        WarmupCosine(optimizer, 3, 0)
    denoiser = Denoiser(UNet(size=8, dim=4, mults=(1,)), CosineSchedule())
    with pytest.raises(HQDMError, match="give them to the optimizer instead"):
        DiffusionModule(denoiser, lr=0.1, optimizer=torch.optim.AdamW)


OWN = {
    "model__optimizer": {
        "class_path": "torch.optim.AdamW",
        "init_args": {"lr": 0.004, "weight_decay": 0.25},
    },
    "model__lr_scheduler": {
        "class_path": "hqdm.WarmupCosine",
        "init_args": {"warmup": 2, "total": 8},
    },
    "trainer__gradient_clip_val": 0.001,
}


def test_a_configuration_sets_optimiser_schedule_and_clipping(tiny):
    cli = TrainingCLI(["--config", str(tiny(**OWN))])
    made = cli.model.configure_optimizers()
    assert type(made["optimizer"]) is torch.optim.AdamW
    assert made["optimizer"].defaults["weight_decay"] == 0.25
    assert made["lr_scheduler"]["interval"] == "step"
    assert isinstance(made["lr_scheduler"]["scheduler"], WarmupCosine)
    assert cli.trainer.gradient_clip_val == 0.001


def test_rates_change_with_every_step_and_resume_bit_for_bit(hqdm, tiny, same_run, tmp_path):
    whole, halved = tmp_path / "whole", tmp_path / "halved"
    assert hqdm("fit", "--config", tiny(**OWN), "--out", whole).code == 0
    rates = [0.004 * min(1, (k + 1) / 2) * (1 + math.cos(math.pi * k / 8)) / 2 for k in range(6)]
    logged = list(read_metric(whole / "csv", "lr").values())
    assert logged == pytest.approx(rates, rel=1e-6)

    config = tiny(**OWN)
    assert hqdm("fit", "--config", config, "--out", halved, "--trainer.max_epochs", 1).code == 0
    assert hqdm("fit", "--config", config, "--resume", halved / "last.ckpt").code == 0
    one, other = (read_checkpoint(folder / "last.ckpt") for folder in (whole, halved))
    same_run(one, other)
    assert one["lr_schedulers"] == other["lr_schedulers"]


def test_a_plateau_is_watched_by_the_validation_loss(tiny):
    plateau = {"class_path": "lightning.pytorch.cli.ReduceLROnPlateau"}
    plateau["init_args"] = {"monitor": "val_loss"}
    changes = {**OWN, "model__lr_scheduler": plateau}
    made = TrainingCLI(["--config", str(tiny(**changes))]).model.configure_optimizers()
    assert made["lr_scheduler"]["monitor"] == "val_loss"
    assert made["lr_scheduler"]["interval"] == "epoch"
