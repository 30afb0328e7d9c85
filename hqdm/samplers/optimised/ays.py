r"""Align Your Steps (Sabour et al. 2024): the grid with the least bound of a KL divergence.

If the prediction x_0 of the reverse-time SDE is kept constant within each step, as in ancestral
sampling, the KL divergence between the paths of the SDE and of the sampler is a sum over the steps
(Girsanov), and bounds that of the images:

    sum_i int exp(2 lambda) E |x_0(x_lambda) - x_0(x_i)|^2 dlambda    over [lambda_i, lambda_{i+1}].

The expectation is over images noised to lambda and from there to lambda_i. Here one path of noise
per image passes through all nodes, so that a single evaluation at each of them gives the costs of
all steps; the integrals are trapezoidal sums, and dynamic programming finds the minimum over the
nodes. The paper draws images from the data, times by importance sampling, and changes one time of
the grid after the other.

For the exact denoiser, E |x_0(x_lambda) - x_0(x_i)|^2 = mmse(lambda_i) - mmse(lambda), with the
least mean square error of the prediction.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from hqdm.diffusion.denoiser import Denoising
from hqdm.samplers.optimised.shortest_path import no_costs
from hqdm.samplers.repaint import noise_again
from hqdm.utils.seeds import ImageNoise


@torch.no_grad()
def divergences(
    denoiser: Denoising,
    x0: Tensor,
    y: Tensor | None,
    times: Tensor,
    noise: ImageNoise,
    done: Callable[[], None],
) -> Tensor:
    """The KL divergences of steps between times, per image in nats.

    Args:
        denoiser: The denoiser.
        x0: Images, `(B, C, H, W)`.
        y: Class labels `(B,)`, or None.
        times: The nodes `(N,)`, decreasing, where lambda is finite.
        noise: The noise of the images.
        done: Called after each evaluation, N times.

    Returns:
        The divergences, `(N, N)` in float64; infinite unless i < j.
    """
    x, s = x0, torch.zeros_like(times[0])
    predictions = []
    for t in times.flip(0):
        x, s = noise_again(denoiser.schedule, x, t, s, noise), t
        predictions.append(denoiser(x, t, y).x0.flatten().cpu())
        done()
    predicted = torch.stack(predictions[::-1])
    lam = denoiser.schedule.lam(times)
    costs = no_costs(len(times))
    for i in range(len(times) - 1):
        distance = (predicted[i:] - predicted[i]).square().sum(1, dtype=torch.float64) / len(x0)
        costs[i, i + 1 :] = torch.cumulative_trapezoid((2 * lam[i:]).exp() * distance, lam[i:])
    return costs
