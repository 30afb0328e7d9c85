"""The analysis of a Carleman sampler, each figure against another way to it."""

import json
import warnings
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.linalg import expm
from scipy.special import expit
from torch import nn

from hqdm.carleman.analysis import integrate, relative_errors
from hqdm.carleman.qlss.history import block_system
from hqdm.data.images import load_images
from hqdm.diffusion.analytic import GaussianDenoiser
from hqdm.diffusion.loading import load_denoiser
from hqdm.diffusion.schedule import CosineSchedule, schedule_config
from hqdm.samplers import UniPC
from hqdm.samplers.grids import T_CUT
from hqdm.surrogate.analysis import (
    Analysis,
    Flows,
    analyse,
    chain_errors,
    energies,
    even_edges,
    propagate,
    segment_facts,
    solve_flows,
    spread,
    truncation_errors,
)
from hqdm.surrogate.fit import CarlemanFit, fit_carleman
from hqdm.surrogate.latents import Latents
from hqdm.surrogate.noise_polynomial import DiffusionDrift, gaussian_noise
from hqdm.surrogate.sampler import Carleman
from hqdm.utils.errors import HQDMError
from hqdm.utils.seeds import ImageNoise

SPREAD, MEAN, SCALE = np.array([0.8, 0.5, 0.2, 0.1]), np.array([0.4, -0.3, 0.2, 0.1]), 1.1
SCHEDULE = CosineSchedule()
LAST = float(SCHEDULE.lam(torch.tensor(T_CUT, dtype=torch.float64)))
OPTIONS = Analysis("model", orders=(2, 3), segments=(2, 4, 8), order=3, n=40, network_n=6)


@pytest.fixture(scope="module")
def trained_fit(trained):
    """A tiny model and a quadratic fit of 2 latents to its data."""
    denoiser = load_denoiser(trained / "last.ckpt")
    images = load_images("digits", "train").images
    return denoiser, fit_carleman(
        denoiser, images, 2, 2, target="noise", samples=2000, nodes=12, seed=3
    )


@pytest.fixture(scope="module")
def report(trained_fit):
    return analyse(*trained_fit, OPTIONS)


@pytest.fixture(scope="module")
def gaussian():
    """A fit that is exact for Gaussian data in 2 latents, and 3,000 of those data."""
    latents = Latents(MEAN, np.eye(4), SPREAD**2, dim=2, scale=SCALE)
    nodes = np.linspace(latents.time(-6), latents.time(LAST), 401)
    deviations = SPREAD[:2] / SCALE
    points = np.random.default_rng(5).normal(size=(3000, 2)) * deviations
    record = {"schedule": schedule_config(SCHEDULE), "seed": 0, "model": "none"}
    noise = gaussian_noise(nodes, deviations**2)
    return CarlemanFit(latents, noise, np.ones(401), points, record)


class ExactModel(nn.Module):
    """The denoiser of the same data, images of 2 by 2 pixels."""

    schedule, sample_shape, n_classes = SCHEDULE, (1, 2, 2), None

    def __init__(self):
        super().__init__()
        self.device = nn.Parameter(torch.zeros(1))
        mean, variance = (torch.tensor(v).float().reshape(1, 2, 2) for v in (MEAN, SPREAD**2))
        self.exact = GaussianDenoiser(mean, variance, SCHEDULE)

    def forward(self, x_t, t, y=None):
        return self.exact(x_t, t)


def flows_of(fit, n=50, segments=2):
    """Flows without a network, whose place the polynomial equation takes."""
    path = [np.random.default_rng(0).normal(size=(n, fit.latents.dim))]
    edges = even_edges(fit, segments)
    for a, b in pairwise(edges):
        path.append(integrate(DiffusionDrift(fit.noise), path[-1], a, b))
    return Flows(path, path[-1])


def test_errors_without_bounds_are_named():
    assert spread([0.1, 0.2, 0.3]) == {"median": pytest.approx(0.2), "q95": pytest.approx(0.3)}
    assert spread([0.1, 0.2, np.inf]) == {"median": pytest.approx(0.2), "q95": None}
    assert spread([np.nan, np.nan, 1]) == {"median": None, "q95": None}


