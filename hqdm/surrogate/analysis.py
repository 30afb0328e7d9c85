r"""The errors of the Carleman sampler, each separately, and their total.

Pairs of solutions that differ in one approximation, from the same noise to the last lambda of the
fit:

    network's flow  ->  polynomial equation  ->  linear system, fine steps  ->  linear system
                 polynomial                truncation                  time step

and, for one segment of that system, the inverse polynomial and the Taylor series that replace exact
exponentials (QLSS), the quadrature (LCHS), and the statistical error of measurements. An error is
|z - z'| / |z'| of latents z or, for the solvers and the measurements, of lifted states y.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise, product
from typing import Any, Literal

import numpy as np
import torch

from hqdm.carleman.analysis import (
    energy_distance,
    integrate,
    liu_bound,
    matrix_facts,
    r_number,
    relative_errors,
    shot_error,
    spectral_abscissa,
)
from hqdm.carleman.lchs.solver import LCHS
from hqdm.carleman.magnus import Backend, Direct, Matrix, Solution, Vector
from hqdm.carleman.monomials import n_monomials
from hqdm.carleman.qlss.history import block_system
from hqdm.carleman.qlss.solver import QLSS, forward_factors, least_singular_value, scale
from hqdm.diffusion.denoiser import Denoiser, class_labels
from hqdm.samplers import UniPC
from hqdm.samplers.base import MAX_STEPS
from hqdm.samplers.grids import T_CUT
from hqdm.surrogate.fit import CarlemanFit
from hqdm.surrogate.noise_polynomial import DiffusionDrift
from hqdm.surrogate.sampler import CLOSURES, Carleman
from hqdm.utils.checks import whole
from hqdm.utils.errors import HQDMError
from hqdm.utils.memory import check_memory
from hqdm.utils.progress import Progress, silent, stepwise
from hqdm.utils.seeds import STREAM_BYTES, ImageNoise
from hqdm.utils.versions import provenance

NETWORK_STEPS = 100  # on MNIST within 0.2 % of the result with 200 steps
FINE = 4  # refinement of the time step, which reduces its error by a factor of 4^4
INITIAL_VALUES = 3  # initial values for which a quantum solver is emulated
MEASUREMENTS = 20  # repetitions of the measurement of one state, for quantiles of its error
SHOTS = (10**2, 10**3, 10**4, 10**5, 10**6)
ENERGY_POINTS = 4096  # the matrix of their pairwise distances takes 128 MiB

SILENT = np.errstate(invalid="ignore", over="ignore")  # `spread` reports divergence


@dataclass(frozen=True)
class Analysis:
    """The settings of an analysis.

    Attributes:
        checkpoint: Path of the model, for the record.
        orders: Truncation orders of the table.
        segments: Numbers of segments of the table; all other errors use the largest.
        order: Truncation order of all other errors.
        closure: See `hqdm.surrogate.sampler.Carleman`, as for `basis`.
        basis: "monomial" or "hermite".
        n: Number of initial values.
        network_n: Number of these initial values for which the network's flow is computed.
        seed: Random seed.

    Raises:
        HQDMError: If a number is out of range.
    """

    checkpoint: str
    orders: Sequence[int] = (2, 3, 4, 5)
    segments: Sequence[int] = (4, 8, 16)
    order: int = 5
    closure: Literal["least_squares", "drop"] = "least_squares"
    basis: Literal["monomial", "hermite"] = "monomial"
    n: int = 500
    network_n: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse numbers out of range."""
        whole("n", self.n, 2)
        whole("seed", self.seed)
        if not 2 <= self.network_n <= self.n:
            raise HQDMError(
                f"the network's flow needs 2 to {self.n} initial values, got {self.network_n}"
            )
        if not self.segments or min(self.segments) < 1 or not self.orders or min(self.orders) < 1:
            raise HQDMError("an analysis needs orders and segments of 1 or more")
        whole("segments", self.finest, 1, MAX_STEPS)

    @property
    def finest(self) -> int:
        """The largest number of segments."""
        return max(self.segments)


@dataclass(frozen=True)
class Flows:
    """Solutions of the polynomial equation and of the network's flow, from the same noise.

    Attributes:
        path: Latents of the polynomial equation at every edge of the finest segments, `(n, d)`.
        network: Latents of the network's flow at the last edge, for the first initial values,
            `(network_n, d)`.
    """

    path: Sequence[Vector]
    network: Vector

    @property
    def start(self) -> Vector:
        """Latents at the first lambda of the fit, `(n, d)`."""
        return self.path[0]

    @property
    def polynomial(self) -> Vector:
        """Latents of the polynomial equation at the last lambda of the fit, `(n, d)`."""
        return self.path[-1]


