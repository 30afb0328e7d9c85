"""Measured costs against matrices, closed forms and each other."""

import json
from dataclasses import replace

import numpy as np
import pytest
from networks import Toy
from scipy.integrate import solve_ivp
from scipy.sparse import csr_array
from scipy.special import expit
from torch import nn

from hqdm.carleman.analysis import integrate
from hqdm.carleman.costs.resources import METHODS
from hqdm.carleman.costs.weights import optimal_weights
from hqdm.carleman.qlss.history import block_system
from hqdm.data.images import load_images
from hqdm.diffusion.denoiser import Denoiser
from hqdm.diffusion.loading import load_denoiser
from hqdm.diffusion.schedule import CosineSchedule, schedule_config
from hqdm.surrogate.analysis import median_point
from hqdm.surrogate.fit import CarlemanFit
from hqdm.surrogate.latents import Latents
from hqdm.surrogate.noise_polynomial import DiffusionDrift, gaussian_noise
from hqdm.surrogate.resources import (
    INITIAL_VALUES,
    Study,
    circuit,
    fit_to,
    initial_latents,
    measure,
    network_flops,
    runge_kutta,
    segment_of,
    steps_needed,
    study,
)
from hqdm.surrogate.sampler import Carleman
from hqdm.utils.errors import HQDMError

SPREAD = np.array([0.8, 0.3])
OPTIONS = Study(
    "model",
    "digits",
    dims=(3, 2, 4),
    order=2,
    orders=(1, 2),
    degree=2,
    segments=4,
    extrapolate=(1000, 3, 10),
    samples=800,
)


@pytest.fixture(scope="module")
def model(trained):
    return load_denoiser(trained / "last.ckpt"), load_images("digits", "train").images


@pytest.fixture(scope="module")
def told():
    """What was told of the progress of the report."""
    return []


@pytest.fixture(scope="module")
def report(model, told):
    return study(*model, OPTIONS, lambda *now: told.append(now))


@pytest.fixture(scope="module")
def gaussian():
    """A fit that is exact for Gaussian data in 2 latents."""
    latents = Latents(np.zeros(2), np.eye(2), SPREAD**2, dim=2, scale=1.0)
    nodes = np.linspace(-5, 4, 401)
    record = {"schedule": schedule_config(CosineSchedule()), "seed": 0, "model": "none"}
    noise = gaussian_noise(nodes, SPREAD**2)
    return CarlemanFit(latents, noise, np.ones(401), np.zeros((1, 2)), record)


def gaussian_ends(fit, z, b):
    """Where the flow of Gaussian data takes latents by lambda b."""
    a = fit.noise.nodes[0]
    deviations = [np.sqrt(expit(2 * t) * SPREAD**2 + expit(-2 * t)) for t in (a, b)]
    return z * deviations[1] / deviations[0]


@pytest.mark.slow
def test_a_case_is_what_dense_matrices_say(model):
    fit = fit_to(*model, 2, OPTIONS)
    case = measure(fit, 2, OPTIONS)
    segment = segment_of(fit, 4)
    a, b = segment["from"], segment["to"]
    assert segment["number"] == 3
    assert (a, b) == pytest.approx(
        tuple(np.linspace(fit.noise.nodes[0], fit.noise.nodes[-1], 5)[2:4])
    )
    sampler = Carleman(fit, 4, 2)
    plain = sampler.generators(a, b)
    z = integrate(DiffusionDrift(fit.noise), initial_latents(fit, 0), fit.noise.nodes[0], a)
    y0 = sampler.system.lift(median_point(z)[None])[0]
    weights = optimal_weights(plain, y0, sampler.system.monomials)
    made = [np.diag(weights) @ generator.toarray() / weights for generator in plain]
    symmetric = [-(G + G.T) / 2 for G in made]
    shifts = [max(0, -np.linalg.eigvalsh(L).min()) for L in symmetric]
    assert case.n_generators == len(made) == 16
    assert case.shift == pytest.approx(sum(shifts))
    norms = [np.linalg.eigvalsh(L).max() + c for L, c in zip(symmetric, shifts, strict=True)]
    assert case.hermitian_norm == pytest.approx(sum(norms))
    assert case.skew_norm == pytest.approx(sum(np.linalg.norm(G - G.T, 2) / 2 for G in made))
    L = block_system([csr_array(G) for G in made], np.ones(6)).matrix.toarray()
    alpha = np.sqrt(abs(L).sum(0).max() * abs(L).sum(1).max())
    assert case.kappa == pytest.approx(alpha / np.linalg.svd(L, compute_uv=False)[-1], rel=1e-6)
    assert case.blocks == len(L) / 6
    assert (case.dim, case.order, case.degree, case.segments) == (2, 2, 2, 4)


