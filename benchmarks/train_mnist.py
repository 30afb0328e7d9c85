"""Train the MNIST model of docs/sampling.md: the classical U-Net, predicting v.

    python benchmarks/train_mnist.py [--steps 12000] [--out runs/mnist_unet_v]

Where an error of the noise prediction of `configs/mnist_unet.yaml` is an error of the image divided
by alpha, which is e^-6 at t = 1, v (Salimans and Ho 2022) says as much of the image as of the noise
at every time: few steps get no second chance to mend a wrong start. The learning rate rises for 200
steps and falls to zero with half a cosine; the network is compiled (`torch.compile`, some minutes
before the first step) and runs in bfloat16. A run that was interrupted goes on when the command is
given again.
"""

import argparse
import math
from pathlib import Path
from typing import Any

import torch
from lightning import Trainer
from torch.optim.lr_scheduler import LambdaLR

from hqdm import CosineSchedule, Denoiser, DiffusionModule, ImageDataModule, UNet
from hqdm.training.run import RunFolder, fit, prepare

SEED = 0
WARM_UP = 200
RATE = 2e-3


def share_of_rate(step: int, steps: int) -> float:
    """What a step's learning rate is of the largest one."""
    return min(1, (step + 1) / WARM_UP) * (1 + math.cos(math.pi * min(1, step / steps))) / 2


class Annealed(DiffusionModule):
    """Trains with a learning rate that ends at zero after a number of steps."""

    def __init__(self, denoiser: Denoiser, steps: int, **options: Any) -> None:
        super().__init__(denoiser, **options)
        self.steps = steps

    def configure_optimizers(self) -> Any:
        """Adam, with a rate for each step."""
        optimizer = super().configure_optimizers()
        rates = LambdaLR(optimizer, lambda step: share_of_rate(step, self.steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": rates, "interval": "step"}}


def model(steps: int) -> Annealed:
    """The model before training."""
    torch.manual_seed(SEED)
    network = UNet(size=28, channels=1, dim=10, mults=(1, 2, 3, 4))
    denoiser = Denoiser(network, CosineSchedule(), predict="v", p2_gamma=0.0)
    return Annealed(denoiser, steps, lr=RATE, ema_decay=0.98, seed=SEED)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=12_000)
    parser.add_argument("--out", type=Path, default=Path("runs/mnist_unet_v"))
    options = parser.parse_args()

    module = model(options.steps)
    data = ImageDataModule("mnist", size=28, channels=1, batch_size=64, seed=SEED)
    folder = RunFolder(options.out)
    resume = folder.last if folder.last.exists() else None
    folder.claim(resume, overwrite=False)
    data.setup()
    print(prepare(module, data, None, (), resume) or "training from scratch")
    module.denoiser.network.compile()
    trainer = Trainer(
        max_epochs=-1,
        precision="bf16-mixed",
        limit_val_batches=8,
        logger=folder.loggers(),
        callbacks=folder.callbacks(options.steps, sample_every=2, checkpoint_every=250),
        enable_model_summary=False,
    )
    fit(module, data, trainer, resume)


if __name__ == "__main__":
    main()
