r"""Rex (Blasingame and Liu 2025): a reversible exponential integrator of the reverse-time SDE.

Two copies y and z of the images take exponential Euler steps in x_0 with the same noise, each with
the prediction from the other one (McCallum and Foster 2024, with zeta = 1):

    y_s = A y_t + B x_0(z_t, t) + std w,
    z_s = A z_t + B x_0(y_s, s) + std w,

where A, B and std are those of SA-Solver with one node, see `hqdm.samplers.multistep.sa_solver`,
and tau is the noise as a multiple of that of the SDE. Solved for z_t and then for y_t, the same
equations lead back from s to t without an error other than that of rounding.

The images are the mean of the copies. For tau = 0 their error is of order 2, and for tau > 0 that
of the variance of Gaussian data; the error of a single copy is of order 1. From level a to the
data, a run from a pair takes the reversible step x_0 = (x_a - sigma_a eps(z_a)) / alpha_a, and a
run from images ends in the prediction for them, as those of other samplers do.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from hqdm.diffusion.denoiser import Denoising
from hqdm.samplers.base import Callback, Evaluator, Result, Sampler
from hqdm.samplers.exponential import NoiseLevel, level_at, transfer
from hqdm.samplers.grids import check_ends
from hqdm.samplers.multistep.sa_solver import SASolver, check_tau
from hqdm.samplers.registry import register_sampler
from hqdm.utils.seeds import ImageNoise, ReplayedNoise


class Copies(NamedTuple):
    """The state of the copies beside their mean.

    Attributes:
        half: Half their difference, (y - z) / 2.
        paired: True if a pair was given, so that the step to the data has to be reversible.
    """

    half: Tensor
    paired: bool


@register_sampler("rex", own=("tau",))
class Rex(Sampler):
    """Rex with the exponential Euler method: two evaluations per step, exactly reversible.

    `encode` maps images to a pair of copies of noise, `(B, 2, C, H, W)`, and `run` maps the pair to
    the images, with the same noise of the steps. The encoded pair grows with tau: a reverse-time
    SDE forgets its start, so that a small difference of images is a large one of noise.

    Args:
        steps: Number of steps; 10 by default.
        grid: See `Sampler`.
        tau: The noise as a multiple of that of the reverse-time SDE, 0 or more; 0 is the flow.

    Raises:
        HQDMError: If tau is out of range; otherwise as for `Sampler`.
    """

    name = "rex"
    default_steps = 10
    evaluations_per_step = 2
    tau: float

    def __init__(
        self,
        steps: int | None = None,
        grid: str | Sequence[float] | None = None,
        tau: float = 1.0,
    ) -> None:
        super().__init__(steps, grid)
        self.tau = check_tau("Rex", tau)
        self.euler = SASolver(order=1, corrector=0, tau=tau)
        self.reversible = self.euler.reversible

    @property
    def settings(self) -> dict[str, Any]:
        """See `Sampler.settings`."""
        return super().settings | {"tau": self.tau}

    def begin(self, x: Tensor) -> tuple[Tensor, Copies]:
        """The mean of the copies and their state; images are both copies.

        Args:
            x: Images, `(B, C, H, W)`, or pairs of copies of them, `(B, 2, C, H, W)`.
        """
        if x.ndim == 4:
            return x, self.init(x)
        y, z = x.unbind(1)
        return (y + z) / 2, Copies((y - z) / 2, paired=True)

    def init(self, x: Tensor) -> Copies:
        """Equal copies."""
        return Copies(torch.zeros_like(x), paired=False)

    def step(
        self, denoise: Evaluator, x: Tensor, t: Tensor, s: Tensor, state: Copies, noise: ImageNoise
    ) -> tuple[Tensor, Copies]:
        """See `Sampler.step`; to a later time `s`, the step from `s` to `t` is inverted."""
        back = bool(s > t)
        a, b = (level_at(denoise.schedule, time) for time in ((s, t) if back else (t, s)))
        if b.is_data:
            return _from_data(denoise, x, a, b) if back else _to_data(denoise, x, state, a, b)
        euler = self.euler.coefficients(denoise.schedule, a, b, [a])
        scale, weight = euler.scale, euler.weights[0]
        added = euler.std * noise.draw_like(x) if euler.std > 0 else 0.0
        y, z = x + state.half, x - state.half
        if back:
            z = (z - weight * denoise(y, b.t).x0 - added) / scale
            y = (y - weight * denoise(z, a.t).x0 - added) / scale
        else:
            y = scale * y + weight * denoise(z, a.t).x0 + added
            z = scale * z + weight * denoise(y, b.t).x0 + added
        return (y + z) / 2, state._replace(half=(y - z) / 2)

    @torch.no_grad()
    def encode(
        self,
        denoiser: Denoising,
        x0: Tensor,
        y: Tensor | None = None,
        *,
        noise: ImageNoise | None = None,
        callback: Callback | None = None,
        return_trajectory: bool = False,
    ) -> Result:
        """Invert the steps of `run` from images at time 0 to a pair of copies at time 1.

        Args:
            denoiser: As in `run`.
            x0: Images, `(B, C, H, W)`.
            y: Class labels `(B,)`, or None.
            noise: The noise of the steps, as `run` will draw it; None is that of random seed 0.
            callback: As in `run`.
            return_trajectory: As in `run`; the mean of the copies.

        Returns:
            As `run`; `x0` holds the pair, `(B, 2, C, H, W)`.

        Raises:
            HQDMError: If a grid of times has other ends than 1 and 0, the noise of all steps does
                not fit into memory, or a step reaches values that are not finite.
        """
        times = self.grid(denoiser.schedule, 1.0, 0.0)
        check_ends(times, 1.0, 0.0)
        noise = noise or ImageNoise(0, len(x0))
        draws = len(times) - 2 if self.tau > 0 else 0  # none in the step to the data
        x = x0.to(torch.promote_types(x0.dtype, torch.float32))
        result, copies = self._take_steps(
            self.evaluator(denoiser, y),
            x,
            times.flip(0),
            ReplayedNoise(noise, x0.shape[1:], draws),
            callback,
            return_trajectory,
        )
        pair = torch.stack([result.x0 + copies.half, result.x0 - copies.half], 1)
        return replace(result, x0=pair).to(x0.dtype)


def _to_data(
    denoise: Evaluator, x: Tensor, state: Copies, a: NoiseLevel, data: NoiseLevel
) -> tuple[Tensor, Copies]:
    """The step from level a to the data: that of a pair, or the prediction."""
    if not state.paired:
        return denoise(x, a.t).x0, state
    return transfer(x, denoise(x - state.half, a.t).eps, a, data), state


def _from_data(
    denoise: Evaluator, x0: Tensor, a: NoiseLevel, data: NoiseLevel
) -> tuple[Tensor, Copies]:
    """Copies at level a from which `_to_data` leads to the images.

    Every second copy z has a mean that leads there; z is the images with the noise that is
    predicted for the images themselves, as in `Sampler.encode`.
    """
    z = transfer(x0, denoise(a.alpha * x0, a.t).eps, data, a)
    x = transfer(x0, denoise(z, a.t).eps, data, a)
    return x, Copies(x - z, paired=True)