def analyse(
    denoiser: Denoiser, fit: CarlemanFit, options: Analysis, progress: Progress = silent
) -> dict[str, Any]:
    """All errors of a fitted model.

    Args:
        denoiser: The model.
        fit: Its fit.
        options: What to analyse.
        progress: Reports the measured errors, and the steps of the network's flow.

    Returns:
        The contents of `analysis.json`. A refused part has the error message under "refused"; an
        error that is not finite is None.

    Raises:
        HQDMError: If an option is unknown, or the polynomial equation itself diverges.
    """
    sampler = Carleman(
        fit, options.finest, options.order, closure=options.closure, basis=options.basis
    )
    cells = len(options.orders) * len(CLOSURES)
    total = 1 + cells + len(options.segments) + 2 * INITIAL_VALUES + options.finest
    done = stepwise(progress, "errors", total)
    flows = solve_flows(denoiser, fit, options, progress)
    done()
    truncation = truncation_errors(fit, options, flows, done)
    chain = []
    for count in options.segments:
        chain.append({"segments": count, **chain_errors(sampler, count, flows)})
        done()
    edges = even_edges(fit, options.finest)
    report: dict[str, Any] = {
        "checkpoint": options.checkpoint,
        "options": asdict(options),
        "fit": fit_facts(fit),
        "polynomial": spread(relative_errors(flows.polynomial[: options.network_n], flows.network)),
        "truncation": truncation,
        "chain": chain,
        "backends": backend_errors(sampler, edges, flows.path, done),
        "shots": shot_errors(sampler, median_point(flows.polynomial), options.seed),
        "energy": energies(sampler, flows, options),
        "segments": [],
        "provenance": provenance(),
    }
    for (a, b), z in zip(pairwise(edges), flows.path[:-1], strict=True):
        report["segments"].append(segment_facts(sampler, a, b, z))
        done()
    return report


def spread(errors: Sequence[float] | Vector) -> dict[str, float | None]:
    """The median and the 95 % quantile; None for a value that is not finite."""
    known = np.nan_to_num(np.asarray(errors, dtype=np.float64), nan=np.inf, posinf=np.inf)
    found = {"median": np.median(known), "q95": np.quantile(known, 0.95, method="higher")}
    return {name: float(value) if np.isfinite(value) else None for name, value in found.items()}


def refusal(make: Callable[..., dict[str, Any]], *args: Any) -> dict[str, Any]:
    """The result of a function, or the message with which it was refused."""
    try:
        return make(*args)
    except HQDMError as error:
        return {"refused": str(error)}


def even_edges(fit: CarlemanFit, segments: int) -> Vector:
    """The edges of equal segments, in lambda of the latents, `(segments + 1,)`."""
    return np.linspace(fit.noise.nodes[0], fit.noise.nodes[-1], segments + 1)


def solve_flows(
    denoiser: Denoiser, fit: CarlemanFit, options: Analysis, progress: Progress = silent
) -> Flows:
    """Integrate the polynomial equation and the network's flow from the same noise."""
    ends = torch.tensor([1.0, T_CUT], dtype=torch.float64)
    first, last = denoiser.schedule.lam(ends).tolist()
    dim = fit.latents.dim
    # Noise, latents at each edge, and the lift of one of them.
    per_value = 12 * math.prod(denoiser.sample_shape) + 8 * dim * (options.finest + 1)
    per_value += STREAM_BYTES + 8 * n_monomials(dim, options.order)
    check_memory(f"{options.n} initial values", options.n * per_value, "use a smaller n or order")
    x1 = ImageNoise(options.seed, options.n).draw(denoiser.sample_shape)
    path = [fit.latents_of(x1, first)]
    for a, b in pairwise(even_edges(fit, options.finest)):
        path.append(integrate(DiffusionDrift(fit.noise), path[-1], a, b))
    device = next(denoiser.parameters()).device
    labels = class_labels(denoiser, options.network_n, None)
    drawn = UniPC(NETWORK_STEPS, "lambda").run(
        denoiser,
        x1[: options.network_n].to(device),
        None if labels is None else labels.to(device),
        t_end=T_CUT,
        callback=stepwise(progress, "network", NETWORK_STEPS),
    )
    return Flows(path, fit.latents_of(drawn.x0, last))


