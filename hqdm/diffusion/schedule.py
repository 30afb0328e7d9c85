r"""Noise schedules in continuous time.

A schedule maps a time `t` in [0, 1] (data at 0, noise at 1) to the pair `(alpha_t, sigma_t)` of

    x_t = alpha_t x_0 + sigma_t eps,

and back from the half log signal-to-noise ratio `lambda_t = log(alpha_t / sigma_t)`, which
decreases in t. The cosine and the linear schedule are variance-preserving,
alpha_t^2 + sigma_t^2 = 1, as some solvers require. A schedule is independent of the network.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TypeVar

import torch
from torch import Tensor

from hqdm.utils.checks import check_fields, finite
from hqdm.utils.errors import HQDMError
from hqdm.utils.registry import Registry

VARIANCE_TOLERANCE = 1e-6
LEAST_LAM = -20.0  # alpha_1 = 2e-9


@dataclass(frozen=True)
class Schedule(ABC):
    """A noise schedule: `alpha, sigma = schedule(t)`.

    A new schedule is a frozen dataclass with `__call__` and `inverse`; `register_schedule`
    registers it under a name.
    """

    @abstractmethod
    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """The signal and noise levels at time `t`.

        Args:
            t: Times in [0, 1], of any shape.

        Returns:
            `(alpha_t, sigma_t)`, each of the shape of `t`; `alpha_0 = 1` and `sigma_0 = 0`.
        """

    @abstractmethod
    def inverse(self, lam: Tensor) -> Tensor:
        """The time at which `log(alpha_t / sigma_t)` is `lam`.

        Args:
            lam: Half log-SNR values, of any shape; `inf` is the data end.

        Returns:
            Times `t`, of the shape of `lam`.
        """

    @cached_property
    def variance_preserving(self) -> bool:
        """True if alpha_t^2 + sigma_t^2 = 1, checked at 65 times."""
        alpha, sigma = self(torch.linspace(0, 1, 65, dtype=torch.float64))
        return bool(((alpha**2 + sigma**2 - 1).abs() < VARIANCE_TOLERANCE).all())

    @cached_property
    def pure_noise(self) -> bool:
        """True if alpha_1 = 0: x_1 is noise alone and lambda_1 is not finite."""
        return bool(self(torch.tensor(1.0, dtype=torch.float64))[0] == 0)

    @cached_property
    def prior_std(self) -> float:
        """Standard deviation of the noise from which sampling starts: sigma_1, or 1.

        It is 1 for a variance-preserving schedule, whose x_1 has variance 1 for data of variance 1,
        although sigma_1 is slightly smaller.
        """
        if self.variance_preserving:
            return 1.0
        return float(self(torch.tensor(1.0, dtype=torch.float64))[1])

    def lam(self, t: Tensor) -> Tensor:
        """The half log-SNR `lambda_t = log(alpha_t / sigma_t)`; `inf` at t = 0.

        Raises:
            HQDMError: At t = 1 of a schedule that ends in noise alone.
        """
        if self.pure_noise and bool((t >= 1).any()):
            raise HQDMError(
                f"lambda = log(alpha / sigma) is infinite at t = 1 of {self}: use a sampler "
                "without lambda, such as ddim, ddpm or iterate, or another schedule"
            )
        alpha, sigma = self(t)
        return alpha.log() - sigma.log()


SCHEDULES: Registry[type[Schedule]] = Registry("schedule")
"""Schedules by name."""

ScheduleType = TypeVar("ScheduleType", bound=type[Schedule])


def register_schedule(name: str) -> Callable[[ScheduleType], ScheduleType]:
    """Class decorator: make a schedule available by a name."""
    return SCHEDULES.decorator(name)


@register_schedule("cosine")
@dataclass(frozen=True)
class CosineSchedule(Schedule):
    r"""The cosine schedule (Nichol and Dhariwal 2021, eq. 17), truncated before pure noise.

        alpha_t = cos(phi_t) / cos(phi_0),   phi_t = phi_0 + t (phi_1 - phi_0),
        phi_0 = (s / (1 + s)) pi / 2.

    The published curve ends at alpha = 0, where noise prediction does not determine the data;
    `phi_1` is therefore chosen such that `lambda_1 = lam_min`.

    Args:
        s: The offset that avoids too small noise levels near t = 0.
        lam_min: The half log-SNR at t = 1, in [-20, 0).
    """

    s: float = 0.008
    lam_min: float = -6.0

    def __post_init__(self) -> None:
        """Refuse an offset outside [0, 1) and a log-SNR that leaves signal or no digits of it."""
        if not 0 <= self.s < 1:
            raise HQDMError(f"the cosine schedule needs s in [0, 1), got {self.s}")
        if not LEAST_LAM <= self.lam_min < 0:
            raise HQDMError(
                f"the cosine schedule needs lam_min in [{LEAST_LAM}, 0), got {self.lam_min}"
            )

    @property
    def _phi(self) -> tuple[float, float]:
        phi_0 = self.s / (1 + self.s) * math.pi / 2
        alpha_1 = math.sqrt(1 / (1 + math.exp(-2 * self.lam_min)))
        return phi_0, math.acos(alpha_1 * math.cos(phi_0))

    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """See `Schedule`."""
        phi_0, phi_1 = self._phi
        turn = t * (phi_1 - phi_0)
        alpha = (turn + phi_0).cos() / math.cos(phi_0)
        # cos^2 a - cos^2 b = sin(b - a) sin(b + a) avoids cancellation for small sigma.
        sigma = (turn.sin() * (turn + 2 * phi_0).sin()).sqrt() / math.cos(phi_0)
        return alpha, sigma

    def inverse(self, lam: Tensor) -> Tensor:
        """See `Schedule`."""
        phi_0, phi_1 = self._phi
        cos2 = math.cos(phi_0) ** 2
        sin_phi = (math.sin(phi_0) ** 2 + torch.sigmoid(-2 * lam) * cos2).sqrt()
        cos_phi = (torch.sigmoid(2 * lam) * cos2).sqrt()
        return (torch.atan2(sin_phi, cos_phi) - phi_0) / (phi_1 - phi_0)


@register_schedule("linear")
@dataclass(frozen=True)
class LinearSchedule(Schedule):
    r"""The schedule with a noise rate linear in time (Ho et al. 2020; Song et al. 2021, VP-SDE).

        beta_t = beta_0 + t (beta_1 - beta_0),
        log alpha_t = -t^2 (beta_1 - beta_0) / 4 - t beta_0 / 2.

    Args:
        beta_0: The noise rate at t = 0.
        beta_1: The noise rate at t = 1.
    """

    beta_0: float = 0.1
    beta_1: float = 20.0

    def __post_init__(self) -> None:
        """Refuse rates that are not increasing and positive."""
        if not 0 < self.beta_0 < self.beta_1 < math.inf:
            raise HQDMError(
                "the linear schedule needs 0 < beta_0 < beta_1 < infinity, got "
                f"{self.beta_0}, {self.beta_1}"
            )

    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """See `Schedule`."""
        log_alpha = -(t**2) * (self.beta_1 - self.beta_0) / 4 - t * self.beta_0 / 2
        return log_alpha.exp(), (-torch.expm1(2 * log_alpha)).sqrt()

    def inverse(self, lam: Tensor) -> Tensor:
        """See `Schedule`."""
        # -log alpha = softplus(-2 lam) / 2 is a quadratic in t; this form of its root avoids
        # cancellation.
        c = torch.nn.functional.softplus(-2 * lam)
        root = (self.beta_0**2 + 2 * (self.beta_1 - self.beta_0) * c).sqrt()
        return 2 * c / (root + self.beta_0)


@register_schedule("ve")
@dataclass(frozen=True)
class VarianceExplodingSchedule(Schedule):
    r"""A variance-exploding schedule, with constant signal (Karras et al. 2022).

        alpha_t = 1,   sigma_t = sigma_max t^rho.

    Uniform times are uniform in sigma^(1 / rho), as in eq. 5 of that paper for sigma_min = 0.

    Args:
        sigma_max: The noise level at t = 1.
        rho: The exponent.
    """

    sigma_max: float = 80.0
    rho: float = 3.0

    def __post_init__(self) -> None:
        """Refuse levels that do not increase."""
        if not (0 < self.sigma_max < math.inf and 0 < self.rho < math.inf):
            raise HQDMError(
                "the variance-exploding schedule needs sigma_max > 0 and rho > 0, got "
                f"{self.sigma_max}, {self.rho}"
            )

    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """See `Schedule`."""
        return torch.ones_like(t), self.sigma_max * t**self.rho

    def inverse(self, lam: Tensor) -> Tensor:
        """See `Schedule`."""
        return (-(lam + math.log(self.sigma_max)) / self.rho).exp()


@register_schedule("mixing")
@dataclass(frozen=True)
class MixingSchedule(Schedule):
    r"""Images mixed with noise by a weight w that grows to 1 (Koelle et al. 2024).

        x_t = (1 - w) x_0 + w std eps,   w = t^power:     alpha_t = 1 - w,   sigma_t = std w.

    The defaults are the paper's weights (i / tau)^3 at t = i / tau and its noise of pixels in
    [0, 1], N(0.5, 0.2^2), which in [-1, 1] is N(0, 0.4^2). At t = 1 no signal is left.

    Args:
        power: The exponent.
        std: Standard deviation of the noise, in units of images in [-1, 1].
    """

    power: float = 3.0
    std: float = 0.4

    def __post_init__(self) -> None:
        """Refuse weights that do not increase, and no noise."""
        if not (finite("power", self.power) > 0 and finite("std", self.std) > 0):
            raise HQDMError(
                f"the mixing schedule needs power > 0 and std > 0, got {self.power}, {self.std}"
            )

    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """See `Schedule`."""
        w = t**self.power
        return 1 - w, self.std * w

    def inverse(self, lam: Tensor) -> Tensor:
        """See `Schedule`."""
        return torch.sigmoid(-lam - math.log(self.std)) ** (1 / self.power)


def build_schedule(name: str, **options: float) -> Schedule:
    """Build a schedule by name.

    Args:
        name: A key of `SCHEDULES`.
        **options: The fields of the schedule.

    Raises:
        HQDMError: If the name or an option is unknown, or an option is not of its type.
    """
    cls = SCHEDULES[name]
    check_fields(f"option of the schedule {name!r}", options, cls, "schedule.")
    return cls(**options)


def schedule_config(schedule: Schedule) -> dict[str, str | float]:
    """The plain configuration from which `build_schedule` rebuilds the schedule.

    Raises:
        HQDMError: If the schedule is not registered.
    """
    return {"name": SCHEDULES.saved_name(schedule), **asdict(schedule)}
