"""Where configuration becomes objects: the keys of a YAML file under `model`.

    model:
      network: {dim: 10, mults: [1, 2, 3, 4], hybrid: {vertex: {groups: 1, ansatz: FQConv}}}
      schedule: cosine
      lr: 0.001

Image size, channels and labels are said once, under `data`, and handed to the network.
"""

from dataclasses import asdict, dataclass, field
from typing import Literal

from hqdm.diffusion.denoiser import Denoiser
from hqdm.diffusion.schedule import build_schedule
from hqdm.nn.quantum_conv import Hybrid
from hqdm.nn.unet import UNet
from hqdm.training.module import DiffusionModule


@dataclass
class NetworkConfig:
    """The arguments of `hqdm.nn.UNet`.

    Attributes:
        channels: Image channels; follows `data.channels`.
        size: Height and width of the images; follows `data.size`.
        dim: Width of the first level.
        mults: Width multipliers, one a level.
        hybrid: Which parts have quantum convolutions: "vertex", "encoder.0", "encoder.1", ...
        n_classes: Number of class labels; null for an unconditional network.
        heads: Attention heads.
        head_dim: Features of one attention head.
    """

    channels: int = 1
    size: int = 28
    dim: int = 10
    mults: tuple[int, ...] = (1, 2, 3, 4)
    hybrid: dict[str, Hybrid] = field(default_factory=dict)
    n_classes: int | None = None
    heads: int = 4
    head_dim: int = 32

    def build(self) -> UNet:
        """The network."""
        return UNet(**vars(self))


@dataclass
class EMAConfig:
    """The exponential moving average of the weights.

    Attributes:
        decay: Decay at each update.
        every: Steps between updates.
        start: Up to this step the average is a plain copy.
    """

    decay: float = 0.995
    every: int = 10
    start: int = 100


def build_module(
    network: NetworkConfig,
    schedule: str = "cosine",
    schedule_options: dict[str, float] | None = None,
    predict: Literal["eps", "v", "x0"] = "eps",
    loss: Literal["mse", "l1"] = "mse",
    p2_gamma: float = 1.0,
    p2_k: float = 1.0,
    lr: float = 1e-3,
    betas: tuple[float, float] = (0.9, 0.99),
    ema: EMAConfig = EMAConfig(),  # noqa: B008 - read, never changed
    label_dropout: float = 0.1,
    seed: int = 0,
) -> DiffusionModule:
    """Build the module that trains a denoiser.

    Args:
        network: The network.
        schedule: Noise schedule: "cosine" or "linear".
        schedule_options: Fields of the schedule.
        predict: What the network predicts.
        loss: Distance between prediction and target.
        p2_gamma: Exponent of the P2 loss weight; 0 weights all times alike.
        p2_k: Offset of the P2 loss weight.
        lr: Learning rate of Adam.
        betas: Decay rates of Adam's moments.
        ema: Averaging of the weights.
        label_dropout: Share of dropped labels, for classifier-free guidance.
        seed: Follows `seed_everything`.

    Returns:
        The module.
    """
    denoiser = Denoiser(
        network.build(),
        build_schedule(schedule, **(schedule_options or {})),
        predict=predict,
        loss=loss,
        p2_gamma=p2_gamma,
        p2_k=p2_k,
    )
    averaging = {f"ema_{key}": value for key, value in asdict(ema).items()}
    return DiffusionModule(
        denoiser, lr=lr, betas=betas, label_dropout=label_dropout, seed=seed, **averaging
    )
