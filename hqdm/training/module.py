"""The Lightning module of denoisers: training with `Denoiser.loss`.

Times and noise are drawn for the whole batch of all processes, and each process uses its part.
They are therefore the same for a run that is distributed over processes.
"""

from typing import Any, cast

import torch
from torch import Tensor

from hqdm.diffusion.denoiser import Denoiser, class_labels
from hqdm.guidance.clip import Clip
from hqdm.nn.network import check_labels
from hqdm.samplers import DDIM, Sampler
from hqdm.samplers.recursive import usual_sampler
from hqdm.storage.checkpoint import ModuleOptions
from hqdm.training.base import OptimizerFactory, SchedulerFactory, TrainingModule
from hqdm.utils.checks import finite
from hqdm.utils.errors import HQDMError
from hqdm.utils.memory import to_device
from hqdm.utils.seeds import ImageNoise


class DiffusionModule(TrainingModule):
    """Trains a denoiser and updates an exponential moving average (EMA) of the weights.

    Batches are images `(B, C, H, W)`, or tuples of images and labels `(B,)`; labels are ignored if
    the network does not take labels.

    Args:
        denoiser: The denoiser to train.
        lr: Learning rate of Adam; None is 0.001. Excludes `optimizer`.
        betas: Decay rates of Adam's moments; None is 0.9 and 0.99. Excludes `optimizer`.
        ema_decay: Decay of the average at each update; None is 0.995. Excludes `ema_sigma_rel`.
        ema_every: Steps between updates of the average.
        ema_start: The step up to which the average is a copy of the weights.
        ema_sigma_rel: Relative width of an average that follows the run, see `hqdm.training.ema`;
            None is a constant decay.
        label_dropout: Fraction of the labels that are dropped, for classifier-free guidance.
        seed: Random seed of the times, the noise and the dropped labels.
        optimizer: Builds the optimiser from the parameters; None is Adam.
        lr_scheduler: Builds the learning-rate schedule, see `TrainingModule`.
        compile: Compile the network with `torch.compile` at the start of training.
        angle_lr_factor: Factor of the learning rate for the angles of circuits, see
            `TrainingModule`.

    Attributes:
        sampler: The sampler of `predict_step`.

    Raises:
        HQDMError: As `TrainingModule`, and if `label_dropout` is no fraction.
    """

    kind = Denoiser
    denoiser: Denoiser

    def __init__(
        self,
        denoiser: Denoiser,
        lr: float | None = None,
        betas: tuple[float, float] | None = None,
        ema_decay: float | None = None,
        ema_every: int = 10,
        ema_start: int = 100,
        ema_sigma_rel: float | None = None,
        label_dropout: float = 0.1,
        seed: int = 0,
        optimizer: OptimizerFactory | None = None,
        lr_scheduler: SchedulerFactory | None = None,
        compile: bool = False,
        angle_lr_factor: float = 1.0,
    ) -> None:
        if not 0 <= finite("label_dropout", label_dropout) <= 1:
            raise HQDMError(f"label_dropout needs a fraction in [0, 1], got {label_dropout}")
        super().__init__(
            denoiser,
            lr=lr,
            betas=betas,
            ema_decay=ema_decay,
            ema_every=ema_every,
            ema_start=ema_start,
            ema_sigma_rel=ema_sigma_rel,
            seed=seed,
            optimizer=optimizer,
            lr_scheduler=lr_scheduler,
            angle_lr_factor=angle_lr_factor,
        )
        self.label_dropout = label_dropout
        self.compile_network = compile
        self.sampler: Sampler = usual_sampler(denoiser, DDIM.default_steps)
        self._labels_read = False
        self._predicted = 0

    def batch_loss(
        self, model: Denoiser, batch: Any, draws: torch.Generator, training: bool
    ) -> tuple[Tensor, int]:
        """See `TrainingModule`.

        Raises:
            HQDMError: If the network takes labels that the batch does not have.
        """
        x0, y = self._parts(batch)
        t, eps = self._times_and_noise(x0, draws)
        if training:
            y = self._drop_labels(y, draws)
        return model.loss(x0, y, t=t, eps=eps), len(x0)

    def on_fit_start(self) -> None:
        """Compile the network if `compile` is set."""
        if self.compile_network:
            cast(torch.nn.Module, self.denoiser.network).compile()

    def on_predict_start(self) -> None:
        """Reset the sample counter, from which the noise follows."""
        self._predicted = 0

    @torch.no_grad()
    def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Generate samples with the averaged weights, with the size and the labels of the batch.

        Returns:
            The samples `(B, C, H, W)`; their noise depends on the random seed and the index of the
            sample.
        """
        x0, y = self._parts(batch, labels_needed=False)
        if y is None and self.denoiser.n_classes is not None:
            y = class_labels(self.denoiser, len(x0), None)
        world, rank = self.trainer.world_size, self.trainer.global_rank
        noise = ImageNoise(self.seed, len(x0), self._predicted * world + rank * len(x0))
        self._predicted += len(x0)
        x1 = self.averaged.prior(noise)
        labels = None if y is None else y.to(x1.device)
        return self.sampler(Clip(self.averaged), x1, labels, noise=noise)

    def _parts(self, batch: Any, labels_needed: bool = True) -> tuple[Tensor, Tensor | None]:
        """Images and labels of a batch; labels are None if the network does not take labels."""
        x0, *labels = (batch,) if isinstance(batch, Tensor) else batch
        y = labels[0] if labels and self.denoiser.n_classes is not None else None
        if labels_needed and y is None and self.denoiser.n_classes is not None:
            raise HQDMError(
                f"the network takes labels (n_classes is {self.denoiser.n_classes}) but the "
                "batches have none: use labelled data, or a network without classes"
            )
        if y is not None:
            # Reading labels waits for a GPU: there the values of the first batch are read only.
            read = y if self._labels_read else y.cpu()
            check_labels(read, len(x0), self.denoiser.n_classes or 0, dropped=False)
            self._labels_read = True
        return x0, y

    def _times_and_noise(self, x0: Tensor, draws: torch.Generator) -> tuple[Tensor, Tensor]:
        """The times and the noise of this process, a part of those of all processes."""
        world, rank = self.trainer.world_size, self.trainer.global_rank
        n = x0.shape[0] * world
        # In float32, not in torch's default dtype: the same numbers in every precision.
        t = 1 - torch.rand(n, generator=draws, dtype=torch.float32)
        eps = torch.randn((n, *x0.shape[1:]), generator=draws, dtype=torch.float32)
        dtype = torch.promote_types(x0.dtype, torch.float32)
        t, eps = (to_device(part.chunk(world)[rank], x0.device, dtype) for part in (t, eps))
        return t, eps

    def _drop_labels(self, y: Tensor | None, draws: torch.Generator) -> Tensor | None:
        if y is None:
            return None
        world, rank = self.trainer.world_size, self.trainer.global_rank
        coins = torch.rand(y.shape[0] * world, generator=draws, dtype=torch.float32)
        dropped = coins.chunk(world)[rank] < self.label_dropout
        assert self.denoiser.n_classes is not None
        return y.masked_fill(to_device(dropped, y.device), self.denoiser.n_classes)

    @property
    def averaged(self) -> Denoiser:
        """The denoiser with the averaged weights, used for sampling, scores and export."""
        module = self.ema.module
        assert isinstance(module, Denoiser)
        return module

    @property
    def options(self) -> ModuleOptions:
        """See `TrainingModule`."""
        return {**super().options, "label_dropout": self.label_dropout}
