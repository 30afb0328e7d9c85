r"""Objectives: the quantity that a network predicts, its training target, and the loss.

With x_t = alpha x_0 + sigma eps, an objective has a target that is linear in (x_0, eps), and
converts the network's output into a `Prediction(x0, eps)`:

    eps      eps                               x0   x_0
    v        alpha eps - sigma x_0             (Salimans and Ho 2022)
    edm      F with  D(x_t) = c_skip x_t / alpha + c_out F(c_in x_t / alpha)   (Karras et al. 2022)
    step     x_s at the next time s = t - 1 / steps, or the difference to it
                                               (Koelle et al. 2024, targets "data" and "noise")
    reconstruction   x_0 from x_0, without noise: autoencoders

The loss is the mean of w(t) |output - target|^2, or of w(t) |output - target|, also of complex
outputs, with

    uniform  w = 1
    p2       w = (k + SNR)^(-gamma)            (Choi et al. 2022)
    min_snr  w = min(SNR, gamma) on the error of x_0, converted to that of the target
                                               (Hang et al. 2023),     SNR = alpha^2 / sigma^2.

No objective assumes that the process is variance-preserving.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, ClassVar, Literal, NamedTuple, TypeVar, get_type_hints

import torch
from torch import Tensor, nn

from hqdm.diffusion.schedule import Schedule
from hqdm.utils.checks import check_fields
from hqdm.utils.errors import HQDMError, unknown
from hqdm.utils.registry import Registry


class Prediction(NamedTuple):
    """A denoiser's prediction at `x_t`: the clean samples and the noise, each `(B, C, H, W)`."""

    x0: Tensor
    eps: Tensor


def expand(level: Tensor, like: Tensor) -> Tensor:
    """Shape levels `(B,)` or `()` so that they multiply samples `(B, C, H, W)`."""
    return level.reshape(level.shape + (1,) * (like.ndim - level.ndim)) if level.ndim else level


def as_times(t: Tensor, like: Tensor) -> Tensor:
    """Times `(B,)` or `()` on the device of samples, in their dtype, in float32 at least.

    A single time is not copied to a GPU but added there, since a copy would wait for it.
    """
    dtype = torch.promote_types(like.dtype, torch.float32)
    if t.ndim or t.device == like.device:
        return t.to(like.device, dtype)
    return (like.new_zeros((), dtype=dtype) + t).to(dtype)


class Batch(NamedTuple):
    """The samples of a loss.

    Attributes:
        x0: Clean samples `(B, C, H, W)`.
        y: Labels `(B,)`, or None.
        t: Times `(B,)`.
        eps: Noise `(B, C, H, W)`.
    """

    x0: Tensor
    y: Tensor | None
    t: Tensor
    eps: Tensor


class Levels(NamedTuple):
    """Signal and noise levels of a batch, shaped to multiply its samples.

    Attributes:
        schedule: The noise schedule.
        t: Times `(B,)`.
        alpha: Signal levels `(B, 1, 1, 1)`.
        sigma: Noise levels `(B, 1, 1, 1)`.
    """

    schedule: Schedule
    t: Tensor
    alpha: Tensor
    sigma: Tensor

    @classmethod
    def at(cls, schedule: Schedule, t: Tensor, like: Tensor) -> "Levels":
        """The levels at times `t`, `(B,)` or `()`, for samples of the shape of `like`.

        They are computed in the dtype of `like`, in float32 at least.
        """
        t = as_times(t, like)
        alpha, sigma = (expand(level, like) for level in schedule(t))
        return cls(schedule, t, alpha, sigma)

    @property
    def snr(self) -> Tensor:
        """The signal-to-noise ratio alpha^2 / sigma^2."""
        return (self.alpha / self.sigma) ** 2


@dataclass(frozen=True)
class Weight(ABC):
    """A weight of the loss, as a function of the noise level."""

    @abstractmethod
    def __call__(self, objective: "Objective", levels: Levels) -> Tensor | float:
        """The weight of the error of the objective's target, broadcastable to samples."""


