"""Training in every precision that Lightning offers: refused, or from the first step to samples."""

from typing import get_args

import pytest
import torch
from lightning import Trainer
from lightning.fabric.connector import (
    _PRECISION_INPUT_INT,
    _PRECISION_INPUT_STR,
    _PRECISION_INPUT_STR_ALIAS,
)
from marks import slow, thinned

from hqdm.data.module import ImageDataModule
from hqdm.diffusion.denoiser import Denoiser
from hqdm.diffusion.loading import load_denoiser
from hqdm.diffusion.schedule import CosineSchedule
from hqdm.generation.pipeline import Pipeline
from hqdm.nn.unet import UNet
from hqdm.storage.checkpoint import read_checkpoint
from hqdm.training.module import DiffusionModule
from hqdm.training.precision import REFUSED, WEIGHTS, weights_dtype
from hqdm.utils.errors import HQDMError

NAMES = get_args(_PRECISION_INPUT_STR)


def same_tensors(one, other):
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert tensor.dtype == other[name].dtype, name
        assert torch.equal(tensor, other[name]), name


def test_every_precision_of_lightning_is_known():
    assert sorted([*WEIGHTS, *REFUSED]) == sorted(NAMES)
    for name in (*get_args(_PRECISION_INPUT_INT), *get_args(_PRECISION_INPUT_STR_ALIAS)):
        full = Trainer(precision=name, accelerator="cpu", logger=False).precision
        assert weights_dtype(name) == weights_dtype(full)
    assert weights_dtype(None) == torch.float32
    with pytest.raises(HQDMError, match="precision 8 cannot be used: expected one of"):
        weights_dtype(8)


@pytest.mark.parametrize("precision", thinned(REFUSED, every=2))
def test_a_precision_is_refused_before_the_folder_is_made(refused, tiny, tmp_path, precision):
    args = ("fit", "--config", tiny(), "--out", tmp_path / "run", "--trainer.precision", precision)
    assert f"trainer.precision {precision} cannot be used" in refused(*args)


def test_a_precision_is_refused_in_python():
    images = torch.rand(16, 1, 8, 8)
    module = DiffusionModule(Denoiser(UNet(size=8, dim=4, mults=(1,)), CosineSchedule()))
    trainer = Trainer(precision="16-true", accelerator="cpu", logger=False, max_steps=1)
    with pytest.raises(HQDMError, match="16-true cannot be used"):
        trainer.fit(module, ImageDataModule.from_images(images, batch_size=8))


@pytest.mark.slow
@pytest.mark.parametrize(
    "precision",
    [
        slow("64-true"),
        "bf16-mixed",
        slow("bf16-true"),
        slow("32-true"),  # all other tests
        slow("16-mixed"),  # bf16-mixed on the CPU
    ],
)
def test_a_precision_trains_draws_resumes_and_reloads(hqdm, tiny, tmp_path, same_run, precision):
    """With a quantum layer and a sample grid; stopped in the first epoch."""
    args = ("fit", "--config", tiny(sample_every=1), "--trainer.precision", precision)
    whole, part, resumed = (tmp_path / name for name in ("whole", "part", "resumed"))
    assert hqdm(*args, "--out", whole).code == 0
    assert len(list((whole / "samples").glob("*.png"))) == 2
    assert hqdm(*args, "--out", part, "--trainer.max_steps", 2).code == 0
    assert hqdm(*args, "--out", resumed, "--resume", part / "last.ckpt").code == 0
    same_run(*(read_checkpoint(run / "last.ckpt") for run in (whole, resumed)))

    stored = read_checkpoint(whole / "last.ckpt").tensors
    for weights, prefix in (("raw", "denoiser."), ("averaged", "ema.module.")):
        expected = {k.removeprefix(prefix): v for k, v in stored.items() if k.startswith(prefix)}
        dtype = WEIGHTS[precision]
        if weights == "averaged":
            dtype = torch.promote_types(dtype, torch.float32)
        loaded = load_denoiser(whole, weights)
        assert loaded.dtype == dtype
        same_tensors(loaded.state_dict(), expected)
        loaded.save_pretrained(tmp_path / weights)
        same_tensors(Denoiser.from_pretrained(str(tmp_path / weights)).state_dict(), expected)
        samples = Pipeline.from_pretrained(tmp_path / weights)(n=2, steps=2)
        assert samples.images.dtype == dtype
        assert samples.images.isfinite().all()
    for command in ("sample --n 2 --steps 2", "export --weights raw"):
        args = (*command.split(), "--checkpoint", whole, "--out", tmp_path / command[:6])
        assert hqdm(*args).code == 0