@SILENT
def propagate(sampler: Carleman, z: Vector, edges: Vector, refine: int = 1) -> Vector:
    """Propagate latents `(B, d)` over segments, with `refine` times the sampler's time steps.

    Unlike `Carleman.advance`, it continues if latents diverge.
    """
    system = sampler.system
    for a, b in pairwise(edges):
        parts = pairwise(np.linspace(a, b, refine + 1))
        made = [generator for part in parts for generator in sampler.generators(*part)]
        backwards = [generator.T.tocsr() for generator in reversed(made)]
        z = system.lift(z) @ Direct().solve(backwards, system.projection()).y
    return z


def fit_facts(fit: CarlemanFit) -> dict[str, Any]:
    """Properties of the fit."""
    latents = fit.latents
    return {
        "dim": latents.dim,
        "degree": fit.noise.degree,
        "explained": latents.explained,
        "scale": latents.scale,
        "largest_variance": latents.largest,
        "dissipative": latents.dissipative,
        "first_lambda": float(fit.noise.nodes[0]),
        "last_lambda": float(fit.noise.nodes[-1]),
        "r2": fit.r2.tolist(),
        "record": fit.record,
    }


def truncation_errors(
    fit: CarlemanFit, options: Analysis, flows: Flows, done: Callable[[], None]
) -> list[dict[str, Any]]:
    """The truncation error by closure, order and number of segments."""
    found = []
    for closure, order in product(CLOSURES, options.orders):
        settings: dict[str, Any] = {"closure": closure, "basis": options.basis}
        sampler = Carleman(fit, order=order, **settings)
        for count in options.segments:
            cell = {"closure": closure, "order": order, "segments": count}
            found.append({**cell, **refusal(truncation_error, sampler, flows, count)})
        done()
    return found


@SILENT
def truncation_error(sampler: Carleman, flows: Flows, segments: int) -> dict[str, float | None]:
    """The error of the linear system, with fine steps, against the polynomial equation."""
    ends = propagate(sampler, flows.start, even_edges(sampler.fit, segments), FINE)
    return spread(relative_errors(ends, flows.polynomial))


@SILENT
def chain_errors(sampler: Carleman, segments: int, flows: Flows) -> dict[str, Any]:
    """The errors between consecutive approximations, for a number of segments."""
    edges = even_edges(sampler.fit, segments)
    coarse, fine = (propagate(sampler, flows.start, edges, refine) for refine in (1, FINE))
    n = len(flows.network)
    return {
        "truncation": spread(relative_errors(fine, flows.polynomial)),
        "time_step": spread(relative_errors(coarse, fine)),
        "carleman": spread(relative_errors(coarse, flows.polynomial)),
        "total": spread(relative_errors(coarse[:n], flows.network)),
    }