@dataclass(frozen=True)
class Uniform(Weight):
    """Equal weights at all times."""

    def __call__(self, objective: "Objective", levels: Levels) -> Tensor | float:
        """See `Weight`."""
        return 1.0


@dataclass(frozen=True)
class P2(Weight):
    """The weight (k + SNR)^(-gamma); see the module docstring.

    Raises:
        HQDMError: If gamma is negative or k is not positive.
    """

    gamma: float = 1.0
    k: float = 1.0

    def __post_init__(self) -> None:
        if not (0 <= self.gamma < math.inf and 0 < self.k < math.inf):
            raise HQDMError(
                f"P2 weighting needs gamma >= 0 and k > 0, got {self.gamma} and {self.k}"
            )

    def __call__(self, objective: "Objective", levels: Levels) -> Tensor | float:
        """See `Weight`."""
        return (self.k + levels.snr) ** -self.gamma


@dataclass(frozen=True)
class MinSNR(Weight):
    """The weight min(SNR, gamma) on the error of x_0; see the module docstring.

    Raises:
        HQDMError: If gamma is not positive.
    """

    gamma: float = 5.0

    def __post_init__(self) -> None:
        if not 0 < self.gamma < math.inf:
            raise HQDMError(f"min-SNR weighting needs gamma > 0, got {self.gamma}")

    def __call__(self, objective: "Objective", levels: Levels) -> Tensor | float:
        """See `Weight`."""
        return levels.snr.clamp_max(self.gamma) / objective.slope(levels) ** 2


WEIGHTS: dict[str, type[Weight]] = {"uniform": Uniform, "p2": P2, "min_snr": MinSNR}
OUTPUTS = ("data", "noise")
DIFFERENCE = 0.1  # x_t - x_s for an output of 1
LOSSES = {"mse": nn.functional.mse_loss, "l1": nn.functional.l1_loss}


@dataclass(frozen=True, kw_only=True)
class Objective(ABC):
    """A prediction target with its loss.

    A new objective is a frozen dataclass with `target` and `prediction`; `register_objective`
    registers it under its `name`.

    Attributes:
        divides_by_alpha: True if `prediction` does, so that there has to be signal at t = 1.
        loss: "mse" or "l1".
        weight: The weight of the loss.

    Raises:
        HQDMError: If the loss is unknown.
    """

    name: ClassVar[str]
    divides_by_alpha: ClassVar[bool] = False

    loss: str = "mse"
    weight: Weight = field(default_factory=P2)

    def __post_init__(self) -> None:
        if self.loss not in LOSSES:
            raise unknown("loss", self.loss, LOSSES)

    def batch(self, x0: Tensor, y: Tensor | None, t: Tensor, eps: Tensor) -> Batch:
        """The samples of which the loss is computed; the arguments unless overridden.

        Args:
            x0: Clean samples `(B, C, H, W)`.
            y: Labels `(B,)`, or None.
            t: Times `(B,)`.
            eps: Noise `(B, C, H, W)`.

        Returns:
            The four of them, of another batch size.
        """
        return Batch(x0, y, t, eps)

    def network_input(self, x_t: Tensor, levels: Levels) -> Tensor:
        """The input of the network; `x_t` itself unless overridden."""
        return x_t

    @abstractmethod
    def target(self, x0: Tensor, eps: Tensor, levels: Levels) -> Tensor:
        """The tensor that the network's output should equal, `(B, C, H, W)`."""

    @abstractmethod
    def prediction(self, x_t: Tensor, output: Tensor, levels: Levels) -> Prediction:
        """The clean samples and the noise that correspond to an output of the network."""

    def previous(self, x_t: Tensor, output: Tensor) -> Tensor:
        """The samples one step back that correspond to an output of the network.

        Args:
            x_t: Noisy samples `(B, C, H, W)`, real or complex.
            output: The output of the network for them.

        Raises:
            HQDMError: Unless the objective is one step back.
        """
        raise HQDMError(
            f"the objective {self.name!r} does not predict the sample one step back: use another "
            "sampler, such as ddim, or a model of the objective 'step'"
        )

    def slope(self, levels: Levels) -> Tensor:
        """The derivative of the target with respect to x_0 at fixed x_t.

        The default assumes a target linear in (x_0, eps), with eps = (x_t - alpha x_0) / sigma.
        """
        one, zero = torch.ones_like(levels.sigma), torch.zeros_like(levels.sigma)
        return self.target(one, zero, levels) - levels.alpha / levels.sigma * self.target(
            zero, one, levels
        )

    def loss_of(self, output: Tensor, x0: Tensor, eps: Tensor, levels: Levels) -> Tensor:
        """The weighted loss of a batch, a scalar."""
        target = self.target(x0, eps, levels)
        if output.is_complex():
            output, target = (output - target).abs(), torch.zeros_like(target)
        error = LOSSES[self.loss](output, target, reduction="none")
        return (self.weight(self, levels) * error).mean()


