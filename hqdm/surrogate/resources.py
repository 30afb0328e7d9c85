r"""Estimates of the quantum resources of a sample, from emulated segments.

For every latent dimension d a polynomial is fitted to the data, the segment in the middle of its
range is solved by QLSS and LCHS in a weighted basis (`hqdm.carleman.costs.weights`), and the
quantities that determine the costs (`Case`) are measured. Power laws in d extrapolate them. One
table contains all methods, with the classical costs of the same sample:

* the polynomial equation by the Runge-Kutta method of order 4, with the fewest steps that meet the
  tolerance,
* the lifted map, of which one row per latent is multiplied in every segment,
* the network, 10 evaluations, in proportion to d.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from hqdm.carleman.analysis import integrate, relative_errors
from hqdm.carleman.costs.resources import ACCESS, METHODS, Resources, circuit_gates, table
from hqdm.carleman.costs.scaling import Case, fit_scaling, measured
from hqdm.carleman.costs.weights import optimal_weights
from hqdm.carleman.drift import Coefficients, evaluate
from hqdm.carleman.lchs.circuit import operators
from hqdm.carleman.lchs.quadrature import NearOptimal, quadrature
from hqdm.carleman.lchs.solver import LCHS
from hqdm.carleman.lchs.unitaries import cartesian
from hqdm.carleman.linearization import reweighted
from hqdm.carleman.magnus import Direct, Vector, generators
from hqdm.carleman.qlss.solver import QLSS
from hqdm.diffusion.denoiser import Denoiser, class_labels
from hqdm.samplers import base
from hqdm.surrogate.analysis import even_edges, median_point, refusal
from hqdm.surrogate.fit import CarlemanFit, fit_carleman
from hqdm.surrogate.noise_polynomial import DiffusionDrift
from hqdm.surrogate.sampler import Carleman
from hqdm.utils.checks import whole
from hqdm.utils.errors import HQDMError
from hqdm.utils.progress import Progress, silent, stepwise
from hqdm.utils.versions import provenance

INITIAL_VALUES = 200
NETWORK_EVALUATIONS = 10
LARGEST_DIM = 10**12  # far beyond images; the gates of 10^77 and more overflow
MAX_STEPS = 1000  # Runge-Kutta steps per segment
TOLERANCES = (1e-1, 1e-2, 1e-3, 1e-4)
TIME_FACTORS = (1, 2, 4, 8)
CIRCUIT_ORDER, CIRCUIT_STEPS = 2, 8

ASSUMPTIONS = (
    "Every segment is assumed to cost as much as the one in the middle of the range, with an "
    "initial value of median norm.",
    "The monomials have the weights by degree of the lowest cost at the measured initial value.",
    "Polynomials are fitted to the noise of the data. The tolerance includes neither their errors "
    "nor the truncation error.",
    "Integration is by the Runge-Kutta method of order 4 with the fewest steps whose relative "
    "error over the whole range is within the tolerance for 95 % of the initial values, at "
    "the measured dimension that needs most.",
    "The network is evaluated 10 times; its matrix products and convolutions are counted (not the "
    "simulation of circuits) and scaled from the number of pixels of its images to d.",
)


@dataclass(frozen=True)
class Study:
    """The settings of the measurements and their extrapolation.

    Attributes:
        checkpoint: Path of the model, for the record.
        data: Name of the data set, for the record.
        dims: Dimensions to measure, two or more.
        order: Truncation order N.
        orders: Orders to compare at a dimension in the middle of `dims`.
        degree: Degree of the polynomials.
        segments: Number of segments per sample.
        tolerance: Tolerance of |dx| / |x|.
        extrapolate: Dimensions to extrapolate to, up to `LARGEST_DIM`; those within the measured
            range are ignored.
        samples: Noised images per node of the fits.
        seed: Random seed.

    Raises:
        HQDMError: If a number is out of range.
    """

    checkpoint: str
    data: str
    dims: Sequence[int] = (2, 3, 4, 6, 8)
    order: int = 3
    orders: Sequence[int] = (2, 3, 4)
    degree: int = 3
    segments: int = 8
    tolerance: float = 0.01
    extrapolate: Sequence[int] = (10, 100, 1000, 10_000, 100_000, 1_000_000)
    samples: int = 5000
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse numbers out of range before any measurement."""
        if len(set(self.dims)) < 2:
            raise HQDMError(
                f"resources need two or more dimensions to measure, got {list(self.dims)}"
            )
        whole("segments", self.segments, 1, base.MAX_STEPS)
        whole("samples", self.samples, 1)
        for dim in self.extrapolate:
            whole("a dimension to extrapolate to", dim, 1, LARGEST_DIM)
        whole("seed", self.seed)
        if not 0 < self.tolerance < 1:
            raise HQDMError(f"resources need a tolerance between 0 and 1, got {self.tolerance}")

    @property
    def middle(self) -> int:
        """The dimension at which orders are compared."""
        dims = sorted(set(self.dims))
        return dims[len(dims) // 2]

    @property
    def beyond(self) -> list[int]:
        """The dimensions to which power laws extrapolate."""
        return sorted({dim for dim in self.extrapolate if dim > max(self.dims)})


def study(
    denoiser: Denoiser, images: Tensor, options: Study, progress: Progress = silent
) -> dict[str, Any]:
    """Measure and extrapolate the resources of sampling.

    Args:
        denoiser: The model, for its schedule and its own costs.
        images: Training images `(N, C, H, W)`, uint8.
        options: The settings.
        progress: Reports the measured evolutions.

    Returns:
        The contents of `resources.json`. Costs are None if the success probability is negligible.

    Raises:
        HQDMError: If an option is out of range, or a quantum algorithm refuses a segment.
    """
    dims = sorted(set(options.dims))
    total = len(dims) + len(options.orders) + 1
    done = stepwise(progress, "evolutions", total)
    fits, cases, by_order = {}, [], []
    for dim in dims:
        fits[dim] = fit_to(denoiser, images, dim, options)
        cases.append(measure(fits[dim], options.order, options))
        done()
    for order in options.orders:
        by_order.append(measure(fits[options.middle], order, options))
        done()
    pixels, flops = prod(denoiser.sample_shape), network_flops(denoiser)
    costs = Costs(fits, options, flops / pixels)
    found = {
        "checkpoint": options.checkpoint,
        "options": asdict(options),
        "segment": segment_of(fits[dims[0]], options.segments),
        "network": {"flops": flops, "pixels": pixels, "evaluations": NETWORK_EVALUATIONS},
        "steps": costs.steps(options.tolerance),
        "cases": [asdict(case) for case in cases],
        **by_dimension(costs, cases),
        "orders": [row.cells() for row in costs.table(by_order).rows],
        "tolerances": by_tolerance(costs, cases[-1]),
        "times": by_time(costs, cases[-1]),
        "circuit": refusal(circuit, fits[dims[0]], options),
        "provenance": provenance(),
    }
    done()
    return found


def fit_to(denoiser: Denoiser, images: Tensor, dim: int, options: Study) -> CarlemanFit:
    """Fit a polynomial in `dim` latents to the noise of the data."""
    return fit_carleman(
        denoiser,
        images,
        dim,
        options.degree,
        target="noise",
        samples=options.samples,
        seed=options.seed,
    )


def segment_of(fit: CarlemanFit, segments: int) -> dict[str, Any]:
    """The segment that is measured, in lambda of the latents."""
    i = segments // 2
    a, b = even_edges(fit, segments)[i : i + 2].tolist()
    return {"number": i + 1, "of": segments, "from": a, "to": b}


def initial_latents(fit: CarlemanFit, seed: int) -> Vector:
    """Standard normal latents `(INITIAL_VALUES, d)`, the distribution at the first lambda."""
    return np.random.default_rng(seed).normal(size=(INITIAL_VALUES, fit.latents.dim))


def measure(fit: CarlemanFit, order: int, options: Study) -> Case:
    """Measure the quantities that determine the costs of the middle segment.

    Raises:
        HQDMError: If a quantum algorithm refuses the segment.
    """
    segment = segment_of(fit, options.segments)
    sampler = Carleman(fit, options.segments, order)
    first, a = float(fit.noise.nodes[0]), segment["from"]
    z = initial_latents(fit, options.seed)
    if a > first:
        z = integrate(DiffusionDrift(fit.noise), z, first, a)
    made = sampler.generators(a, segment["to"])
    y0 = sampler.system.lift(median_point(z)[None])[0]
    weights = optimal_weights(made, y0, sampler.system.monomials)
    made, y0 = [reweighted(generator, weights) for generator in made], weights * y0
    y = Direct().solve(made, y0).y
    x = y[sampler.system.monomials.linear]
    return measured(
        fit.latents.dim,
        order,
        fit.noise.degree,
        QLSS(eps=options.tolerance).solve(made, y0).account,
        LCHS(tolerance=options.tolerance).solve(made, y0).account,
        size=len(y0),
        share=float(x @ x / (y @ y)),
        segments=options.segments,
    )


def runge_kutta(drift: Coefficients, z: Vector, times: Vector) -> Vector:
    """The classical Runge-Kutta method of order 4, four evaluations per step."""

    def rate(z: Vector, t: float) -> Vector:
        return evaluate(drift, z, t)

    for t, s in pairwise(times):
        h = s - t
        k1 = rate(z, t)
        k2 = rate(z + h / 2 * k1, t + h / 2)
        k3 = rate(z + h / 2 * k2, t + h / 2)
        k4 = rate(z + h * k3, s)
        z = z + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return z


def steps_needed(fit: CarlemanFit, segments: int, tolerance: float, seed: int) -> int:
    """The fewest Runge-Kutta steps per segment that meet the tolerance over the whole range.

    Raises:
        HQDMError: If more than `MAX_STEPS` are needed.
    """
    drift, z = DiffusionDrift(fit.noise), initial_latents(fit, seed)
    first, last = fit.noise.nodes[[0, -1]]
    exact = integrate(drift, z, first, last)
    for steps in range(1, MAX_STEPS + 1):
        with np.errstate(over="ignore", invalid="ignore"):
            found = runge_kutta(drift, z, np.linspace(first, last, segments * steps + 1))
            errors = relative_errors(found, exact)
        # after an overflow the quantile is NaN, which is not below the tolerance
        if np.quantile(errors, 0.95) <= tolerance:
            return steps
    raise HQDMError(
        f"{MAX_STEPS} Runge-Kutta steps per segment do not reach a tolerance of {tolerance:g}: "
        "raise the tolerance"
    )


def network_flops(denoiser: Denoiser) -> int:
    """Floating point operations of one network evaluation on one image."""
    device = next(denoiser.parameters()).device
    labels = class_labels(denoiser, 1, None)
    x, t = torch.zeros(1, *denoiser.sample_shape, device=device), torch.tensor(0.5, device=device)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        denoiser(x, t, None if labels is None else labels.to(device))
    return int(counter.get_total_flops())


@dataclass(frozen=True)
class Costs:
    """Tables of quantum and classical costs.

    Attributes:
        fits: The fits by dimension.
        options: The settings.
        flops_per_pixel: Floating point operations per pixel of one network evaluation.
    """

    fits: dict[int, CarlemanFit]
    options: Study
    flops_per_pixel: float

    def steps(self, tolerance: float) -> int:
        """Runge-Kutta steps per segment, at the dimension that needs most."""
        segments, seed = self.options.segments, self.options.seed
        return max(steps_needed(fit, segments, tolerance, seed) for fit in self.fits.values())

    def table(
        self, cases: Sequence[Case], tolerance: float | None = None, time: int = 1
    ) -> Resources:
        """The costs of cases at a tolerance, by default that of the settings.

        Args:
            cases: The cases, sorted by dimension.
            tolerance: Tolerance of |dx| / |x|.
            time: Factor by which the time intervals of the cases were stretched.
        """
        tolerance = self.options.tolerance if tolerance is None else tolerance
        flops = [NETWORK_EVALUATIONS * self.flops_per_pixel * case.dim for case in cases]
        return table(cases, tolerance, 4 * time * self.steps(tolerance), flops)


def by_dimension(costs: Costs, cases: Sequence[Case]) -> dict[str, Any]:
    """Costs at measured and extrapolated dimensions, their crossings, and the assumptions."""
    scaling = fit_scaling(cases)
    made = costs.table([*cases, *(scaling.at(dim) for dim in costs.options.beyond)])
    return {
        "laws": {name: asdict(law) for name, law in scaling.laws.items()},
        "rows": [{**row.cells(), "measured": row.case in cases} for row in made.rows],
        "crossings": {
            method: {
                access: {
                    "all": made.crossing(method, access),
                    "direct": made.crossing(method, access, against="direct"),
                }
                for access in ACCESS
            }
            for method in METHODS
        },
        "assumptions": [*ASSUMPTIONS, *made.assumptions],
    }


def by_tolerance(costs: Costs, case: Case) -> list[dict[str, Any]]:
    """Costs of one case at several tolerances."""
    return [
        {"eps": tolerance, **costs.table([case], tolerance).rows[0].cells()}
        for tolerance in TOLERANCES
    ]


def by_time(costs: Costs, case: Case) -> list[dict[str, Any]]:
    """Costs of time intervals that are several times as long."""
    return [
        {"factor": factor, **costs.table([case.stretched(factor)], time=factor).rows[0].cells()}
        for factor in TIME_FACTORS
    ]


def circuit(fit: CarlemanFit, options: Study) -> dict[str, Any]:
    """An executable LCHS circuit of the middle segment, as one Magnus step of second order.

    Raises:
        HQDMError: If the circuit has too many qubits.
    """
    segment = segment_of(fit, options.segments)
    system = Carleman(fit, options.segments, CIRCUIT_ORDER).system
    made = generators(system.matrix, np.array([segment["from"], segment["to"]]), order=2)
    y0 = system.lift(np.ones((1, fit.latents.dim)))[0]
    solver = LCHS("circuit", tolerance=options.tolerance, steps=CIRCUIT_STEPS)
    account = solver.solve(made, y0).account
    parts = [cartesian(generator) for generator in made]
    rule = quadrature(
        NearOptimal(solver.beta), account.hermitian_norm, solver.tolerance / account.growth
    )
    return {
        "dim": fit.latents.dim,
        "order": CIRCUIT_ORDER,
        "qubits": account.system_qubits + account.ancilla_qubits,
        "product_formula": {"order": solver.order, "steps": CIRCUIT_STEPS},
        "error": account.error,
        "success_probability": account.success_probability,
        "gates": circuit_gates(operators(parts, rule, y0, solver.order, CIRCUIT_STEPS)),
    }
