"""The noise schedules against their definitions and their inverses."""

import math
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq

from hqdm.diffusion.schedule import (
    SCHEDULES as REGISTERED,
)
from hqdm.diffusion.schedule import (
    CosineSchedule,
    LinearSchedule,
    MixingSchedule,
    Schedule,
    VarianceExplodingSchedule,
    build_schedule,
    register_schedule,
    schedule_config,
)
from hqdm.utils.errors import HQDMError

SCHEDULES = [CosineSchedule(), CosineSchedule(s=0.0, lam_min=-4.0), LinearSchedule()]


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_variance_is_preserved_and_ends_are_data_and_noise(schedule):
    t = torch.linspace(0, 1, 1001, dtype=torch.float64)
    alpha, sigma = schedule(t)
    # Two roundings of a sum of squares near one.
    torch.testing.assert_close(alpha**2 + sigma**2, torch.ones_like(t), rtol=0, atol=1e-14)
    assert alpha[0] == 1
    assert sigma[0] == 0
    assert alpha[-1] < 0.03
    assert (schedule.lam(t[1:]).diff() < 0).all()


@pytest.mark.parametrize("schedule", SCHEDULES)
@settings(deadline=None, max_examples=200)
@given(t=st.floats(1e-4, 1.0))
def test_inverse_undoes_lambda(schedule, t):
    t = torch.tensor(t, dtype=torch.float64)
    # At t >= 1e-4 the slope d lambda / dt is at most 1e4, so rounding costs about 1e-12.
    torch.testing.assert_close(schedule.inverse(schedule.lam(t)), t, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_infinite_lambda_is_the_data_end(schedule):
    lam = torch.tensor(math.inf, dtype=torch.float64)
    assert schedule.inverse(lam).abs() < 1e-15
    assert schedule.lam(torch.zeros((), dtype=torch.float64)) == math.inf


@pytest.mark.parametrize(
    ("schedule", "s", "lam_min"),
    [(CosineSchedule(), 0.008, -6.0), (CosineSchedule(s=0.1, lam_min=-3.0), 0.1, -3.0)],
    ids=["default", "other"],
)
def test_cosine_follows_the_published_curve(schedule, s, lam_min):
    """Nichol and Dhariwal, eq. 17, as far as alpha^2 / sigma^2 = exp(2 lam_min), found by search.

    By default with their offset of 0.008, and to a half log-SNR of -6.
    """

    def alpha_squared(u):
        f = [math.cos((v + s) / (1 + s) * math.pi / 2) ** 2 for v in (u, 0)]
        return f[0] / f[1]

    def excess(u):
        return alpha_squared(u) - 1 / (1 + math.exp(-2 * lam_min))

    end = brentq(excess, 0.5, 1.0, xtol=1e-15)
    t = torch.linspace(0, 1, 101, dtype=torch.float64)
    expected = torch.tensor([alpha_squared(end * float(u)) for u in t], dtype=torch.float64)
    # At the end alpha^2 is 6e-6, and its slope 0.01: an error of 1e-15 in the end of the curve
    # is a relative one of 1e-12.
    torch.testing.assert_close(schedule(t)[0] ** 2, expected, rtol=1e-11, atol=0)
    torch.testing.assert_close(schedule.lam(t)[-1].item(), lam_min, rtol=1e-9, atol=0)


def test_the_other_defaults_are_the_published_ones():
    """Song et al. 2021: beta from 0.1 to 20, so alpha_1 = exp(-5.025); Karras et al.: sigma 80."""
    alpha, _ = LinearSchedule()(torch.tensor([0.5, 1.0]).double())
    expected = torch.tensor([-1.26875, -5.025], dtype=torch.float64)
    torch.testing.assert_close(alpha.log(), expected, rtol=1e-12, atol=0)
    _, sigma = VarianceExplodingSchedule()(torch.tensor([0.5, 1.0]).double())
    torch.testing.assert_close(sigma, torch.tensor([10.0, 80.0]).double())


def test_linear_solves_its_differential_equation():
    """d log alpha / dt = -beta(t) / 2, by automatic differentiation."""
    schedule = LinearSchedule(0.2, 15.0)
    t = torch.linspace(0, 1, 50, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(schedule(t)[0].log().sum(), t)
    beta = 0.2 + t.detach() * 14.8
    torch.testing.assert_close(slope, -beta / 2, rtol=1e-12, atol=0)


def test_small_noise_has_full_relative_precision():
    """Near t = 0 sigma is small; float32 must keep it to a few ulp, not to 1e-7 absolute."""
    for schedule in SCHEDULES:
        t = torch.tensor([1e-6, 1e-4, 1e-2])
        exact = schedule(t.double())[1]
        torch.testing.assert_close(schedule(t)[1].double(), exact, rtol=1e-5, atol=0)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_configuration_round_trip(schedule):
    assert build_schedule(**schedule_config(schedule)) == schedule


def test_bad_input_is_named():
    with pytest.raises(HQDMError, match="unknown schedule 'cosin'.*did you mean 'cosine'"):
        build_schedule("cosin")
    with pytest.raises(HQDMError, match="unknown option of the schedule 'cosine' 'beta'"):
        build_schedule("cosine", beta=1.0)
    with pytest.raises(HQDMError, match="beta_0 < beta_1"):
        LinearSchedule(1.0, 0.5)
    with pytest.raises(HQDMError, match=r"s in \[0, 1\)"):
        CosineSchedule(s=1.5)


EXPLODING = [VarianceExplodingSchedule(), VarianceExplodingSchedule(5.0, rho=1.0)]


@pytest.mark.parametrize("schedule", EXPLODING)
def test_an_exploding_variance_keeps_the_signal(schedule):
    t = torch.linspace(0, 1, 101, dtype=torch.float64)
    alpha, sigma = schedule(t)
    assert (alpha == 1).all()
    assert sigma[0] == 0
    torch.testing.assert_close(sigma, schedule.sigma_max * t**schedule.rho)
    torch.testing.assert_close(schedule.inverse(schedule.lam(t[1:])), t[1:], rtol=1e-12, atol=0)
    assert schedule.inverse(torch.tensor(math.inf)) == 0


def test_schedules_know_whether_they_preserve_variance():
    assert all(schedule.variance_preserving for schedule in SCHEDULES)
    assert not any(schedule.variance_preserving for schedule in EXPLODING)
    assert CosineSchedule().prior_std == 1
    assert VarianceExplodingSchedule(7.0).prior_std == pytest.approx(7)


def test_a_schedule_of_a_user_has_a_name(monkeypatch):
    monkeypatch.setattr(REGISTERED, "_entries", dict(REGISTERED))

    @register_schedule("straight")
    @dataclass(frozen=True)
    class Straight(Schedule):
        """alpha = 1 - c t, sigma = c t: a straight line, not variance-preserving."""

        c: float = 0.99

        def __call__(self, t):
            return 1 - self.c * t, self.c * t

        def inverse(self, lam):
            return torch.sigmoid(-lam) / self.c

    schedule = build_schedule("straight", c=0.9)
    assert not schedule.variance_preserving
    assert build_schedule(**schedule_config(schedule)) == schedule
    t = torch.linspace(0.1, 1, 5, dtype=torch.float64)
    torch.testing.assert_close(schedule.inverse(schedule.lam(t)), t)


@pytest.mark.parametrize("options", [{"sigma_max": 0}, {"rho": -1}])
def test_an_exploding_variance_increases(options):
    with pytest.raises(HQDMError, match="sigma_max > 0 and rho > 0"):
        VarianceExplodingSchedule(**options)


@pytest.mark.parametrize("lam_min", [1e30, -1e30, float("nan"), float("-inf"), 0.0, -20.1])
def test_a_cosine_schedule_without_noise_or_signal_at_t_1_is_refused(lam_min):
    with pytest.raises(HQDMError, match=r"needs lam_min in \[-20.0, 0\), got"):
        CosineSchedule(lam_min=lam_min)


def test_a_cosine_schedule_may_end_at_the_least_lambda():
    """alpha_1 = exp(-20) there: small, with all its digits."""
    end = torch.ones((), dtype=torch.float64)
    # Rounding of phi_1 near pi / 2, 1e-16, relative to 2e-9.
    assert CosineSchedule(lam_min=-20.0)(end)[0].item() == pytest.approx(math.exp(-20), rel=1e-6)


def test_infinite_rates_are_refused():
    with pytest.raises(HQDMError, match="beta_1 < infinity"):
        LinearSchedule(0.1, float("inf"))


MIXING = [MixingSchedule(), MixingSchedule(power=1.0, std=2.0)]


def test_mixing_is_the_published_process():
    """In pixels: x_i = (1 - w) x + w e, w = (i / tau)^3, e from N(0.5, 0.2^2)."""
    tau, pixels, z = 10, torch.rand(20).double(), torch.randn(20).double()
    noise = 0.5 + 0.2 * z
    for i in range(tau + 1):
        w = (i / tau) ** 3
        alpha, sigma = MixingSchedule()(torch.tensor(i / tau, dtype=torch.float64))
        x_t = alpha * (2 * pixels - 1) + sigma * z
        torch.testing.assert_close((x_t + 1) / 2, (1 - w) * pixels + w * noise, rtol=0, atol=1e-14)
    assert MixingSchedule().prior_std == pytest.approx(0.4, rel=1e-12)


@pytest.mark.parametrize("schedule", MIXING)
def test_mixing_ends_in_noise_alone(schedule):
    t = torch.linspace(0.01, 0.99, 99, dtype=torch.float64)
    torch.testing.assert_close(schedule.inverse(schedule.lam(t)), t, rtol=1e-10, atol=0)
    ends = schedule.inverse(torch.tensor([math.inf, -math.inf]))
    assert ends.tolist() == [0, 1]
    assert build_schedule(**schedule_config(schedule)) == schedule
    assert schedule.pure_noise
    assert not schedule.variance_preserving
    assert not any(other.pure_noise for other in (*SCHEDULES, *EXPLODING))
    with pytest.raises(HQDMError, match="lambda .* is infinite at t = 1 of MixingSchedule"):
        schedule.lam(torch.tensor([0.5, 1.0]))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"power": 0}, "power > 0 and std > 0, got 0, 0.4"),
        ({"std": -1}, "power > 0 and std > 0, got 3.0, -1"),
        ({"std": math.inf}, "std needs a finite number, got inf"),
        ({"power": "3"}, "power needs a finite number, got '3'"),
        ({"power": None}, "power needs a finite number, got None"),
    ],
)
def test_mixing_needs_noise(options, said):
    with pytest.raises(HQDMError, match=said):
        MixingSchedule(**options)