def test_latents_are_standard_normal_where_images_are_noise(trained_fit):
    denoiser, fit = trained_fit
    z = fit.latents_of(ImageNoise(0, 4000).draw(denoiser.sample_shape), -6.0)
    # alpha is 0.0025 there; a mean over 4,000 draws is known to 0.016
    np.testing.assert_allclose(z.mean(0), 0, atol=0.06)
    np.testing.assert_allclose(np.cov(z.T), np.eye(2), atol=0.1)


def test_both_flows_of_gaussian_data_are_the_exact_one(gaussian):
    flows = solve_flows(ExactModel(), gaussian, replace(OPTIONS, n=50, network_n=20))
    x1 = ImageNoise(0, 50).draw((1, 2, 2)).double()
    ends = (torch.tensor(t, dtype=torch.float64) for t in (1.0, T_CUT))
    expected = gaussian.latents_of(ExactModel().exact.flow(x1, *ends), LAST)
    # UniPC-2 in steps of 0.1: half of them would leave four times this error
    np.testing.assert_allclose(flows.network, expected[:20], atol=4e-4)
    np.testing.assert_allclose(flows.polynomial, expected, atol=1e-6)
    assert len(flows.path) == 9


def test_a_perfect_fit_leaves_small_errors_only(gaussian):
    options = replace(OPTIONS, orders=(1,), segments=(4,), order=1)
    found = analyse(ExactModel(), gaussian, options)
    assert found["polynomial"]["q95"] < 1e-3
    assert found["chain"][0]["total"]["q95"] < 1e-3
    assert found["energy"]["polynomial"] == pytest.approx(found["energy"]["carleman"], abs=1e-5)


def test_propagation_is_the_product_of_dense_exponentials(trained_fit):
    _, fit = trained_fit
    sampler, z = Carleman(fit, order=3), np.random.default_rng(0).normal(size=(5, 2))
    a, b, c = even_edges(fit, 2)
    np.testing.assert_allclose(
        propagate(sampler, z, np.array([a, b, c])), sampler.advance(sampler.advance(z, a, b), b, c)
    )
    y = sampler.system.lift(z).T
    for part in pairwise(np.linspace(a, b, 4)):
        for generator in sampler.generators(*part):
            y = expm(generator.toarray()) @ y
    found = propagate(sampler, z, np.array([a, b]), refine=3)
    np.testing.assert_allclose(found, sampler.system.project(y.T), rtol=1e-9)


