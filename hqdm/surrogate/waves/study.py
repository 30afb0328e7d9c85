r"""The wave function of a fitted flow on grids, and its distances to the classical density.

The polynomial flow of a fit in one or two latents z, dz/dlambda = sigma^2 z - sigma eps(z, lambda),
starts from N(0, I) at the first lambda of the fit. Its density at the last lambda is known on
characteristics (`hqdm.carleman.waves.characteristics`), and is compared with psi^2 of

    exact exponentials  ->  product of rotations
               grid and derivative      splitting

at the same lambda, where psi obeys the Schrödinger equation of `hqdm.carleman.waves.hamiltonian`.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

from hqdm.carleman.analysis import integrate
from hqdm.carleman.drift import evaluate
from hqdm.carleman.waves.characteristics import transported
from hqdm.carleman.waves.grid import DIMS, EXTENT, Grid, distances
from hqdm.carleman.waves.hamiltonian import DIFFERENCES, ContinuityHamiltonian, evolve
from hqdm.carleman.waves.product import account, emulate
from hqdm.samplers.base import MAX_STEPS
from hqdm.surrogate.fit import CarlemanFit
from hqdm.surrogate.noise_polynomial import DiffusionDrift
from hqdm.utils.checks import whole
from hqdm.utils.errors import HQDMError
from hqdm.utils.progress import Progress, silent, stepwise
from hqdm.utils.versions import provenance

CHARACTERISTIC_STEPS = 200  # within 1e-10 of the result with 400 for a cubic fit of MNIST
DERIVATIVE = "difference4"  # of the products and the picture


@dataclass(frozen=True)
class Waves:
    """The settings of a study.

    Attributes:
        checkpoint: Path of the model, for the record.
        qubits: Qubits of each coordinate, one grid for each.
        extent: Half of the side of the grids.
        steps: Steps in lambda of the exact exponentials, by a Magnus integrator of order 4.
        products: Numbers of Strang steps of the product of rotations, on the finest grid.
        n: Number of samples of the classical flow, for the picture.
        seed: Random seed of the samples.

    Raises:
        HQDMError: If a number is out of range.
    """

    checkpoint: str
    qubits: Sequence[int] = (4, 5, 6)
    extent: float = EXTENT
    steps: int = 32
    products: Sequence[int] = (16, 32, 64)
    n: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse numbers out of range."""
        whole("n", self.n, 1)
        whole("seed", self.seed)
        for steps in (self.steps, *self.products):
            whole("steps", steps, 1, MAX_STEPS)
        if not self.qubits or not self.products:
            raise HQDMError("a study of wave functions needs a grid and a number of steps or more")


def study(fit: CarlemanFit, options: Waves, progress: Progress = silent) -> dict[str, Any]:
    """The distances on all grids, and the products of rotations.

    Args:
        fit: A fit in one or two latents.
        options: The settings.
        progress: Reports the wave functions.

    Returns:
        The contents of `waves.json`.

    Raises:
        HQDMError: If the fit has more latents, or a grid is out of range.
    """
    dim = fit.latents.dim
    if dim > DIMS[-1]:
        raise HQDMError(
            f"a wave function on a grid needs a fit of 1 or 2 latents, got {dim}: run `hqdm "
            "carleman fit --dim 2`"
        )
    grids = [Grid(dim, qubits, options.extent) for qubits in sorted(options.qubits)]
    total = len(grids) * len(DIFFERENCES) + len(options.products)
    done = stepwise(progress, "wave functions", total)
    drift = DiffusionDrift(fit.noise)
    velocity = partial(evaluate, drift)
    first, last = float(fit.noise.nodes[0]), float(fit.noise.nodes[-1])
    characteristics = np.linspace(first, last, CHARACTERISTIC_STEPS + 1)
    rows, waves = [], {}
    for grid in grids:
        density = transported(velocity, grid.points, characteristics)
        exact, inside = grid.wave(density), float(density.sum() * grid.spacing**dim)
        for derivative in DIFFERENCES:
            hamiltonian = ContinuityHamiltonian(grid, velocity, derivative)
            times = np.linspace(first, last, options.steps + 1)
            waves[derivative] = evolve(hamiltonian, grid.normal(), times)
            found = asdict(distances(grid, waves[derivative], exact))
            rows.append(
                {"qubits": grid.qubits, "derivative": derivative, "inside": inside, **found}
            )
            done()
    starts = np.random.default_rng(options.seed).normal(size=(options.n, dim))
    finest = ContinuityHamiltonian(grids[-1], velocity, DERIVATIVE)
    return {
        "options": asdict(options),
        "dim": dim,
        "lambda": [first, last],
        "grids": rows,
        "products": product_rows(finest, waves[DERIVATIVE], exact, (first, last), options, done),
        "probabilities": np.round(waves[DERIVATIVE] ** 2, 8).tolist(),
        "samples": np.round(integrate(drift, starts, first, last), 4).tolist(),
        "data": np.round(fit.samples(last)[: options.n], 4).tolist(),
        "provenance": provenance(),
    }


def product_rows(
    hamiltonian: ContinuityHamiltonian,
    evolved: np.ndarray,
    exact: np.ndarray,
    ends: tuple[float, float],
    options: Waves,
    done: Callable[[], None],
) -> list[dict[str, Any]]:
    """Errors and gates of products of rotations on the finest grid.

    Args:
        hamiltonian: The Hamiltonian.
        evolved: The wave function of exact exponentials.
        exact: That of the classical density.
        ends: The first and the last lambda.
        options: The settings.
        done: Called after each product.
    """
    grid, rows = hamiltonian.grid, []
    for steps in options.products:
        times = np.linspace(*ends, steps + 1)
        found = emulate(hamiltonian, grid.normal(), times)
        rows.append(
            {
                "steps": steps,
                "splitting": float(np.linalg.norm(found - evolved)),
                "total_variation": distances(grid, found, exact).total_variation,
                **asdict(account(hamiltonian, times)),
            }
        )
        done()
    return rows
