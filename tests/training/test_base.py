"""The training of any kind of model, with one that has a closed form: least squares by SGD."""

import pytest
import torch
from lightning import Trainer
from torch import nn
from torch.utils.data import DataLoader

from hqdm import HQDMError
from hqdm.diffusion.model import KIND, MODELS, Model, register_model
from hqdm.training.base import TrainingModule

RATE = 0.1


class Point(Model):
    """One number c with the loss (x - c)^2 / 2; a noise of the batch's generator is added to x."""

    noun = "a point"

    def __init__(self):
        super().__init__()
        self.network = nn.Module()
        self.network.c = nn.Parameter(torch.zeros((), dtype=torch.float64))

    @property
    def config(self):
        return {KIND: "point"}

    @classmethod
    def from_config(cls, config):
        return cls()


class PointModule(TrainingModule):
    kind = Point

    def batch_loss(self, model, batch, draws, training):
        noise = torch.rand(len(batch), generator=draws, dtype=torch.float64)
        return ((batch + noise - model.network.c) ** 2).mean() / 2, len(batch)


@pytest.fixture(autouse=True)
def kinds(monkeypatch):
    monkeypatch.setattr(MODELS, "_entries", dict(MODELS._entries))
    register_model("point")(Point)


def module(seed=0):
    optimizer = lambda parameters: torch.optim.SGD(parameters, lr=RATE)  # noqa: E731
    return PointModule(Point(), seed=seed, optimizer=optimizer, ema_start=0, ema_every=1)


def trained(own, steps, **options):
    trainer = Trainer(
        max_steps=steps,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        accelerator="cpu",
    )
    x = torch.full((8, 1), 2.0, dtype=torch.float64)
    trainer.fit(own, DataLoader([row[0] for row in x], batch_size=4), **options)
    return trainer


def test_training_converges_as_gradient_descent_does():
    own = module()
    trained(own, 20)
    # c <- c + RATE (2 + mean noise - c): the noise of a batch is in [0, 1].
    least = 2 * (1 - (1 - RATE) ** 20)
    assert least < own.denoiser.network.c.item() < 1.5 * least


def test_random_numbers_follow_from_the_seed_and_the_batch(tmp_path):
    first, again, other = module(), module(), module(seed=1)
    for own in (first, again, other):
        trained(own, 3)
    assert first.denoiser.network.c.item() == again.denoiser.network.c.item()
    assert first.denoiser.network.c.item() != other.denoiser.network.c.item()


def test_a_checkpoint_restores_weights_average_and_batches(tmp_path):
    own = module()
    trainer = trained(own, 5)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    loaded = PointModule.load_from_checkpoint(tmp_path / "last.ckpt")
    assert loaded.denoiser.network.c.item() == own.denoiser.network.c.item()
    assert loaded.ema.module.network.c.item() == own.ema.module.network.c.item()
    assert loaded.ema.module.network.c.item() != own.denoiser.network.c.item()
    assert loaded.batches_seen == 5


def test_a_checkpoint_of_another_kind_is_refused(tmp_path):
    class Other(Model):
        noun = "another"

    class OtherModule(PointModule):
        kind = Other

    trained(module(), 1).save_checkpoint(tmp_path / "last.ckpt")
    with pytest.raises(HQDMError, match="is a point: expected another"):
        OtherModule.load_from_checkpoint(tmp_path / "last.ckpt")
