"""Adaptive DPM-Solver against a flow in closed form, and against the published algorithm."""

import numpy as np
import pytest
import torch
from scipy.special import expit

from hqdm.diffusion.analytic import GaussianDenoiser, MixtureDenoiser
from hqdm.diffusion.objective import Prediction
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


@pytest.mark.parametrize("order", [2, 3])
def test_the_tolerance_alone_reaches_any_accuracy(denoiser, order):
    """The absolute tolerance follows the relative one, and is one grey level at its default."""
    start, end = torch.tensor([1.0, 0.05]).double()
    exact = denoiser.flow(X1, start, end)
    errors = []
    for tolerance in (2e-3, 2e-4, 2e-5):
        result = AdaptiveDPMSolver(tolerance, order).run(denoiser, X1, t_end=0.05)
        errors.append((result.x0 - exact).abs().max().item())
    assert errors[1] < errors[0] / 3
    assert errors[2] < errors[1] / 3
    assert AdaptiveDPMSolver().absolute == pytest.approx(0.0078)


def test_steps_are_taken_back_where_the_flow_turns(denoiser):
    result = AdaptiveDPMSolver(1e-5, absolute=1e-6).run(denoiser, X1)
    assert result.rejected.shape == (8,)
    assert result.rejected.max() > 0
    assert result.x0.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_network_sees_its_own_precision(denoiser, dtype):
    """The solver computes in float64 whatever that is."""
    seen = set()

    class Watched:
        schedule = denoiser.schedule

        def __call__(self, x_t, t, y=None):
            seen.add(x_t.dtype)
            return Prediction(*(part.to(x_t.dtype) for part in denoiser(x_t, t, y)))

    result = AdaptiveDPMSolver(1e-1).run(Watched(), X1.to(dtype))
    assert seen == {dtype}
    assert result.x0.dtype == dtype


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


@pytest.mark.parametrize(
    ("dtype", "tolerance", "refused"),
    [
        (torch.float32, 1e-30, "below the rounding error of the images, 1.2e-07 (float32)"),
        (torch.float64, 1e-30, "below the rounding error of the images, 2.2e-16 (float64)"),
        (torch.float32, 1e-8, "below the rounding error"),
        (torch.float64, 1e-8, ""),
    ],
)
def test_a_tolerance_below_rounding_is_refused_before_any_evaluation(
    denoiser, monkeypatch, dtype, tolerance, refused
):
    monkeypatch.setattr("hqdm.samplers.adaptive.MAX_TRIALS", 0)
    recording = Recording(denoiser)
    with pytest.raises(HQDMError) as error:
        AdaptiveDPMSolver(tolerance)(recording, X1[:1].to(dtype))
    assert (refused or "was not met in 0 steps") in str(error.value)
    assert recording.seen == []


def solve(order, x, lam, end, tolerance, absolute, eps_of):
    """DPM-Solver-12 or -23 with adaptive steps, for one image (Lu et al. 2022, appendix C).

    Returns its end and the half log-SNR of every evaluation.
    """

    def levels(at):
        return np.sqrt(expit(2 * at)), np.sqrt(expit(-2 * at))

    def evaluate(x, at):
        seen.append(at)
        return eps_of(x, at)

    h, before, seen = 0.05, x, []
    while end - lam > 1e-9:
        h = min(h, end - lam)
        (alpha, _), (alpha_end, sigma_end) = levels(lam), levels(lam + h)
        eps = evaluate(x, lam)
        r1 = 1 / order
        alpha_1, sigma_1 = levels(lam + r1 * h)
        u = alpha_1 / alpha * x - sigma_1 * np.expm1(r1 * h) * eps
        change = evaluate(u, lam + r1 * h) - eps
        first = alpha_end / alpha * x - sigma_end * np.expm1(h) * eps
        second = first - sigma_end / (2 * r1) * np.expm1(h) * change
        low, high = first, second
        if order == 3:
            r2 = 2 / 3
            alpha_2, sigma_2 = levels(lam + r2 * h)
            u = alpha_2 / alpha * x - sigma_2 * np.expm1(r2 * h) * eps
            u = u - sigma_2 * r2 / r1 * (np.expm1(r2 * h) / (r2 * h) - 1) * change
            change = evaluate(u, lam + r2 * h) - eps
            low, high = second, first - sigma_end / r2 * (np.expm1(h) / h - 1) * change
        scale = np.maximum(absolute, tolerance * np.maximum(abs(low), abs(before)))
        error = np.sqrt(np.mean(((low - high) / scale) ** 2))
        if error <= 1:
            x, before, lam = high, low, lam + h
        h = h * np.clip(0.9 * error ** (-1 / order), 0.2, 5)
    return x, np.array(seen)


class Recording:
    """A denoiser that notes the half log-SNR of every evaluation of its only image."""

    def __init__(self, denoiser):
        self.denoiser, self.schedule, self.seen = denoiser, denoiser.schedule, []

    def __call__(self, x_t, t, y=None):
        self.seen.append(float(self.schedule.lam(t)))
        return self.denoiser(x_t, t, y)


@pytest.mark.parametrize("order", [2, 3])
@pytest.mark.parametrize("start", [-3.0, 2.5])
def test_steps_are_those_of_the_published_algorithm(denoiser, order, start):
    """All sizes, the steps that are taken back, and the end.

    The pixels shrink on the way, so that |x_before| decides the scale of the error, and the
    absolute tolerance is small enough to leave it to do so.
    """
    tolerance, absolute, t_end = 1e-3, 1e-5, 0.05
    x = start * torch.tensor([1.0, 0.4, -0.8, 0.2]).double().view(1, 1, 2, 2)
    recording = Recording(denoiser)
    result = AdaptiveDPMSolver(tolerance, order, absolute).run(recording, x, t_end=t_end)

    def eps_of(image, lam):
        t = denoiser.schedule.inverse(torch.tensor([lam]).double())
        return denoiser(torch.from_numpy(image), t).eps.numpy()

    ends = denoiser.schedule.lam(torch.tensor([1.0, t_end]).double()).tolist()
    expected, seen = solve(order, x.numpy(), *ends, tolerance, absolute, eps_of)
    assert result.rejected.item() > 0
    assert result.evaluations == len(seen)
    # Where noise is nearly all, the error is a difference of images that agree in many digits:
    # rounding reaches the steps as 1e-8, and the end as their error times that.
    np.testing.assert_allclose(recording.seen, seen, rtol=0, atol=1e-7)
    np.testing.assert_allclose(result.x0, expected, rtol=0, atol=1e-7)
