"""The learning-rate schedule: its formula, and the mechanism that hands it to training."""

import math
from functools import partial

import pytest
import torch
from lightning import Trainer
from marks import slow, thinned

from hqdm.cli.commands.fit import TrainingCLI
from hqdm.data.module import ImageDataModule
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


@pytest.mark.slow
def test_a_configuration_sets_optimiser_schedule_and_clipping(tiny):
    cli = TrainingCLI(["--config", str(tiny(**OWN))])
    made = cli.model.configure_optimizers()
    assert type(made["optimizer"]) is torch.optim.AdamW
    assert made["optimizer"].defaults["weight_decay"] == 0.25
    assert made["lr_scheduler"]["interval"] == "step"
    assert isinstance(made["lr_scheduler"]["scheduler"], WarmupCosine)
    assert cli.trainer.gradient_clip_val == 0.001


@pytest.mark.slow
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
    assert one.contents["lr_schedulers"] == other.contents["lr_schedulers"]


def test_a_plateau_is_watched_by_the_validation_loss(tiny):
    plateau = {"class_path": "lightning.pytorch.cli.ReduceLROnPlateau"}
    plateau["init_args"] = {"monitor": "val_loss"}
    changes = {**OWN, "model__lr_scheduler": plateau}
    made = TrainingCLI(["--config", str(tiny(**changes))]).model.configure_optimizers()
    assert made["lr_scheduler"]["monitor"] == "val_loss"
    assert made["lr_scheduler"]["interval"] == "epoch"


def schedule_of(path, **options):
    return {"class_path": path, "init_args": options}


ADAMW = {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.001}}
PLATEAU = schedule_of("lightning.pytorch.cli.ReduceLROnPlateau", monitor="val_loss")


@pytest.mark.parametrize(
    ("changes", "said"),
    thinned(
        [
            (
                {"model__optimizer": schedule_of("torch.optim.SGD", lr=-1.0)},
                "the optimizer cannot be used (ValueError: Invalid learning rate: -1.0)",
            ),
            (
                {"model__optimizer": schedule_of("torch.optim.AdamW", betas=[2.0, 3.0])},
                "the optimizer cannot be used (ValueError: Invalid beta parameter",
            ),
            (
                {"model__optimizer": schedule_of("torch.optim.AdamW", lr=0.0)},
                "the optimizer AdamW has the learning rate 0, which trains nothing",
            ),
            (
                {"model__optimizer": schedule_of("torch.optim.SGD", lr=float("nan"))},
                "the optimizer SGD has the learning rate nan, which trains nothing",
            ),
            (
                {
                    "model__lr_scheduler": schedule_of(
                        "torch.optim.lr_scheduler.CosineAnnealingLR", T_max=0
                    )
                },
                "the lr_scheduler cannot be used (ZeroDivisionError",
            ),
            (
                {
                    "model__lr_scheduler": schedule_of(
                        "torch.optim.lr_scheduler.OneCycleLR", max_lr=0.1
                    )
                },
                "the lr_scheduler cannot be used (ValueError: You must define either "
                "total_steps OR",
            ),
            (
                {
                    "model__lr_scheduler": schedule_of(
                        "torch.optim.lr_scheduler.OneCycleLR", max_lr=0.1, total_steps=5
                    )
                },
                "OneCycleLR has 5 steps and the training 6: set its total_steps to 6",
            ),
            (
                {"model__lr_scheduler": PLATEAU, "trainer__limit_val_batches": 0},
                "ReduceLROnPlateau reads the validation loss at the ends of epochs: "
                "set trainer.limit",
            ),
            (
                {
                    "model__lr_scheduler": PLATEAU,
                    "trainer__check_val_every_n_epoch": None,
                    "trainer__val_check_interval": 2,
                },
                "ReduceLROnPlateau reads the validation loss at the ends of epochs",
            ),
            (
                {
                    "model__lr_scheduler": schedule_of(
                        "lightning.pytorch.cli.ReduceLROnPlateau", monitor="val_los"
                    )
                },
                "ReduceLROnPlateau reads val_loss, got monitor='val_los'",
            ),
        ],
        every=5,
    ),
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_what_torch_refuses_is_found_before_anything_is_written(
    refused, tiny, tmp_path, changes, said
):
    config = tiny(**{"model__optimizer": ADAMW, **changes})
    line = refused("fit", "--config", config, "--out", tmp_path / "run")
    assert said in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "changes",
    thinned(
        [
            # Six steps: two epochs of three batches.
            slow(
                {
                    "model__lr_scheduler": schedule_of(
                        "torch.optim.lr_scheduler.OneCycleLR", max_lr=0.1, total_steps=6
                    )
                }
            ),
            # Its rates are its own: the optimiser's does not matter, and the first one is zero.
            {
                "model__optimizer": schedule_of("torch.optim.SGD", lr=0.0),
                "model__lr_scheduler": schedule_of(
                    "torch.optim.lr_scheduler.CyclicLR", base_lr=0.0, max_lr=0.1, step_size_up=2
                ),
            },
            # Four of the twelve steps of four epochs.
            {
                "model__lr_scheduler": schedule_of(
                    "torch.optim.lr_scheduler.OneCycleLR", max_lr=0.1, total_steps=4
                ),
                "trainer__max_epochs": 4,
                "trainer__max_steps": 4,
            },
            {
                "model__lr_scheduler": PLATEAU,
                "trainer__check_val_every_n_epoch": 2,
                "trainer__max_epochs": 4,
            },
        ],
        every=4,
        start=1,
    ),
    ids=["one cycle", "cyclic from zero", "one cycle, limited", "plateau, every other epoch"],
)
def test_schedules_that_fit_the_run_train(hqdm, tiny, tmp_path, changes):
    config = tiny(**{"model__optimizer": ADAMW, **changes})
    outcome = hqdm("fit", "--config", config, "--out", tmp_path / "run")
    assert outcome.code == 0, outcome.err
    assert max(read_metric(tmp_path / "run" / "csv", "lr").values()) > 0


def test_the_check_leaves_the_rates_of_the_training_alone():
    """A schedule is updated once for the check, also if its rate is a tensor of the user."""
    rate = torch.tensor(0.5)
    for lr in (0.5, rate):
        module = DiffusionModule(
            Denoiser(UNet(size=8, dim=8, mults=(1, 2)), CosineSchedule()),
            optimizer=partial(torch.optim.SGD, lr=lr),
            lr_scheduler=partial(torch.optim.lr_scheduler.ExponentialLR, gamma=0.1),
        )
        made = module.configure_optimizers()
        assert made["optimizer"].param_groups[0]["lr"] == 0.5
        assert made["lr_scheduler"]["scheduler"].last_epoch == 0


def test_a_schedule_that_ends_in_training_is_one_line(tmp_path):
    """Without the command line, which knows the length of the run."""
    module = DiffusionModule(
        Denoiser(UNet(size=8, dim=8, mults=(1, 2)), CosineSchedule()),
        optimizer=partial(torch.optim.SGD, lr=0.1),
        lr_scheduler=partial(torch.optim.lr_scheduler.OneCycleLR, max_lr=0.1, total_steps=2),
    )
    data = ImageDataModule("digits", batch_size=16, limit=64, val_limit=16)
    trainer = Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    with pytest.raises(HQDMError, match="lr_scheduler cannot be used .*Tried to step 3 times"):
        trainer.fit(module, data)
