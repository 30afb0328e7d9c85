"""Recursive sampling: the loop by hand, any number of steps, states, and what it refuses."""

import pytest
import torch
from networks import Toy

from hqdm.diffusion.analytic import GaussianDenoiser
from hqdm.diffusion.denoiser import Denoiser
from hqdm.diffusion.objective import OBJECTIVES, StepBack
from hqdm.diffusion.schedule import CosineSchedule, MixingSchedule
from hqdm.generation.sampling import sample_images
from hqdm.guidance.classifier_free import ClassifierFreeGuidance
from hqdm.guidance.clip import Clip
from hqdm.guidance.posterior import PosteriorSampling
from hqdm.guidance.replacement import Replacement
from hqdm.nn.amplitude.dense import QDense
from hqdm.samplers import DDIM, RePaint, build_sampler
from hqdm.samplers.recursive import Iterate, usual_sampler
from hqdm.utils.errors import HQDMError
from hqdm.utils.seeds import ImageNoise

SHAPE = (1, 4, 4)


def model(output="data", **options):
    network = QDense(size=4, n_layers=3, n_classes=2).eval()
    return Denoiser(network, MixingSchedule(), StepBack(output=output, clamp=True, **options))


def start(n=5):
    return 0.4 * ImageNoise(1, n).draw(SHAPE), torch.arange(n) % 2


@pytest.mark.parametrize("steps", [1, 3, 10, 25])
@pytest.mark.parametrize("output", ["data", "noise"])
def test_the_network_is_applied_repeatedly(output, steps):
    """In pixels: p <- o, or p <- p - (o - 0.5) 0.1 factor, clamped to [0, 1] (the paper's loop)."""
    denoiser = model(output, factor=3.0)
    x1, y = start()
    result = build_sampler("iterate", steps).run(Clip(denoiser), x1, y)
    pixels = ((x1 + 1) / 2).clamp(0, 1)
    with torch.no_grad():
        for _ in range(steps):
            o = (denoiser.network(2 * pixels - 1, torch.ones(5), y) + 1) / 2
            pixels = o if output == "data" else pixels - (o - 0.5) * 0.1 * 3.0
            pixels = pixels.clamp(0, 1)
    # Rounding in float32, 1e-7, through at most 25 circuits.
    torch.testing.assert_close(result.x0, 2 * pixels - 1, rtol=0, atol=1e-4)
    assert result.evaluations == steps


def test_networks_get_the_times_of_the_grid():
    class Seeing(Toy):
        times = ()

        def forward(self, x_t, t, y=None):
            self.times = (*self.times, t.tolist())
            return x_t

    network = Seeing()
    Iterate(4)(Denoiser(network, CosineSchedule(), "step"), torch.zeros(2, 1, 2, 2))
    assert network.times == ([1.0] * 2, [0.75] * 2, [0.5] * 2, [0.25] * 2)


def test_sampling_starts_from_the_noise_of_the_schedule():
    """Pixels N(0.5, 0.2^2): 16,384 numbers have standard errors of 0.0016 and 0.6 %."""
    seen = []

    class Seeing(Toy):
        sample_shape = (1, 16, 16)

        def __init__(self):
            super().__init__()
            self.place = torch.nn.Parameter(torch.zeros(1))  # says where the model is

        def forward(self, x_t, t, y=None):
            seen.append(x_t)
            return x_t

    denoiser = Denoiser(Seeing(), MixingSchedule(), StepBack())
    sample_images(denoiser, Iterate(1), 64)
    pixels = (seen[0] + 1) / 2
    assert float(pixels.mean()) == pytest.approx(0.5, abs=0.006)
    assert float(pixels.std()) == pytest.approx(0.2, rel=0.02)


def test_complex_samples_are_a_state_and_images_are_real_parts():
    """x <- i x / 2, twice: -x / 4; real parts alone would be zero after the first step."""

    class Turning(Toy):
        def forward(self, x_t, t, y=None):
            return 0.5j * x_t

    denoiser = Denoiser(Turning(), CosineSchedule(), StepBack())
    x1 = torch.rand(2, 1, 2, 2)
    result = Iterate(2).run(Clip(denoiser), x1, return_trajectory=True)
    assert result.x0.dtype == x1.dtype
    torch.testing.assert_close(result.trajectory, torch.stack([x1, 0 * x1, -x1 / 4]))


def test_known_pixels_are_reset_in_every_step():
    """Inpainting by `Replacement`: the network sees the known pixels after the first step."""
    denoiser = model()
    x1, y = start()
    image, mask = torch.full(SHAPE, 0.7), torch.arange(16).view(SHAPE) % 3 == 0
    reset = Replacement(Clip(denoiser), image, mask)
    x0 = Iterate(3)(reset, x1, y)
    x = x1
    for _ in range(3):
        with torch.no_grad():
            x = torch.where(mask, image, denoiser.network(x.clamp(-1, 1), torch.ones(5), y))
    torch.testing.assert_close(x0, x, rtol=0, atol=1e-5)
    assert torch.equal(RePaint(Iterate(3), 1)(reset, x1, y), x0)


def test_other_objectives_and_guidance_are_refused():
    x1, y = start()
    network = QDense(size=4, n_layers=1, n_classes=2)
    for name in set(OBJECTIVES) - {"step"}:
        denoiser = Denoiser(network, CosineSchedule(), name)
        with pytest.raises(HQDMError, match=f"the objective '{name}' does not predict the sample"):
            Iterate(2)(Clip(denoiser), x1, y)
    step = model()
    unguided = Denoiser(network, CosineSchedule(), "step")
    posterior = PosteriorSampling(unguided, torch.nn.Identity(), torch.zeros(SHAPE), 1.0)
    for guided in (ClassifierFreeGuidance(step, 2.0), posterior):
        for wrapped in (guided, Clip(guided)):
            with pytest.raises(HQDMError, match=f"{type(guided).__name__} predicts clean samples"):
                Iterate(2)(wrapped, x1, y)
    exact = GaussianDenoiser(torch.tensor(0.0), torch.tensor(1.0), CosineSchedule())
    with pytest.raises(HQDMError, match="leave guidance out"):
        Iterate(2)(exact, x1)
    with pytest.raises(HQDMError, match="iterate takes no grid: it takes steps"):
        build_sampler("iterate", grid="lambda")
    with pytest.raises(HQDMError, match="iterate cannot run from data to noise"):
        Iterate(2).encode(step, x1, y)


def test_the_sampler_during_training():
    sampler = usual_sampler(model(), 25)
    assert (type(sampler), sampler.steps) == (Iterate, 10)
    sampler = usual_sampler(Denoiser(Toy(), CosineSchedule(), "v"), 25)
    assert (type(sampler), sampler.steps) == (DDIM, 25)
