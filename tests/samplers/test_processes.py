"""Processes that are not variance-preserving: solved by those that can, refused by the others."""

import pytest
import torch
from marks import thinned
from networks import Toy

from hqdm.diffusion.analytic import GaussianDenoiser
from hqdm.diffusion.denoiser import Denoiser
from hqdm.diffusion.schedule import MixingSchedule, VarianceExplodingSchedule
from hqdm.generation.sampling import sample_images
from hqdm.nn.unet import UNet
from hqdm.samplers import SAMPLERS, UniPC, build_sampler
from hqdm.utils.errors import HQDMError

SCHEDULE = VarianceExplodingSchedule(20.0)
ASSUMING = ["heun", "rk4", "dpm-exact1", "dpm-exact2", "dpm-exact3"]
SOLVING = [
    name
    for name, entry in SAMPLERS.items()
    if entry.network and entry.objective is None
    if name not in ASSUMING and build_sampler(name).reversible
]


@pytest.fixture
def gaussian():
    mean, variance = torch.tensor([0.3, 0.25], dtype=torch.float64)
    return GaussianDenoiser(mean, variance, SCHEDULE)


@pytest.mark.parametrize("name", thinned(SOLVING, every=2))
def test_the_flow_of_gaussian_data_is_approached(gaussian, name):
    """Against the closed form; the error falls with more steps, by an order of 1 at least."""
    x1 = 20 * torch.linspace(-2, 2, 21, dtype=torch.float64).view(-1, 1, 1, 1)
    start, end = torch.tensor([1.0, 0.1], dtype=torch.float64)
    exact = gaussian.flow(x1, start, end)
    errors = [
        float((build_sampler(name, n).run(gaussian, x1, t_end=0.1).x0 - exact).abs().max())
        for n in (20, 40, 80)
    ]
    assert errors[2] < 0.05
    assert errors[2] < 0.6 * errors[1] < 0.36 * errors[0]


@pytest.mark.parametrize("name", ASSUMING)
def test_solvers_of_another_equation_refuse(gaussian, name):
    x = torch.zeros(2, 1, 2, 2)
    with pytest.raises(HQDMError, match=f"{name} solves variance-preserving processes only"):
        build_sampler(name, 3).run(gaussian, x)
    with pytest.raises(HQDMError, match="variance-preserving processes only"):
        build_sampler(name, 3).encode(gaussian, x)


def test_sampling_starts_from_noise_of_the_schedule_s_size():
    """Samples of an exact Gaussian denoiser have the mean and the variance of the data."""

    class Exact(Toy):
        sample_shape = (1, 16, 16)

        def forward(self, x_t, t, y=None):
            return GaussianDenoiser(torch.tensor(0.2), torch.tensor(0.01), SCHEDULE)(x_t, t).x0

    class Model(Exact):
        def __init__(self):
            super().__init__()
            self.place = torch.nn.Parameter(torch.zeros(1))  # says where the model is

    images = sample_images(Denoiser(Model(), SCHEDULE, "x0"), UniPC(120), 64).images
    # 16,384 numbers of deviation 0.1: standard errors of 0.0008 and, of the deviation, 0.6 %.
    assert float(images.mean()) == pytest.approx(0.2, abs=0.004)
    assert float(images.std()) == pytest.approx(0.1, rel=0.03)


@pytest.fixture
def exploding(tmp_path):
    """A saved, untrained model of an exploding variance."""
    network = UNet(size=8, dim=4, mults=(1,), heads=1, head_dim=4)
    Denoiser(network, VarianceExplodingSchedule(7.0), "edm").save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_a_grid_is_fitted_to_noise_of_the_schedule_s_size(exploding, hqdm, monkeypatch, tmp_path):
    seen = []

    def record(denoiser, name, steps, x1, held_out, **options):
        seen.extend([x1, held_out])
        raise HQDMError("seen")

    monkeypatch.setattr("hqdm.samplers.optimised.optimise_grid", record)
    grid = ("--n", 32, "--out", tmp_path / "grid.json")
    assert hqdm("optimise-grid", "--checkpoint", exploding, *grid).code == 2
    # 2,048 numbers each: a standard error of 1.6 %.
    assert [float(noise.std()) for noise in seen] == pytest.approx([7.0, 7.0], rel=0.06)


def test_a_polynomial_is_not_fitted_to_an_exploding_variance(exploding, refused):
    fit = ("carleman", "fit", "--checkpoint", exploding, "--data", "digits")
    assert "needs a variance-preserving process" in refused(*fit)


@pytest.mark.parametrize("name", [name for name in SOLVING if name not in ("ddim",)])
def test_solvers_in_lambda_refuse_noise_alone(name):
    """lambda = log(alpha / sigma) is infinite at t = 1 of the mixing process."""
    denoiser = Denoiser(Toy(), MixingSchedule(), "x0")
    with pytest.raises(HQDMError, match="lambda .* is infinite at t = 1 of MixingSchedule"):
        build_sampler(name, 3).run(denoiser, torch.zeros(2, 1, 2, 2))


@pytest.mark.parametrize("name", ["ddim", "ddpm"])
def test_samplers_in_time_start_from_noise_alone(name):
    """A network that knows the data: all steps lead there."""

    class Knowing(Toy):
        def forward(self, x_t, t, y=None):
            return torch.full_like(x_t, 0.3)

    denoiser = Denoiser(Knowing(), MixingSchedule(), "x0")
    x0 = build_sampler(name, 5)(denoiser, 0.4 * torch.randn(3, 1, 2, 2))
    torch.testing.assert_close(x0, torch.full_like(x0, 0.3))