OBJECTIVES: Registry[type[Objective]] = Registry("objective")
"""Objectives by name."""

ObjectiveType = TypeVar("ObjectiveType", bound=type[Objective])


def register_objective(cls: ObjectiveType) -> ObjectiveType:
    """Class decorator: make an objective available by its `name`."""
    OBJECTIVES.register(cls.name, cls)
    return cls


@register_objective
@dataclass(frozen=True, kw_only=True)
class Eps(Objective):
    """Noise prediction: the target is eps."""

    name = "eps"
    divides_by_alpha = True

    def target(self, x0: Tensor, eps: Tensor, levels: Levels) -> Tensor:
        """See `Objective`."""
        return eps

    def prediction(self, x_t: Tensor, output: Tensor, levels: Levels) -> Prediction:
        """See `Objective`."""
        return Prediction((x_t - levels.sigma * output) / levels.alpha, output)


@register_objective
@dataclass(frozen=True, kw_only=True)
class X0(Objective):
    """Data prediction: the target is x_0."""

    name = "x0"

    def target(self, x0: Tensor, eps: Tensor, levels: Levels) -> Tensor:
        """See `Objective`."""
        return x0

    def prediction(self, x_t: Tensor, output: Tensor, levels: Levels) -> Prediction:
        """See `Objective`."""
        return Prediction(output, (x_t - levels.alpha * output) / levels.sigma)


@register_objective
@dataclass(frozen=True, kw_only=True)
class V(Objective):
    """v = alpha eps - sigma x_0; the inverse divides by alpha^2 + sigma^2 where that is not 1."""

    name = "v"

    def target(self, x0: Tensor, eps: Tensor, levels: Levels) -> Tensor:
        """See `Objective`."""
        return levels.alpha * eps - levels.sigma * x0

    def prediction(self, x_t: Tensor, output: Tensor, levels: Levels) -> Prediction:
        """See `Objective`."""
        x0 = levels.alpha * x_t - levels.sigma * output
        eps = levels.sigma * x_t + levels.alpha * output
        if levels.schedule.variance_preserving:
            return Prediction(x0, eps)
        norm = levels.alpha**2 + levels.sigma**2
        return Prediction(x0 / norm, eps / norm)


@register_objective
@dataclass(frozen=True, kw_only=True)
class EDM(Objective):
    r"""The preconditioned output F of Karras et al. (2022, table 1).

        s = sigma / alpha,
        c_skip = d^2 / (s^2 + d^2),   c_out = s d / sqrt(s^2 + d^2),   c_in = 1 / sqrt(s^2 + d^2).

    The network receives t itself in place of c_noise = log(s) / 4, a function of t.

    Attributes:
        sigma_data: d, the standard deviation of the data.

    Raises:
        HQDMError: If `sigma_data` is not positive.
    """

    name = "edm"
    divides_by_alpha = True

    sigma_data: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.sigma_data < math.inf:
            raise HQDMError(f"EDM needs sigma_data > 0, got {self.sigma_data}")

    def _scales(self, levels: Levels) -> tuple[Tensor, Tensor, Tensor]:
        """c_skip, c_out and c_in."""
        s, d = levels.sigma / levels.alpha, self.sigma_data
        root = (s**2 + d**2).sqrt()
        return (d / root) ** 2, s * d / root, 1 / root

    def network_input(self, x_t: Tensor, levels: Levels) -> Tensor:
        """See `Objective`: c_in x_t / alpha."""
        return self._scales(levels)[2] * x_t / levels.alpha

    def target(self, x0: Tensor, eps: Tensor, levels: Levels) -> Tensor:
        """See `Objective`."""
        c_skip, c_out, _ = self._scales(levels)
        return (x0 - c_skip * (x0 + levels.sigma / levels.alpha * eps)) / c_out

    def prediction(self, x_t: Tensor, output: Tensor, levels: Levels) -> Prediction:
        """See `Objective`."""
        c_skip, c_out, _ = self._scales(levels)
        x0 = c_skip * x_t / levels.alpha + c_out * output
        return Prediction(x0, (x_t - levels.alpha * x0) / levels.sigma)


