"""Objectives: round trips in any process, closed forms, weights, configurations."""

from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from networks import Toy

from hqdm.diffusion.denoiser import Denoiser
from hqdm.diffusion.objective import (
    EDM,
    OBJECTIVES,
    P2,
    X0,
    Eps,
    Levels,
    MinSNR,
    Objective,
    StepBack,
    Uniform,
    V,
    build_objective,
    objective_config,
    register_objective,
)
from hqdm.diffusion.schedule import (
    CosineSchedule,
    LinearSchedule,
    MixingSchedule,
    VarianceExplodingSchedule,
)
from hqdm.utils.errors import HQDMError

SCHEDULES = [CosineSchedule(), LinearSchedule(), VarianceExplodingSchedule(5.0)]
STEPS_BACK = [StepBack(), StepBack(steps=3), StepBack(output="noise")]
EVERY = [Eps(), X0(), V(), EDM(), EDM(sigma_data=2.0), *STEPS_BACK]
PROCESSES = [
    *((objective, schedule) for objective in EVERY for schedule in SCHEDULES),
    *((objective, MixingSchedule()) for objective in EVERY if not objective.divides_by_alpha),
]
in_every_process = pytest.mark.parametrize(("objective", "schedule"), PROCESSES, ids=str)


def draw(schedule, times=(0.05, 0.3, 0.7, 1.0)):
    x0, eps = torch.randn(2, len(times), 1, 3, 3, dtype=torch.float64)
    levels = Levels.at(schedule, torch.tensor(times, dtype=torch.float64), x0)
    return x0, eps, levels, levels.alpha * x0 + levels.sigma * eps


@in_every_process
def test_the_target_gives_the_clean_samples_and_the_noise_back(objective, schedule):
    """In float64; errors are magnified by 1 / alpha and 1 / sigma, up to 1e5 here."""
    x0, eps, levels, x_t = draw(schedule)
    prediction = objective.prediction(x_t, objective.target(x0, eps, levels), levels)
    torch.testing.assert_close(prediction.x0, x0, rtol=0, atol=1e-9)
    torch.testing.assert_close(prediction.eps, eps, rtol=0, atol=1e-9)


@in_every_process
def test_any_output_keeps_the_sum(objective, schedule):
    """x_t = alpha x0 + sigma eps, whatever the network says."""
    _, _, levels, x_t = draw(schedule)
    prediction = objective.prediction(x_t, torch.randn_like(x_t), levels)
    total = levels.alpha * prediction.x0 + levels.sigma * prediction.eps
    torch.testing.assert_close(total, x_t, rtol=1e-9, atol=1e-9)


@in_every_process
def test_the_slope_is_the_derivative_of_the_target(objective, schedule):
    """By automatic differentiation at fixed x_t."""
    x0, _, levels, x_t = draw(schedule)
    x0.requires_grad_()
    target = objective.target(x0, (x_t - levels.alpha * x0) / levels.sigma, levels)
    (slope,) = torch.autograd.grad(target.sum(), x0)
    torch.testing.assert_close(objective.slope(levels).expand_as(slope), slope, rtol=1e-9, atol=0)


def test_edm_with_unit_data_is_minus_v_where_variance_is_preserved():
    """c_skip = alpha^2, c_out = sigma and c_in x_t / alpha = x_t there, so F = -v."""
    x0, eps, levels, x_t = draw(CosineSchedule())
    edm = EDM(sigma_data=1.0)
    torch.testing.assert_close(edm.target(x0, eps, levels), -V().target(x0, eps, levels))
    torch.testing.assert_close(edm.network_input(x_t, levels), x_t)


def test_edm_scales_inputs_and_targets_to_unit_variance():
    """For data of standard deviation sigma_data; 40,000 numbers have a standard error of 0.7 %."""
    schedule, d = VarianceExplodingSchedule(20.0), 0.5
    x0, eps = torch.randn(2, 40_000, 1, 1, 1, dtype=torch.float64)
    x0 = d * x0
    for t in (0.1, 0.5, 1.0):
        levels = Levels.at(schedule, torch.full((40_000,), t, dtype=torch.float64), x0)
        edm = EDM(sigma_data=d)
        x_t = levels.alpha * x0 + levels.sigma * eps
        assert edm.network_input(x_t, levels).var() == pytest.approx(1, abs=0.03)
        assert edm.target(x0, eps, levels).var() == pytest.approx(1, abs=0.03)


def test_one_step_back_ends_in_the_data():
    x0, eps, levels, _ = draw(CosineSchedule(), times=(0.1, 0.02))
    torch.testing.assert_close(StepBack(steps=10).target(x0, eps, levels), x0, atol=1e-7, rtol=0)


