"""The configuration of a model: the keys of a YAML file under `model`, and the module they define.

    model:
      network: {dim: 10, mults: [1, 2, 3, 4], hybrid: {vertex: {groups: 1, ansatz: FQConv}}}
      schedule: cosine
      predict: eps
      optimizer: {class_path: torch.optim.AdamW, init_args: {lr: 0.001, weight_decay: 0.01}}

Image size and channels are set once, under `data`, and passed to the network.
"""

from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable

from hqdm.diffusion.denoiser import Denoiser
from hqdm.diffusion.objective import P2, MinSNR, build_objective
from hqdm.diffusion.schedule import build_schedule
from hqdm.nn.network import NETWORKS, Network, build_network, option_types
from hqdm.nn.quantum_conv import Hybrid
from hqdm.training.module import DiffusionModule
from hqdm.utils.errors import HQDMError

UNET = "UNet"
UNET_OPTIONS = (
    *("dim", "mults", "hybrid", "heads", "head_dim"),
    *("attention_norm", "gelu", "norm_eps"),
)
TRAINING_COPIES = 5  # weights, their average, gradients, and the two moments of Adam


@dataclass
class NetworkConfig:
    """The network: a U-Net, or another registered one.

    Attributes:
        channels: Image channels; follows `data.channels`.
        size: Height and width of the images; follows `data.size`.
        dim: Width of the first level of a U-Net.
        mults: Width multipliers of a U-Net, one per level.
        hybrid: The parts of a U-Net with quantum convolutions: "vertex", "encoder.0", "all", ...
        n_classes: Number of class labels; null for an unconditional network.
        heads: Attention heads of a U-Net.
        head_dim: Features per attention head of a U-Net.
        attention_norm: The axis over which the vertex of a U-Net normalises queries and keys;
            "positions" in the published code.
        gelu: GELU in the embedding of times of a U-Net; "tanh" in the published code.
        norm_eps: Added to the variance in group normalisations of a U-Net; 1e-6 in the published
            code.
        name: UNet, or a name registered with `hqdm.register_network`.
        options: The options of a network other than UNet.
        control: What takes the place of the circuits, see `hqdm.nn.controls`; null for nothing. In
            a U-Net it is that of every part of `hybrid` that states none.
    """

    channels: int = 1
    size: int = 28
    dim: int = 10
    mults: tuple[int, ...] = (1, 2, 3, 4)
    hybrid: dict[str, Hybrid] = field(default_factory=dict)
    n_classes: int | None = None
    heads: int = 4
    head_dim: int = 32
    attention_norm: Literal["features", "positions"] = "features"
    gelu: Literal["exact", "tanh"] = "exact"
    norm_eps: float = 1e-5
    name: str = UNET
    options: dict[str, Any] = field(default_factory=dict)
    control: str | None = None

    @property
    def config(self) -> dict[str, Any]:
        """The plain configuration of the network.

        Raises:
            HQDMError: If options of a U-Net are given for another network, or vice versa, or a
                control for a network without circuits.
        """
        shared = {"name": self.name, "channels": self.channels, "size": self.size}
        of_unet = {key: getattr(self, key) for key in UNET_OPTIONS}
        if self.name == UNET:
            if self.options:
                raise HQDMError(
                    "model.network.options are for networks other than UNet: leave them out"
                )
            hybrid = {part: self._controlled(hybrid) for part, hybrid in self.hybrid.items()}
            if self.control is not None and not hybrid:
                raise HQDMError(
                    f"model.network.control: {self.control} takes the place of circuits, and "
                    "hybrid is empty: leave it out"
                )
            return {**shared, **of_unet, "hybrid": hybrid, "n_classes": self.n_classes}
        default = NetworkConfig()
        for key, value in of_unet.items():
            if value != getattr(default, key):
                raise HQDMError(
                    f"model.network.{key} is an option of UNet: give the options of {self.name} "
                    "under model.network.options"
                )
        for key in shared:
            if key in self.options:
                raise HQDMError(
                    f"model.network.options: {key} is set by "
                    f"{'model.network.name' if key == 'name' else f'data.{key}'}: leave it out"
                )
        if self.control is not None and "control" not in option_types(NETWORKS[self.name]):
            raise HQDMError(
                f"model.network.control: {self.control} takes the place of circuits, and "
                f"{self.name} has none that a control replaces: leave it out"
            )
        given = {"n_classes": self.n_classes, "control": self.control}
        named = {key: value for key, value in given.items() if value is not None}
        return {**shared, **named, **self.options}

    def _controlled(self, hybrid: Hybrid) -> dict[str, Any]:
        """The options of a part, with the control of the network if it has none."""
        return replace(hybrid, control=hybrid.control or self.control).to_dict()

    def build(self) -> Network:
        """Build the network, if it fits into memory with all that its training holds."""
        return build_network(self.config, TRAINING_COPIES)


