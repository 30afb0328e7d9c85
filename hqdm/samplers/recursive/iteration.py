r"""Recursive sampling: the network is applied tau times (Koelle et al., arXiv 2401.07049).

    x <- f(x, t, y),     t = 1, 1 - 1 / tau, ..., 1 / tau,

where f is the sample one step back, `hqdm.diffusion.denoiser.Denoiser.previous`. tau need not be
the number of steps in training. The times are for networks that use them.
"""

from torch import Tensor

from hqdm.diffusion.denoiser import Denoiser
from hqdm.diffusion.objective import StepBack
from hqdm.samplers.base import Evaluator, Sampler
from hqdm.samplers.ddim import DDIM
from hqdm.samplers.registry import STEPS, register_sampler
from hqdm.utils.seeds import ImageNoise


@register_sampler("iterate", options=(STEPS,), objective=StepBack.name)
class Iterate(Sampler):
    """Applies a model of the objective `step` to its own output.

    If the samples one step back are complex, they are the state for the next step and their real
    parts are the images.

    Args:
        steps: Number of applications tau; 10 by default.

    Raises:
        HQDMError: As for `Sampler`.
    """

    name = "iterate"
    default_steps = 10
    reversible = False

    def __init__(self, steps: int | None = None) -> None:
        super().__init__(steps)

    def step(
        self,
        denoise: Evaluator,
        x: Tensor,
        t: Tensor,
        s: Tensor,
        state: Tensor | None,
        noise: ImageNoise,
    ) -> tuple[Tensor, Tensor | None]:
        """See `Sampler.step`."""
        x_s = denoise.previous(x if state is None else state, t)
        return (x_s.real, x_s) if x_s.is_complex() else (x_s, None)


def usual_sampler(denoiser: Denoiser, steps: int) -> Sampler:
    """The sampler of the pictures during training.

    Args:
        denoiser: The model.
        steps: Number of DDIM steps.

    Returns:
        `Iterate` with the steps of training for a model of the objective `step`, else DDIM.
    """
    objective = denoiser.objective
    return Iterate(objective.steps) if isinstance(objective, StepBack) else DDIM(steps)