@given(snr=st.floats(1e-4, 1e4), gamma=st.floats(0.1, 20))
def test_min_snr_weights_are_those_of_the_paper(snr, gamma):
    """Hang et al. 2023: min(SNR, gamma) on x_0, / SNR on eps, / (SNR + 1) on v."""
    alpha, sigma = (snr / (1 + snr)) ** 0.5, (1 / (1 + snr)) ** 0.5
    one = torch.tensor([1.0], dtype=torch.float64).view(1, 1, 1, 1)
    levels = Levels(CosineSchedule(), one.flatten(), alpha * one, sigma * one)
    weight, capped = MinSNR(gamma=gamma), min(snr, gamma)
    for objective, expected in (
        (X0(), capped),
        (Eps(), capped / snr),
        (V(), capped / (snr + 1)),
    ):
        assert float(weight(objective, levels)) == pytest.approx(expected, rel=1e-9)


def test_the_loss_is_weighted_and_averaged():
    x0, eps, levels, _ = draw(LinearSchedule())
    output = torch.randn_like(x0)
    error = output - levels.alpha * eps + levels.sigma * x0
    assert float(V(weight=Uniform()).loss_of(output, x0, eps, levels)) == pytest.approx(
        float(error.square().mean())
    )
    by_hand = ((2 + levels.snr) ** -0.5 * error.abs()).mean()
    own = V(loss="l1", weight=P2(gamma=0.5, k=2.0))
    assert float(own.loss_of(output, x0, eps, levels)) == pytest.approx(float(by_hand))


@pytest.mark.parametrize(
    "objective",
    [
        *EVERY,
        V(loss="l1", weight=MinSNR(3.0)),
        X0(weight=Uniform()),
        StepBack(clamp=True, pairs=True, factor=2.5),
    ],
    ids=str,
)
def test_configurations_rebuild_objectives(objective):
    assert build_objective(objective_config(objective)) == objective


def test_an_objective_of_ones_own_trains(monkeypatch):
    monkeypatch.setattr(OBJECTIVES, "_entries", dict(OBJECTIVES))

    @register_objective
    @dataclass(frozen=True, kw_only=True)
    class Half(Eps):
        """Half of the noise."""

        name = "half"

        def target(self, x0, eps, levels):
            return eps / 2

        def prediction(self, x_t, output, levels):
            return super().prediction(x_t, 2 * output, levels)

    objective = build_objective({"name": "half", "weight": {"name": "uniform"}})
    denoiser = Denoiser(Toy(), CosineSchedule(), objective)
    x0, eps = torch.zeros(2, 1, 2, 2), torch.ones(2, 1, 2, 2)
    t = torch.ones(2)
    sigma = CosineSchedule()(t)[1][0]
    loss = denoiser.loss(x0, t=t, eps=eps)  # the network returns x_t = sigma eps
    assert float(loss) == pytest.approx(float((sigma - 0.5) ** 2), rel=1e-5)
    assert objective_config(objective)["name"] == "half"


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: Eps(loss="l3"), "unknown loss 'l3'"),
        (lambda: P2(gamma=-1), "gamma >= 0"),
        (lambda: P2(k=0), "k > 0"),
        (lambda: MinSNR(gamma=0), "gamma > 0"),
        (lambda: EDM(sigma_data=0), "sigma_data > 0"),
        (lambda: P2(k=float("inf")), "k > 0"),
        (lambda: EDM(sigma_data=float("inf")), "sigma_data > 0"),
        (lambda: StepBack(steps=2.5), "1 step or more"),
        (lambda: StepBack(steps=float("nan")), "1 step or more"),
        (lambda: StepBack(steps=0), "1 step or more"),
        (lambda: StepBack(output="date"), "unknown output of the objective 'step' 'date'.*'data'"),
        (lambda: StepBack(factor=0), "factor > 0"),
        (lambda: build_objective({"name": "step", "clamp": 1}), "objective.clamp: expected true"),
        (lambda: build_objective({"name": "step", "output": 1}), "objective.output: expected data"),
        (lambda: build_objective({"name": "esp"}), "unknown objective 'esp'.*did you mean 'eps'"),
        (lambda: build_objective({"name": "eps", "steps": 3}), "unknown option of the objective"),
        (lambda: build_objective({"name": "v", "weight": {"name": "p3"}}), "unknown weight"),
        (
            lambda: build_objective({"name": "v", "weight": {"name": "p2", "g": 1}}),
            "unknown option of the weight 'p2' 'g': expected one of gamma, k",
        ),
    ],
)
def test_bad_objectives_are_refused(build, said):
    with pytest.raises(HQDMError, match=said):
        build()