@register_objective
@dataclass(frozen=True, kw_only=True)
class StepBack(Objective):
    r"""The sample one step back, x_s = alpha_s x_0 + sigma_s eps, s = max(t - 1 / steps, 0).

    Together with x_t these are two linear equations in x_0 and eps, with determinant
    alpha_t sigma_s - alpha_s sigma_t, which is nonzero for s < t. The output o of the network is

        data     x_s
        noise    (x_t - x_s) / 0.1,    x_s = x_t - 0.1 factor o

    in units of images in [-1, 1]; both are targets of Koelle et al. (2024), who write
    (o - 0.5) 0.1 for x_t - x_s in pixels in [0, 1]. `prediction` solves the equations without
    clamping.

    Attributes:
        steps: Number of steps from noise to data.
        output: "data" or "noise".
        clamp: Clamp x_t and x_s to [-1, 1], as the paper does.
        pairs: Train on all pairs of each image, t = 1 / steps, 2 / steps, ..., 1, with the same
            noise, in place of one random time.
        factor: Multiple of the step that `previous` takes back with the output "noise".

    Raises:
        HQDMError: If `steps` is below 1, the output is unknown, or `factor` is not positive.
    """

    name = "step"

    steps: int = 10
    output: Literal["data", "noise"] = "data"
    clamp: bool = False
    pairs: bool = False
    factor: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.steps >= 1 and float(self.steps).is_integer()):
            raise HQDMError(f"the objective 'step' needs 1 step or more, got {self.steps}")
        if self.output not in OUTPUTS:
            raise unknown("output of the objective 'step'", self.output, OUTPUTS)
        if not 0 < self.factor < math.inf:
            raise HQDMError(f"the objective 'step' needs factor > 0, got {self.factor}")

    def _back(self, levels: Levels) -> tuple[Tensor, Tensor]:
        """alpha_s and sigma_s."""
        s = (levels.t - 1 / self.steps).clamp_min(0)
        alpha, sigma = (expand(level, levels.alpha) for level in levels.schedule(s))
        return alpha, sigma

    def _clamped(self, x: Tensor) -> Tensor:
        return x.clamp(-1, 1) if self.clamp and not x.is_complex() else x

    def batch(self, x0: Tensor, y: Tensor | None, t: Tensor, eps: Tensor) -> Batch:
        """See `Objective`: with `pairs`, each sample `steps` times in turn."""
        if not self.pairs:
            return Batch(x0, y, t, eps)
        times = torch.arange(1, self.steps + 1, dtype=t.dtype, device=t.device) / self.steps
        x0, eps = (part.repeat_interleave(self.steps, 0) for part in (x0, eps))
        y = None if y is None else y.repeat_interleave(self.steps)
        return Batch(x0, y, times.repeat(len(t)), eps)

    def network_input(self, x_t: Tensor, levels: Levels) -> Tensor:
        """See `Objective`."""
        return self._clamped(x_t)

    def target(self, x0: Tensor, eps: Tensor, levels: Levels) -> Tensor:
        """See `Objective`."""
        alpha, sigma = self._back(levels)
        x_s = self._clamped(alpha * x0 + sigma * eps)
        if self.output == "data":
            return x_s
        return (self._clamped(levels.alpha * x0 + levels.sigma * eps) - x_s) / DIFFERENCE

    def slope(self, levels: Levels) -> Tensor:
        """See `Objective`: without clamping."""
        return super(StepBack, replace(self, clamp=False)).slope(levels)

    def prediction(self, x_t: Tensor, output: Tensor, levels: Levels) -> Prediction:
        """See `Objective`."""
        x_s = output if self.output == "data" else x_t - DIFFERENCE * output
        alpha, sigma = self._back(levels)
        determinant = levels.alpha * sigma - alpha * levels.sigma
        x0 = (sigma * x_t - levels.sigma * x_s) / determinant
        return Prediction(x0, (levels.alpha * x_s - alpha * x_t) / determinant)

    def previous(self, x_t: Tensor, output: Tensor) -> Tensor:
        """See `Objective`."""
        if self.output == "data":
            return self._clamped(output)
        return self._clamped(self._clamped(x_t) - DIFFERENCE * self.factor * output)