def test_gain_and_share_are_those_of_the_evolution(model):
    fit = fit_to(*model, 2, OPTIONS)
    case = measure(fit, 2, OPTIONS)
    segment, drift = segment_of(fit, 4), DiffusionDrift(fit.noise)
    first, a, b = fit.noise.nodes[0], segment["from"], segment["to"]
    z = initial_latents(fit, OPTIONS.seed)
    flat = solve_ivp(
        lambda t, v: (
            drift.coefficients(t) @ Carleman(fit, order=2).system.lift(v.reshape(-1, 2)).T
        ).T.ravel(),
        (first, a),
        z.ravel(),
        rtol=1e-9,
        atol=1e-9,
    )
    z = flat.y[:, -1].reshape(INITIAL_VALUES, 2)
    start = z[np.argsort(np.linalg.norm(z, axis=1))[INITIAL_VALUES // 2]]
    system = Carleman(fit, order=2).system
    y0 = system.lift(start[None])[0]
    y = solve_ivp(lambda t, y: system.matrix(t) @ y, (a, b), y0, rtol=1e-9, atol=1e-11).y[:, -1]
    weights = optimal_weights(Carleman(fit, 4, 2).generators(a, b), y0, system.monomials)
    y0, y = weights * y0, weights * y
    # LCHS is emulated to the tolerance of the study, relative to y_0
    assert case.gain == pytest.approx(np.linalg.norm(y) / np.linalg.norm(y0), abs=0.01)
    # 16 generators err by 1e-5 or so
    assert case.share == pytest.approx(y[1:3] @ y[1:3] / (y @ y), rel=1e-4)


def test_runge_kutta_is_of_order_four(gaussian):
    drift, z = DiffusionDrift(gaussian.noise), initial_latents(gaussian, 0)
    exact = gaussian_ends(gaussian, z, 4.0)
    errors = [
        np.abs(runge_kutta(drift, z, np.linspace(-5, 4, n + 1)) - exact).max() for n in (20, 40)
    ]
    assert errors[0] / errors[1] == pytest.approx(16, rel=0.15)


@pytest.mark.parametrize("tolerance", [1e-2, 1e-5])
def test_no_fewer_steps_meet_the_tolerance(gaussian, tolerance):
    steps = steps_needed(gaussian, 3, tolerance, 0)
    drift, z = DiffusionDrift(gaussian.noise), initial_latents(gaussian, 0)
    exact = gaussian_ends(gaussian, z, 4.0)

    def error(steps):
        found = runge_kutta(drift, z, np.linspace(-5, 4, 3 * steps + 1))
        relative = np.linalg.norm(found - exact, axis=1) / np.linalg.norm(exact, axis=1)
        return np.quantile(relative, 0.95)

    assert error(steps) <= tolerance < error(steps - 1)


def test_a_tolerance_beyond_reach_is_refused(gaussian, monkeypatch):
    monkeypatch.setattr("hqdm.surrogate.resources.MAX_STEPS", 2)
    with pytest.raises(HQDMError, match="2 Runge-Kutta steps per segment do not reach"):
        steps_needed(gaussian, 1, 1e-9, 0)


class Convolution(Toy):
    """A network of which the operations can be counted by hand."""

    sample_shape = (3, 8, 8)

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(3, 3, 5, padding=2)

    def forward(self, x, t, y=None):
        return self.layer(x)


def test_operations_of_a_network_are_counted():
    # 64 places, 3 channels each, of 75 products and sums
    assert network_flops(Denoiser(Convolution(), CosineSchedule())) == 64 * 3 * 75 * 2


@pytest.mark.slow
def test_every_evolution_is_counted(report, told):
    total = len(OPTIONS.dims) + len(OPTIONS.orders) + 1
    assert told == [("evolutions", done, total) for done in range(total + 1)]


@pytest.mark.slow
def test_rows_are_measured_or_follow_the_laws(report):
    dims = [row["d"] for row in report["rows"]]
    assert dims == [2, 3, 4, 10, 1000]
    assert [row["measured"] for row in report["rows"]] == [True] * 3 + [False] * 2
    cases = report["cases"]
    assert [case["dim"] for case in cases] == [2, 3, 4]
    for name in ("kappa", "hermitian_norm"):
        slope = np.polyfit(np.log([2, 3, 4]), np.log([case[name] for case in cases]), 1)[0]
        assert report["laws"][name]["exponent"] == pytest.approx(slope)


@pytest.mark.slow
def test_costs_by_hand(report):
    row, case = report["rows"][0], report["cases"][0]
    # 2 d C(d + p, p) operations, four evaluations a step, 4 segments
    assert row["classical_direct"] == 2 * 2 * 6 * 4 * report["steps"] * 4
    assert row["classical_lifted"] == 4 * 2 * 2 * 6
    network = report["network"]
    assert row["classical_original"] == pytest.approx(10 * network["flops"] * 2 / 64)
    assert network["pixels"] == 64
    # d / eps^2 reads of each of 4 segments, of which x is a share
    assert row["qlss_states"] == pytest.approx(4 * 2 * 1e4 / case["share"])


@pytest.mark.slow
def test_small_tables_hold_rows_of_the_large_one(report):
    largest = report["rows"][2]
    costs = ("qlss_queries", "lchs_queries", "qlss_oracle_gates", "classical_direct")
    tolerances = {row["eps"]: row for row in report["tolerances"]}
    assert sorted(tolerances) == [1e-4, 1e-3, 1e-2, 1e-1]
    for same in (
        tolerances[0.01],
        report["times"][0],
    ):
        assert [same[key] for key in costs] == [largest[key] for key in costs]
    by_order = {row["N"]: row for row in report["orders"]}
    assert sorted(by_order) == [1, 2]
    assert by_order[2] == {k: v for k, v in report["rows"][1].items() if k != "measured"}


@pytest.mark.slow
def test_costs_grow_as_they_must(report):
    for rows in (report["tolerances"][::1], report["times"]):
        for key in ("qlss_queries", "lchs_queries", "classical_direct"):
            values = [row[key] for row in rows]
            assert values == sorted(values)
            assert values[-1] > values[0]
    one, two = report["times"][:2]
    # twice the condition number, half the success
    assert two["qlss_queries"] == pytest.approx(2 * one["qlss_queries"], rel=0.01)
    assert two["qlss_success_probability"] == pytest.approx(one["qlss_success_probability"] / 2)
    assert two["classical_direct"] == 2 * one["classical_direct"]


@pytest.mark.slow
def test_crossings_are_where_gates_are_fewer(report):
    classical = {"all": ("direct", "lifted", "original"), "direct": ("direct",)}
    assert list(report["crossings"]) == list(METHODS)
    for method, by_access in report["crossings"].items():
        for access, found in by_access.items():
            for against, names in classical.items():
                cheaper = [
                    row[f"{method}_{access}_gates"] is not None
                    and row[f"{method}_{access}_gates"]
                    < min(row[f"classical_{name}"] for name in names)
                    for row in report["rows"]
                ]
                assert (found[against] is None) == (not cheaper[-1])


@pytest.mark.slow
def test_the_circuit_runs_and_is_right(report):
    found = report["circuit"]
    assert found["qubits"] <= 12
    assert found["error"] < 0.01
    assert 0 < found["success_probability"] <= 1
    assert found["gates"]["T"] > 0
    assert found["gates"]["CNOT"] > 0


def test_a_circuit_of_too_many_qubits_is_refused(model):
    fit = fit_to(*model, 4, OPTIONS)
    with pytest.raises(HQDMError, match="this LCHS circuit needs 1[3-9] qubits"):
        circuit(fit, replace(OPTIONS, segments=1, tolerance=1e-6))


@pytest.mark.slow
def test_the_report_is_plain_json(report):
    assert json.loads(json.dumps(report, allow_nan=False))["rows"] == report["rows"]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"dims": (3, 3)}, "two or more dimensions to measure, got [3, 3]"),
        ({"segments": 0}, "segments needs a whole number from 1, got 0"),
        ({"tolerance": 1.0}, "tolerance between 0 and 1, got 1.0"),
    ],
)
def test_options_out_of_range_are_refused(changes, line):
    with pytest.raises(HQDMError) as refused:
        replace(OPTIONS, **changes)
    assert line in str(refused.value)


@pytest.mark.slow
def test_labels_do_not_hinder(trained_classes):
    assert network_flops(load_denoiser(trained_classes / "last.ckpt")) > 0