def test_an_objective_without_a_name_is_not_saved():
    @dataclass(frozen=True, kw_only=True)
    class Nameless(Eps):
        pass

    assert isinstance(Nameless(), Objective)
    with pytest.raises(HQDMError, match="register_objective"):
        objective_config(Nameless())


def published_pairs(pixels, z, tau):
    """The paper's process in pixels, step by step: x_tau, ..., x_0 of each image."""
    noise = 0.5 + 0.2 * z
    weights = [(i / tau) ** 3 for i in range(tau + 1)]
    return [((1 - w) * pixels + w * noise).clamp(0, 1) for w in weights]


@pytest.mark.parametrize("output", ["data", "noise"])
def test_pairs_of_the_published_process(output):
    """Network inputs and targets of all steps of an image, which share one draw of the noise."""
    tau, n = 10, 3
    pixels, z = torch.rand(n, 1, 2, 2).double(), 3 * torch.randn(n, 1, 2, 2).double()
    chain = torch.stack(published_pairs(pixels, z, tau), 1)  # (n, tau + 1, ...)
    later, earlier = chain[:, 1:].flatten(0, 1), chain[:, :-1].flatten(0, 1)
    objective = StepBack(steps=tau, output=output, clamp=True, pairs=True)
    y, t = torch.arange(n), torch.rand(n).double()
    x0, labels, times, eps = objective.batch(2 * pixels - 1, y, t, z)
    assert labels.tolist() == [i for i in range(n) for _ in range(tau)]
    levels = Levels.at(MixingSchedule(), times, x0)
    x_t = objective.network_input(levels.alpha * x0 + levels.sigma * eps, levels)
    torch.testing.assert_close((x_t + 1) / 2, later, rtol=0, atol=1e-14)
    target = objective.target(x0, eps, levels)
    o = (target + 1) / 2  # as a network of pixels in [0, 1] would give it
    if output == "data":
        torch.testing.assert_close(o, earlier, rtol=0, atol=1e-14)
    else:
        torch.testing.assert_close((o - 0.5) * 0.1, later - earlier, rtol=0, atol=1e-14)
    # A perfect network takes x_t to x_s.
    back = objective.previous(x_t, target)
    torch.testing.assert_close((back + 1) / 2, earlier, rtol=0, atol=1e-14)


def test_the_factor_lengthens_the_step_of_the_noise_only():
    x_t, output = torch.tensor([0.2, 0.9]), torch.tensor([1.0, -2.0])
    noise = StepBack(output="noise", clamp=True, factor=3.0)
    torch.testing.assert_close(noise.previous(x_t, output), torch.tensor([-0.1, 1.0]))
    data = StepBack(factor=3.0)
    assert torch.equal(data.previous(x_t, output), output)


def test_without_pairs_a_batch_is_left_alone():
    x0, eps, t, y = torch.rand(2, 1, 2, 2), torch.rand(2, 1, 2, 2), torch.rand(2), None
    for objective in EVERY:
        batch = objective.batch(x0, y, t, eps)
        assert all(a is b for a, b in zip(batch, (x0, y, t, eps), strict=True))


def test_only_one_step_back_has_a_previous_sample():
    for objective in EVERY:
        if not isinstance(objective, StepBack):
            with pytest.raises(HQDMError, match=f"{objective.name!r} does not predict the sample"):
                objective.previous(torch.zeros(1), torch.zeros(1))


@pytest.mark.parametrize(("loss", "power"), [("mse", 2), ("l1", 1)])
def test_the_loss_of_complex_outputs_is_that_of_their_modulus(loss, power):
    x0, eps, levels, _ = draw(CosineSchedule())
    output = torch.randn(*x0.shape, dtype=torch.complex128, requires_grad=True)
    objective = StepBack(loss=loss, weight=Uniform())
    error = output - objective.target(x0, eps, levels)
    expected = (error.real**2 + error.imag**2) ** (power / 2)
    found = objective.loss_of(output, x0, eps, levels)
    torch.testing.assert_close(found, expected.mean())
    ours, theirs = (torch.autograd.grad(of, output) for of in (found, expected.mean()))
    torch.testing.assert_close(ours, theirs)


def test_pairs_keep_the_label_of_their_image():
    x0 = torch.arange(3.0)[:, None, None, None]
    batch = StepBack(steps=4, pairs=True).batch(x0, torch.arange(3), torch.rand(3), x0)
    assert batch.y.tolist() == batch.x0.flatten().tolist() == [0] * 4 + [1] * 4 + [2] * 4