@register_objective
@dataclass(frozen=True, kw_only=True)
class Reconstruction(X0):
    """The images themselves, at t = 0: the objective of an autoencoder.

    Raises:
        HQDMError: If the weight is not uniform: there are no noise levels to weigh.
    """

    name = "reconstruction"

    weight: Weight = field(default_factory=Uniform)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.weight != Uniform():
            raise HQDMError(
                "the objective 'reconstruction' has no noise levels to weigh: set weight: uniform"
            )

    def batch(self, x0: Tensor, y: Tensor | None, t: Tensor, eps: Tensor) -> Batch:
        """See `Objective`: without noise."""
        return Batch(x0, y, torch.zeros_like(t), eps)

    def prediction(self, x_t: Tensor, output: Tensor, levels: Levels) -> Prediction:
        """See `Objective`.

        Raises:
            HQDMError: Always.
        """
        raise HQDMError(
            "an autoencoder does not predict noise: use the sampler carleman, after `hqdm carleman "
            "fit` in its own latents (learned)"
        )


def build_objective(config: Mapping[str, Any]) -> Objective:
    """The objective that a configuration with a `name` describes.

    Raises:
        HQDMError: If the name, the weight or an option is unknown, or an option is not of its type.
    """
    options = {key: value for key, value in config.items() if key != "name"}
    cls = OBJECTIVES[config["name"]]
    hints = get_type_hints(cls)
    for option, value in options.items():
        # The command line reads all options as numbers with a point.
        if hints.get(option) is int and isinstance(value, float) and value.is_integer():
            options[option] = int(value)
    check_fields(f"option of the objective {config['name']!r}", options, cls, "objective.")
    if "weight" in options:
        options["weight"] = _build_weight(options["weight"])
    return cls(**options)


def _build_weight(config: object) -> Weight:
    if not isinstance(config, Mapping) or not isinstance(config.get("name"), str):
        raise HQDMError(f"objective.weight: expected keys with a name, got {config!r}")
    options = {key: value for key, value in config.items() if key != "name"}
    if config["name"] not in WEIGHTS:
        raise unknown("weight of the loss", config["name"], WEIGHTS)
    cls = WEIGHTS[config["name"]]
    check_fields(f"option of the weight {config['name']!r}", options, cls, "objective.weight.")
    return cls(**options)


def objective_config(objective: Objective) -> dict[str, Any]:
    """The plain configuration from which `build_objective` rebuilds an objective.

    Raises:
        HQDMError: If the objective or its weight is not registered.
    """
    name = OBJECTIVES.saved_name(objective)
    weight = next((name for name, cls in WEIGHTS.items() if type(objective.weight) is cls), None)
    if weight is None:
        raise HQDMError(
            f"a weight of type {type(objective.weight).__name__} cannot be saved: "
            f"expected one of {', '.join(WEIGHTS)}"
        )
    options = {f.name: getattr(objective, f.name) for f in fields(objective)}
    return {
        "name": name,
        **options,
        "weight": {"name": weight, **asdict(objective.weight)},
    }