@pytest.mark.slow  # two samplers of many steps
def test_the_total_is_what_samplers_of_images_say(trained_fit, report):
    """The same two flows by `Sampler.run` alone, of which only the end becomes latents."""
    denoiser, fit = trained_fit
    x1 = ImageNoise(0, 6).draw(denoiser.sample_shape)
    ends = [
        fit.latents_of(sampler.run(denoiser, x1, t_end=T_CUT).x0, LAST)
        for sampler in (Carleman(fit, 4, order=3), UniPC(100, "lambda"))
    ]
    expected = np.median(relative_errors(*ends))
    # images are float32
    assert report["chain"][1]["total"]["median"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.slow
def test_the_polynomial_error_is_that_of_a_converged_sampler(trained_fit, report):
    denoiser, fit = trained_fit
    x1 = ImageNoise(0, 40).draw(denoiser.sample_shape)
    ends = [
        fit.latents_of(sampler.run(denoiser, x1[:6], t_end=T_CUT).x0, LAST)
        for sampler in (Carleman(fit, 32, order=5), UniPC(100, "lambda"))
    ]
    found = relative_errors(*ends)
    assert report["polynomial"]["median"] == pytest.approx(np.median(found), rel=2e-3)


@pytest.mark.slow
def test_more_segments_and_higher_orders_lower_the_truncation_error(report):
    medians = {
        (cell["closure"], cell["order"], cell["segments"]): cell["median"]
        for cell in report["truncation"]
    }
    assert len(medians) == 2 * 2 * 3
    for closure in ("least_squares", "drop"):
        assert medians[closure, 3, 8] < medians[closure, 3, 4] < medians[closure, 3, 2]
        assert medians[closure, 3, 8] < medians[closure, 2, 8] / 2


@pytest.mark.slow
def test_the_chain_holds_what_the_table_holds(report):
    cells = {
        cell["segments"]: cell["median"]
        for cell in report["truncation"]
        if (cell["closure"], cell["order"]) == ("least_squares", 3)
    }
    for row in report["chain"]:
        assert row["truncation"]["median"] == pytest.approx(cells[row["segments"]], rel=1e-9)
        # a step errs much less than the truncation, and is measured without it
        assert row["time_step"]["median"] < row["truncation"]["median"] / 50


@pytest.mark.slow
def test_parts_add_up(report):
    for row in report["chain"]:
        carleman, total = row["carleman"], row["total"]
        parts = row["truncation"]["median"] + row["time_step"]["median"]
        # medians of sums are no sums of medians: a factor of two
        assert carleman["median"] <= 2 * parts
        assert total["median"] <= 2 * (parts + report["polynomial"]["median"])
        assert total["median"] >= report["polynomial"]["median"] / 2 - parts


def test_a_linear_equation_is_not_truncated(gaussian):
    flows = flows_of(gaussian)
    options = replace(OPTIONS, orders=(1, 2), segments=(2,))
    cells = truncation_errors(gaussian, options, flows, lambda: None)
    # fourth order in steps of 0.16: what is left is the time step's
    assert all(cell["median"] < 1e-5 for cell in cells)
    assert len(cells) == 4


@pytest.mark.slow
def test_time_steps_err_to_fourth_order(gaussian):
    sampler, flows = Carleman(gaussian, order=1), flows_of(gaussian)
    found = [chain_errors(sampler, segments, flows) for segments in (4, 8)]
    ratio = found[0]["time_step"]["median"] / found[1]["time_step"]["median"]
    assert ratio == pytest.approx(2**4, rel=0.3)
    # there is no other error; a fourth of the step leaves less than the 1e-9 of `integrate`
    assert found[0]["truncation"]["median"] < found[0]["time_step"]["median"] / 8
    assert found[0]["total"]["median"] == pytest.approx(found[0]["time_step"]["median"], rel=0.1)


def test_energy_distances_tell_right_from_wrong(gaussian):
    flows = flows_of(gaussian, 2000)
    options = replace(OPTIONS, segments=(2,), n=2000)
    found = energies(Carleman(gaussian, order=1), flows, options)
    # all five are the same distribution: 0 to the noise of 1,500 and 2,000 points
    assert all(abs(value) < 5e-3 for value in found.values())
    wide = Flows([flows.start, 1.3 * flows.polynomial], flows.network)
    assert energies(Carleman(gaussian, order=1), wide, options)["polynomial"] > 0.01


def test_facts_of_a_linear_segment_are_known(gaussian):
    sampler = Carleman(gaussian, order=2)
    facts = segment_facts(sampler, -1.0, 0.0, np.ones((3, 2)))
    alpha2, sigma2 = expit(-1.0), expit(1.0)
    rates = sigma2 * (1 - 1 / (alpha2 * (SPREAD[:2] / SCALE) ** 2 + sigma2))
    # the spline of the coefficients is good to 1e-8 or so
    assert facts["linear_abscissa"] == pytest.approx(rates.max(), rel=1e-6)
    assert facts["abscissa"] == pytest.approx(rates.max(), rel=1e-6)
    assert facts["norm_1"] == pytest.approx(-2 * rates.min(), rel=1e-6)
    assert facts["log_norm"] == pytest.approx(0, abs=1e-12)
    assert facts["size"] == 6
    assert facts["r_number"] == {"value": 0.0}
    assert "no bound" in facts["liu_bound"]["refused"]


def test_the_condition_number_is_that_of_the_dense_matrix(trained_fit):
    _, fit = trained_fit
    sampler = Carleman(fit, order=2)
    facts = segment_facts(sampler, -1.0, -0.5, np.ones((1, 2)))["history"]
    L = block_system(sampler.generators(-1.0, -0.5), sampler.system.lift(np.ones((1, 2)))[0]).matrix
    dense = abs(L.toarray())
    alpha = np.sqrt(dense.sum(0).max() * dense.sum(1).max())
    least = np.linalg.svd(L.toarray(), compute_uv=False)[-1]
    assert facts["kappa"] == pytest.approx(alpha / least, rel=1e-6)
    assert facts["unknowns"] == len(dense)


@pytest.mark.slow
def test_every_segment_has_its_facts(report):
    rows = report["segments"]
    assert len(rows) == 8
    assert rows[0]["from"] == report["fit"]["first_lambda"]
    assert rows[-1]["to"] == report["fit"]["last_lambda"]
    assert all(one["to"] == other["from"] for one, other in pairwise(rows))
    # a segment whose linear part grows has no R number, and says so
    for row in rows:
        assert ("value" in row["r_number"]) == (row["linear_abscissa"] < 0)


@pytest.mark.slow
def test_quantum_solvers_meet_their_tolerances(report):
    found = report["backends"]
    assert found["segment"]["number"] == 5
    assert report["segments"][4]["from"] == found["segment"]["from"]
    qlss, lchs = found["qlss"], found["lchs"]
    account = qlss["account"]
    # eps bounds the error of the history; of the final state it is 1 / sqrt(its share) more
    assert (
        0
        < qlss["inverse_polynomial"]["median"]
        <= qlss["eps"] / np.sqrt(account["final_probability"])
    )
    assert qlss["together"]["median"] == pytest.approx(qlss["inverse_polynomial"]["median"], 1e-3)
    assert qlss["taylor"]["q95"] < 1e-7
    assert account["queries"] == account["degree"]
    assert account["repetitions"] * account["success_probability"] == pytest.approx(1)
    history = report["segments"][4]["history"]
    assert account["kappa"] == pytest.approx(history["kappa"], rel=1e-6)
    assert account["size"] == history["unknowns"]
    # the tolerance is relative to the start, from which latents shrink little in a segment
    assert lchs["quadrature"]["q95"] < 2 * lchs["tolerance"]
    assert lchs["account"]["success_probability"] > 0


@pytest.mark.slow
def test_shots_err_as_their_square_root(report):
    assert 0 < report["shots"]["share"] < 1
    found = report["shots"]["errors"]
    assert [row["shots"] for row in found] == [100, 1000, 10_000, 100_000, 1_000_000]
    for few, many in pairwise(found[2:]):
        assert few["median"] / many["median"] == pytest.approx(np.sqrt(10), rel=0.5)
    # frequencies f of 10^6 shots: |d sqrt(f)|^2 is 1 / (4 shots) for each of the 9 free ones
    assert found[-1]["median"] == pytest.approx(np.sqrt(9 / 4e6), rel=0.4)


def test_divergence_is_told_once_and_quietly(trained_fit):
    _, fit = trained_fit
    flows = flows_of(fit)
    far = Flows([1e200 * flows.start, flows.polynomial], flows.network)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = chain_errors(Carleman(fit, order=3), 2, far)
    assert found["truncation"] == found["total"] == {"median": None, "q95": None}


def test_what_is_too_large_is_told_in_its_place(trained_fit):
    _, fit = trained_fit
    cells = truncation_errors(
        fit, replace(OPTIONS, orders=(2, 10_000), segments=(2,)), flows_of(fit), lambda: None
    )
    assert ["refused" in cell for cell in cells] == [False, True, False, True]
    assert "bytes, the limit is" in cells[1]["refused"]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"n": 1}, "n needs a whole number from 2, got 1"),
        ({"network_n": 41}, "2 to 40 initial values, got 41"),
        ({"orders": ()}, "orders and segments of 1 or more"),
        ({"orders": (0,)}, "orders and segments of 1 or more"),
        ({"segments": (0, 2)}, "orders and segments of 1 or more"),
    ],
)
def test_options_out_of_range_are_refused(changes, line):
    with pytest.raises(HQDMError, match=line):
        replace(OPTIONS, **changes)


@pytest.mark.slow  # a second report
def test_the_same_seed_gives_the_same_report_and_all_parts_are_counted(trained_fit, report):
    told = []
    again = analyse(*trained_fit, OPTIONS, lambda *now: told.append(now))
    same = [json.dumps({**found, "provenance": None}) for found in (again, report)]
    assert same[0] == same[1]
    for task in ("errors", "network"):
        numbers = [(done, total) for name, done, total in told if name == task]
        assert numbers == [(done, numbers[0][1]) for done in range(numbers[0][1] + 1)]
