import pytest
import torch

from hqdm.diffusion.analytic import GaussianDenoiser, MixtureDenoiser
from hqdm.diffusion.schedule import CosineSchedule
from hqdm.samplers import AdaptiveDPMSolver
from hqdm.utils.errors import HQDMError


@pytest.fixture
def denoiser():
    w, m, v = torch.tensor([[0.4, 0.6], [-0.7, 0.5], [0.02, 0.03]]).double()
    return MixtureDenoiser(w, m, v, CosineSchedule())


X1 = torch.linspace(-2, 2, 8).double().view(8, 1, 1, 1)


@pytest.mark.parametrize("order", [2, 3])
def test_a_smaller_tolerance_costs_more_and_errs_less(denoiser, order):
    start, end = torch.tensor([1.0, 0.05]).double()
    exact = denoiser.flow(X1, start, end)
    errors, evaluations = [], []
    for tolerance in (1e-1, 1e-2, 1e-3, 1e-4):
        sampler = AdaptiveDPMSolver(tolerance, order, absolute=tolerance / 5)
        result = sampler.run(denoiser, X1, t_end=0.05)
        errors.append((result.x0 - exact).abs().max().item())
        evaluations.append(result.evaluations)
    assert evaluations == sorted(evaluations)
    assert evaluations[0] < evaluations[-1]
    for tolerance, error in zip((1e-1, 1e-2, 1e-3, 1e-4), errors, strict=True):
        assert error < 5 * tolerance  # the tolerance is of a step; there are up to a few dozen
    assert errors[-1] < errors[0] / 50


def test_steps_are_taken_back_where_the_flow_turns(denoiser):
    result = AdaptiveDPMSolver(1e-5, absolute=1e-6).run(denoiser, X1)
    assert result.rejected.shape == (8,)
    assert result.rejected.max() > 0
    assert result.x0.isfinite().all()


def test_images_do_not_see_each_other(denoiser):
    sampler = AdaptiveDPMSolver(1e-3)
    together = sampler(denoiser, X1)
    for i in range(len(X1)):
        torch.testing.assert_close(sampler(denoiser, X1[i : i + 1]), together[i : i + 1])


def test_precision_follows_the_images():
    denoiser = GaussianDenoiser(torch.tensor(0.2), torch.tensor(0.5), CosineSchedule())
    assert AdaptiveDPMSolver()(denoiser, X1.float()).dtype == torch.float32


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tolerance": 0}, "a tolerance needs more than 0, got 0"),
        ({"absolute": -1.0}, "a tolerance needs more than 0"),
        ({"order": 1}, "needs an order of 2, 3, got 1"),
    ],
)
def test_mistakes(options, message):
    with pytest.raises(HQDMError, match=message):
        AdaptiveDPMSolver(**options)


def test_an_impossible_tolerance_ends(denoiser, monkeypatch):
    monkeypatch.setattr("hqdm.samplers.adaptive.MAX_TRIALS", 20)
    with pytest.raises(HQDMError, match="tolerance 1e-12 was not met in 20 steps"):
        AdaptiveDPMSolver(1e-12, absolute=1e-14)(denoiser, X1)