@pytest.mark.slow
def test_weights_are_copied_between_precisions(hqdm, tiny, tmp_path):
    """--init-from of a float64 model: all digits in 64-true, rounded once in the others."""
    args = ("fit", "--config", tiny(), "--trainer.max_steps", 0, "--out")
    double = tmp_path / "64-true"
    first = ("fit", "--config", tiny(), "--trainer.max_steps", 2, "--out", double)
    assert hqdm(*first, "--trainer.precision", "64-true").code == 0
    source = load_denoiser(double).state_dict()
    assert any(not torch.equal(tensor, tensor.float().double()) for tensor in source.values())
    for precision in ("64-true", "32-true", "bf16-true"):
        out = tmp_path / f"from-{precision}"
        options = ("--trainer.precision", precision, "--init-from", double)
        assert hqdm(*args, out, *options).code == 0
        dtype = WEIGHTS[precision]
        expected = {name: tensor.to(dtype) for name, tensor in source.items()}
        same_tensors(load_denoiser(out, "raw").state_dict(), expected)


@pytest.mark.parametrize("precision", ["32-true", slow("bf16-true")])
def test_a_run_is_continued_in_another_precision(hqdm, tiny, tmp_path, precision):
    args = ("fit", "--config", tiny(), "--trainer.precision")
    assert hqdm(*args, "64-true", "--trainer.max_steps", 2, "--out", tmp_path / "a").code == 0
    again = ("--resume", tmp_path / "a" / "last.ckpt", "--out", tmp_path / "b")
    assert hqdm(*args, precision, *again).code == 0
    assert load_denoiser(tmp_path / "b", "raw").dtype == WEIGHTS[precision]


def test_times_and_noise_are_the_same_numbers_in_every_precision():
    module = DiffusionModule(Denoiser(UNet(size=8, dim=4, mults=(1,)), CosineSchedule()))
    module.trainer = Trainer(accelerator="cpu", logger=False)
    drawn = {}
    default = torch.get_default_dtype()
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        torch.set_default_dtype(dtype)  # as Lightning does in its steps
        try:
            draws = torch.Generator().manual_seed(5)
            drawn[dtype] = module._times_and_noise(torch.zeros(6, 1, 2, 2, dtype=dtype), draws)
        finally:
            torch.set_default_dtype(default)
    for t, eps in drawn.values():
        assert torch.equal(t.double(), drawn[torch.float32][0].double())
        assert torch.equal(eps.double(), drawn[torch.float32][1].double())
    assert drawn[torch.float64][0].dtype == torch.float64


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["64-true", slow("bf16-true")])
def test_a_trainer_in_python_resumes_tests_and_predicts(tmp_path, precision):
    """The same bits as without a stop, from a file of Lightning's own trainer."""
    images = torch.rand(24, 1, 8, 8) * 2 - 1

    def run(epochs, resumed=None):
        torch.manual_seed(0)
        denoiser = Denoiser(UNet(size=8, dim=4, mults=(1,)), CosineSchedule(), "v")
        module = DiffusionModule(denoiser, ema_start=1, ema_every=1)
        data = ImageDataModule.from_images(images, val_images=images[:8], batch_size=8)
        trainer = Trainer(
            max_epochs=epochs,
            precision=precision,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(module, data, ckpt_path=resumed, weights_only=True)
        return trainer, module, data

    trainer, _, _ = run(1)
    trainer.save_checkpoint(tmp_path / "one.ckpt")
    _, resumed, _ = run(2, tmp_path / "one.ckpt")
    trainer, whole, data = run(2)
    same_tensors(resumed.state_dict(), whole.state_dict())
    trainer.save_checkpoint(tmp_path / "two.ckpt")
    loaded = DiffusionModule.load_from_checkpoint(tmp_path / "two.ckpt")
    same_tensors(loaded.state_dict(), whole.state_dict())
    (scores,) = trainer.test(whole, data, verbose=False)
    samples = torch.cat(trainer.predict(whole, data))
    assert scores["test_loss"] > 0
    assert samples.dtype == whole.averaged.dtype
    assert samples.isfinite().all()