def median_point(z: Vector) -> Vector:
    """The point `(d,)` of median norm."""
    order = np.argsort(np.linalg.norm(z, axis=1))
    return z[order[len(z) // 2]]


def backend_errors(
    sampler: Carleman, edges: Vector, path: Sequence[Vector], done: Callable[[], None]
) -> dict[str, Any]:
    """Errors and costs of the quantum solvers on the middle segment."""
    i = (len(edges) - 1) // 2
    a, b = float(edges[i]), float(edges[i + 1])
    made = sampler.generators(a, b)
    y0 = sampler.system.lift(path[i][:INITIAL_VALUES])
    exact = Direct().solve(made, y0.T).y.T
    return {
        "segment": {"number": i + 1, "of": len(edges) - 1, "from": a, "to": b},
        "initial_values": len(y0),
        "qlss": refusal(qlss_errors, QLSS(), made, y0, exact, done),
        "lchs": refusal(lchs_errors, LCHS(), made, y0, exact, done),
    }


def solve_all(
    backend: Backend, made: Sequence[Matrix], y0: Vector, done: Callable[[], None]
) -> list[Solution]:
    """The solutions from all initial values `(B, n)`."""
    found = []
    for initial in y0:
        found.append(backend.solve(made, initial))
        done()
    return found


def qlss_errors(
    backend: QLSS, made: Sequence[Matrix], y0: Vector, exact: Vector, done: Callable[[], None]
) -> dict[str, Any]:
    """Errors of a linear system solver, and its account for the first initial value."""
    found = solve_all(backend, made, y0, done)
    accounts = [solution.account for solution in found]
    first = accounts[0].inversion
    plain = {key: value for key, value in asdict(accounts[0]).items() if key != "inversion"}
    more = ("kappa", "queries", "success_probability", "repetitions", "amplified_repetitions")
    return {
        "eps": backend.eps,
        "inverse_polynomial": spread([account.inversion.error for account in accounts]),
        "taylor": spread([account.taylor_error for account in accounts]),
        "together": spread(relative_errors(np.stack([s.y for s in found]), exact)),
        "account": {**plain, **asdict(first), **{key: getattr(first, key) for key in more}},
    }


def lchs_errors(
    backend: LCHS, made: Sequence[Matrix], y0: Vector, exact: Vector, done: Callable[[], None]
) -> dict[str, Any]:
    """Errors of an LCHS solver, and its account for the first initial value."""
    found = solve_all(backend, made, y0, done)
    first = found[0].account
    plain = {key: value for key, value in asdict(first).items() if key != "shifts"}
    more = ("growth", "evolution", "repetitions", "amplified_repetitions")
    return {
        "tolerance": backend.tolerance,
        "quadrature": spread(relative_errors(np.stack([s.y for s in found]), exact)),
        "account": {
            **plain,
            "shift": float(sum(first.shifts)),
            **{key: getattr(first, key) for key in more},
        },
    }


def shot_errors(sampler: Carleman, z: Vector, seed: int) -> dict[str, Any]:
    """Statistical errors of measuring the lifted final state of one point `(d,)`."""
    y = sampler.system.lift(z[None])[0]
    share = float(z @ z / (y @ y))
    errors = [
        {"shots": shots, **spread([shot_error(y, shots, seed + i) for i in range(MEASUREMENTS)])}
        for shots in SHOTS
    ]
    return {"share": share, "errors": errors}


def energies(sampler: Carleman, flows: Flows, options: Analysis) -> dict[str, float | None]:
    """Energy distances to the latents of the data, noised to the last lambda."""
    fit = sampler.fit
    data = fit.samples(float(fit.noise.nodes[-1]))
    half = len(data) // 2
    reference, other = data[:half], data[half:]
    ends = propagate(sampler, flows.start, even_edges(fit, options.finest))
    rng = np.random.default_rng(options.seed)
    gaussian = rng.multivariate_normal(reference.mean(0), np.cov(reference.T), size=options.n)
    samples = {
        "carleman": ends,
        "polynomial": flows.polynomial,
        "network": flows.network,
        "gaussian": gaussian,
        "real": other,
    }
    return {
        name: energy_distance(points[:ENERGY_POINTS], reference)
        if np.isfinite(points).all()
        else None
        for name, points in samples.items()
    }


def segment_facts(sampler: Carleman, a: float, b: float, z: Vector) -> dict[str, Any]:
    """Quantities that determine the cost and convergence of a segment, for its midpoint matrices.

    Args:
        sampler: The sampler.
        a: First lambda of the latents.
        b: Last lambda of the latents.
        z: Latents at `a`, `(B, d)`.
    """
    drift = DiffusionDrift(sampler.fit.noise)
    middle = (a + b) / 2
    matrix = sampler.system.matrix(middle)
    linear = drift.coefficients(middle)[:, 1 : drift.dim + 1]
    x0 = median_point(z)
    return {
        "from": a,
        "to": b,
        "linear_abscissa": float(np.linalg.eigvals(linear).real.max()),
        # the first row, of the constant, is zero and would add the eigenvalue 0
        "abscissa": spectral_abscissa(matrix[1:, 1:]),
        **{key: value for key, value in asdict(matrix_facts(matrix)).items() if key != "abscissa"},
        "history": refusal(history_facts, sampler, a, b, x0),
        "r_number": refusal(value_of, r_number, drift, x0, middle),
        "liu_bound": refusal(value_of, liu_bound, drift, x0, sampler.order, b - a),
    }


def value_of(function: Callable[..., float], *args: Any) -> dict[str, float]:
    """The value of a function as a dictionary."""
    return {"value": function(*args)}


def history_facts(sampler: Carleman, a: float, b: float, x0: Vector) -> dict[str, Any]:
    """The condition number of the block system of a segment, in the encoding of `QLSS`."""
    y0 = sampler.system.lift(x0[None])[0]
    matrix = block_system(sampler.generators(a, b), y0).matrix
    alpha = scale(matrix, "sparse")
    kappa = alpha / least_singular_value(forward_factors(matrix))
    return {"unknowns": matrix.shape[0], "alpha": alpha, "kappa": kappa}
