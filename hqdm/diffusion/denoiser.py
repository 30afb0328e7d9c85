r"""The one wrapper between a network and everybody else.

A network predicts one of three things from `x_t = alpha x_0 + sigma eps`:

    eps,    x0,    or    v = alpha eps - sigma x_0  (Salimans and Ho 2022),

and a `Denoiser` turns each into the same `Prediction(x0, eps)`. It also holds the training loss,

    mean of  (k + SNR_t)^(-gamma) |network(x_t, t) - target|^2,     SNR_t = alpha^2 / sigma^2,

with the weighting of Choi et al. (2022, "P2"); gamma = 0 weights all times alike.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, Self

import torch
from huggingface_hub import PyTorchModelHubMixin, snapshot_download
from torch import Tensor, nn

from hqdm.diffusion.schedule import Schedule, build_schedule, schedule_config
from hqdm.nn.unet import UNet
from hqdm.storage.folder import CONFIG_FILE, WEIGHTS_FILE, read_folder, write_folder
from hqdm.utils.errors import HQDMError, unknown

PREDICTIONS = ("eps", "v", "x0")
LOSSES = {"mse": nn.functional.mse_loss, "l1": nn.functional.l1_loss}


class Prediction(NamedTuple):
    """What a denoiser says of `x_t`: the clean images and the noise, each `(B, C, H, W)`."""

    x0: Tensor
    eps: Tensor


class Denoising(Protocol):
    """What samplers see: a denoiser, or a denoiser around a denoiser (see `hqdm.guidance`)."""

    schedule: Schedule

    def __call__(self, x_t: Tensor, t: Tensor, y: Tensor | None = None) -> Prediction:
        """The clean images and the noise in `x_t` `(B, C, H, W)` at times `t` `(B,)` or `()`."""
        ...


def expand(level: Tensor, like: Tensor) -> Tensor:
    """Shape levels `(B,)` or `()` so that they multiply images `(B, C, H, W)`."""
    return level.reshape(level.shape + (1,) * (like.ndim - level.ndim)) if level.ndim else level


class Denoiser(nn.Module, PyTorchModelHubMixin, library_name="hqdm", tags=["diffusion", "quantum"]):
    """A network, a schedule and what the network predicts.

    Args:
        network: Called as `network(x_t, t, y)`.
        schedule: The noise schedule.
        predict: What the network predicts: `"eps"`, `"v"` or `"x0"`.
        loss: `"mse"` or `"l1"`.
        p2_gamma: Exponent of the loss weight; 0 weights all times alike.
        p2_k: Offset of the loss weight.

    Raises:
        HQDMError: If `predict` or `loss` is unknown, or a weight is negative.
    """

    def __init__(
        self,
        network: UNet,
        schedule: Schedule,
        predict: Literal["eps", "v", "x0"] = "eps",
        loss: Literal["mse", "l1"] = "mse",
        p2_gamma: float = 1.0,
        p2_k: float = 1.0,
    ) -> None:
        super().__init__()
        if predict not in PREDICTIONS:
            raise unknown("prediction", predict, PREDICTIONS)
        if loss not in LOSSES:
            raise unknown("loss", loss, LOSSES)
        if p2_gamma < 0 or p2_k <= 0:
            raise HQDMError(f"P2 weighting needs gamma >= 0 and k > 0, got {p2_gamma} and {p2_k}")
        self.network = network
        self.schedule = schedule
        self.predict = predict
        self.loss_name = loss
        self.p2_gamma = p2_gamma
        self.p2_k = p2_k

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None = None) -> Prediction:
        """Predict the clean images and the noise.

        Args:
            x_t: Noisy images `(B, C, H, W)`.
            t: Times in (0, 1], `(B,)` or `()`.
            y: Class labels `(B,)`, or None.

        Returns:
            The prediction; both parts reproduce `x_t = alpha x0 + sigma eps`.
        """
        t = t.to(x_t).expand(x_t.shape[0])
        alpha, sigma = (expand(level, x_t) for level in self.schedule(t))
        output = self.network(x_t, t, y)
        if self.predict == "eps":
            return Prediction((x_t - sigma * output) / alpha, output)
        if self.predict == "x0":
            return Prediction(output, (x_t - alpha * output) / sigma)
        return Prediction(alpha * x_t - sigma * output, sigma * x_t + alpha * output)

    def loss(
        self,
        x0: Tensor,
        y: Tensor | None = None,
        *,
        t: Tensor | None = None,
        eps: Tensor | None = None,
    ) -> Tensor:
        """The training loss of a batch.

        Args:
            x0: Clean images `(B, C, H, W)` in [-1, 1].
            y: Class labels `(B,)`, or None.
            t: Times `(B,)`; drawn uniformly from (0, 1] where None.
            eps: Noise `(B, C, H, W)`; drawn from N(0, I) where None.

        Returns:
            The weighted loss, a scalar.
        """
        if t is None:
            t = 1 - torch.rand(x0.shape[0], device=x0.device, dtype=x0.dtype)
        if eps is None:
            eps = torch.randn_like(x0)
        alpha, sigma = (expand(level, x0) for level in self.schedule(t))
        output = self.network(alpha * x0 + sigma * eps, t, y)
        target = {"eps": eps, "x0": x0, "v": alpha * eps - sigma * x0}[self.predict]
        error = LOSSES[self.loss_name](output, target, reduction="none")
        weight = (self.p2_k + (alpha / sigma) ** 2) ** -self.p2_gamma
        return (weight * error).mean()

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """The shape `(C, H, W)` of the images."""
        return self.network.channels, self.network.size, self.network.size

    @property
    def n_classes(self) -> int | None:
        """The number of class labels, or None."""
        return self.network.n_classes

    @property
    def config(self) -> dict[str, Any]:
        """The plain configuration from which `Denoiser.from_config` rebuilds the object."""
        return {
            "network": self.network.config,
            "schedule": schedule_config(self.schedule),
            "predict": self.predict,
            "loss": self.loss_name,
            "p2_gamma": self.p2_gamma,
            "p2_k": self.p2_k,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Build the denoiser that `config` describes, with fresh weights.

        Raises:
            HQDMError: If the configuration does not fit this version.
        """
        try:
            rest = {k: v for k, v in config.items() if k not in ("network", "schedule")}
            network = UNet.from_config(config["network"])
            return cls(network, build_schedule(**config["schedule"]), **rest)
        except (AttributeError, KeyError, TypeError) as error:
            raise HQDMError(f"the model configuration cannot be read: {error}") from None

    def load_tensors(self, tensors: Mapping[str, Tensor], source: object) -> None:
        """Load every parameter and buffer.

        Raises:
            HQDMError: If names or shapes differ; the line names the first that does.
        """
        own = self.state_dict()
        for name in dict.fromkeys([*own, *tensors]):
            if name not in tensors or name not in own or own[name].shape != tensors[name].shape:
                expected = tuple(own[name].shape) if name in own else "nothing"
                came = tuple(tensors[name].shape) if name in tensors else "nothing"
                raise HQDMError(
                    f"{source} is of another architecture: {name} should be {expected}, is {came}"
                )
        self.load_state_dict(dict(tensors))

    @classmethod
    def from_folder(cls, folder: Path) -> Self:
        """Load what `save_pretrained` or `hqdm export` wrote.

        Raises:
            HQDMError: If something is missing, damaged or from a newer version.
        """
        config, tensors = read_folder(folder)
        denoiser = cls.from_config(config)
        denoiser.load_tensors(tensors, folder)
        return denoiser

    def _save_pretrained(self, save_directory: Path) -> None:
        write_folder(save_directory, self.config, self.state_dict())

    @classmethod
    def _from_pretrained(
        cls,
        *,
        model_id: str,
        revision: str | None,
        cache_dir: str | Path | None,
        force_download: bool,
        local_files_only: bool,
        token: str | bool | None,
        **_: Any,
    ) -> Self:
        folder = Path(model_id)
        if not folder.is_dir():
            folder = Path(
                snapshot_download(
                    model_id,
                    revision=revision,
                    cache_dir=cache_dir,
                    force_download=force_download,
                    local_files_only=local_files_only,
                    token=token,
                    allow_patterns=[CONFIG_FILE, WEIGHTS_FILE],
                )
            )
        return cls.from_folder(folder)


def class_labels(denoiser: Denoiser, n: int, label: int | None) -> Tensor | None:
    """Labels for n images: the one asked for, else every class in turn; None without classes.

    Raises:
        HQDMError: If the label does not exist.
    """
    if denoiser.n_classes is None:
        if label is not None:
            raise HQDMError(f"the model has no class labels: leave label {label} out")
        return None
    if label is None:
        return torch.arange(n) % denoiser.n_classes
    if not 0 <= label < denoiser.n_classes:
        raise HQDMError(f"label {label} does not exist: expected 0 to {denoiser.n_classes - 1}")
    return torch.full((n,), label)