@dataclass
class EMAConfig:
    """The exponential moving average of the weights.

    Attributes:
        decay: Decay at each update, 0.995 by default; null with `sigma_rel`.
        every: Steps between updates.
        start: The step up to which the average is a copy of the weights.
        sigma_rel: Relative width of an average whose horizon follows the run (power-function EMA).
    """

    decay: float | None = None
    every: int = 10
    start: int = 100
    sigma_rel: float | None = None


def build_module(
    network: NetworkConfig,
    schedule: str = "cosine",
    schedule_options: dict[str, float] | None = None,
    predict: str = "eps",
    predict_options: dict[str, Any] | None = None,
    loss: Literal["mse", "l1"] = "mse",
    weight: Literal["p2", "uniform", "min_snr"] = "p2",
    p2_gamma: float = 1.0,
    p2_k: float = 1.0,
    min_snr_gamma: float = 5.0,
    lr: float | None = None,
    betas: tuple[float, float] | None = None,
    optimizer: OptimizerCallable | None = None,
    lr_scheduler: LRSchedulerCallable | None = None,
    ema: EMAConfig = EMAConfig(),  # noqa: B008 - read, never changed
    label_dropout: float = 0.1,
    compile: bool = False,
    seed: int = 0,
    angle_lr_factor: float = 1.0,
) -> DiffusionModule:
    """Build the module that trains a denoiser.

    Args:
        network: The network.
        schedule: Noise schedule: "cosine", "linear", "ve", "mixing", or a registered one.
        schedule_options: Fields of the schedule.
        predict: Objective: "eps", "v", "x0", "edm", "step", or a registered one.
        predict_options: Fields of the objective, such as sigma_data of "edm" or steps of "step".
        loss: Distance between output and target.
        weight: Weight of the loss.
        p2_gamma: Exponent of the weight "p2"; 0 weights all times equally.
        p2_k: Offset of the weight "p2".
        min_snr_gamma: Largest signal-to-noise ratio of the weight "min_snr".
        lr: Learning rate of Adam, 0.001 by default.
        betas: Decay rates of Adam's moments, 0.9 and 0.99 by default.
        optimizer: An optimiser in place of Adam, with its learning rate.
        lr_scheduler: Learning-rate schedule, such as hqdm.training.WarmupCosine.
        ema: Averaging of the weights.
        label_dropout: Fraction of dropped labels, for classifier-free guidance.
        compile: Compile the network with torch.compile.
        seed: Random seed; follows `seed_everything`.
        angle_lr_factor: Factor of the learning rate for the angles of circuits.

    Returns:
        The module.

    Raises:
        HQDMError: If an option is out of range, or belongs to another weight, objective or network.
    """
    for key, value, default, of in (
        ("p2_gamma", p2_gamma, P2.gamma, "p2"),
        ("p2_k", p2_k, P2.k, "p2"),
        ("min_snr_gamma", min_snr_gamma, MinSNR.gamma, "min_snr"),
    ):
        # The configuration of a run has the defaults of all.
        if weight != of and value != default:
            raise HQDMError(
                f"model.{key} is an option of the weight {of}, got weight: {weight}: leave it out"
            )
    weights: dict[str, dict[str, Any]] = {
        "p2": {"gamma": p2_gamma, "k": p2_k},
        "min_snr": {"gamma": min_snr_gamma},
        "uniform": {},
    }
    for key in ("name", "loss", "weight"):
        if key in (predict_options or {}):
            raise HQDMError(f"model.predict_options: {key} is an option of model itself")
    objective = {
        **(predict_options or {}),
        "name": predict,
        "loss": loss,
        "weight": {"name": weight, **weights[weight]},
    }
    denoiser = Denoiser(
        network.build(),
        build_schedule(schedule, **(schedule_options or {})),
        build_objective(objective),
    )
    return DiffusionModule(
        denoiser,
        lr=lr,
        betas=betas,
        label_dropout=label_dropout,
        seed=seed,
        optimizer=optimizer,
        lr_scheduler=lr_scheduler,
        compile=compile,
        angle_lr_factor=angle_lr_factor,
        **{f"ema_{key}": value for key, value in asdict(ema).items()},
    )
