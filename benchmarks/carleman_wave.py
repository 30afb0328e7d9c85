"""Wave functions of flows on grids: their distances to densities in closed form, and to fits.

    python benchmarks/carleman_wave.py [--quick] [--out FOLDER]

Writes `carleman_wave.md`: the total variation between psi^2 and the density of the flow at the last
lambda, by derivative and qubits per coordinate, for

* a normal distribution and a mixture of two in d = 1, and the product of two mixtures in d = 2,
  whose flows and densities are known in closed form (`hqdm.diffusion.analytic`);
* a trained flow in d = 1: the cubic noise polynomial of the first principal component of the
  digits, with the density on its characteristics;

and the distance of the product of rotations and of its circuit to the exact exponentials. The
trained flow in d = 2 is that of `hqdm carleman wave`.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from hqdm.carleman.drift import evaluate
from hqdm.carleman.magnus import Vector
from hqdm.carleman.waves.characteristics import transported
from hqdm.carleman.waves.circuit import run
from hqdm.carleman.waves.grid import Grid, distances
from hqdm.carleman.waves.hamiltonian import (
    DERIVATIVES,
    FOURIER,
    ContinuityHamiltonian,
    Velocity,
    evolve,
)
from hqdm.carleman.waves.product import emulate
from hqdm.data.images import load_images
from hqdm.diffusion.analytic import MixtureDenoiser
from hqdm.diffusion.schedule import CosineSchedule
from hqdm.surrogate.latents import Latents
from hqdm.surrogate.noise_polynomial import DiffusionDrift, fit_noise, levels
from hqdm.utils.pixels import to_float
from hqdm.utils.tables import Page, Sheet, figure

RESULTS = Path(__file__).parent / "results"
NOTE = "<!-- written by benchmarks/carleman_wave.py -->\n\n"
ENDS = -4.0, 2.5  # lambda
EXTENT = 6.0
STEPS = 40  # of the Magnus integrator of order 4
SAMPLES, NODES, DEGREE = 20_000, 32, 3  # of the fit
Density = Callable[[Vector, float], Vector]


@dataclass(frozen=True)
class Flow:
    """A flow and its density.

    Attributes:
        name: Name of the row.
        dim: Number of coordinates.
        velocity: Its velocity in lambda.
        density: The density at points and lambda.
    """

    name: str
    dim: int
    velocity: Velocity
    density: Density


def known(name: str, dim: int, weights: list[float], means: list[float], v: list[float]) -> Flow:
    """The flow of independent coordinates from a mixture of normal distributions."""
    schedule = CosineSchedule()
    mixture = MixtureDenoiser(
        *(torch.tensor(part).double() for part in (weights, means, v)), schedule
    )

    def at(lam: float) -> torch.Tensor:
        return schedule.inverse(torch.tensor(lam, dtype=torch.float64))

    def velocity(x: Vector, lam: float) -> Vector:
        _, sigma = levels(lam)
        eps = mixture(torch.as_tensor(x), at(lam)).eps.numpy()
        return sigma**2 * x - sigma * eps

    def density(x: Vector, lam: float) -> Vector:
        points = torch.as_tensor(x).requires_grad_()
        (each,) = torch.autograd.grad(mixture.cdf(points, at(lam)).sum(), points)
        return each.prod(1).numpy()

    return Flow(name, dim, velocity, density)


def trained() -> Flow:
    """The flow of a noise polynomial that is fitted to one principal component of the digits."""
    flat = to_float(load_images("digits", "train").images).flatten(1).double().numpy()
    clean = Latents.fit(flat, 2).of(flat, 40.0)[:, :1]  # alpha = 1 to 1e-17
    rng = np.random.default_rng(0)
    chosen = clean[rng.choice(len(clean), SAMPLES)]
    noise = rng.normal(size=chosen.shape)

    def noised(lam: float) -> tuple[Vector, Vector]:
        alpha, sigma = levels(lam)
        return alpha * chosen + sigma * noise, noise

    fit = fit_noise(np.linspace(*ENDS, NODES), noised, DEGREE)
    velocity = partial(evaluate, DiffusionDrift(fit.polynomial))

    def density(x: Vector, lam: float) -> Vector:
        if lam == ENDS[0]:
            return np.exp(-(x**2).sum(1) / 2)
        return transported(velocity, x, np.linspace(ENDS[0], lam, 401))

    return Flow("cubic fit, one component of digits", 1, velocity, density)


def flows() -> list[Flow]:
    """The flows of the table."""
    mixture = ([0.4, 0.6], [-0.9, 0.8], [0.05, 0.1])
    return [
        known("normal, d = 1", 1, [1.0], [0.5], [0.3]),
        known("mixture, d = 1", 1, *mixture),
        known("mixtures, d = 2", 2, *mixture),
        trained(),
    ]


def ends_of(flow: Flow, grid: Grid) -> tuple[Vector, Vector]:
    """The wave functions of the density at both ends."""
    first, last = (grid.wave(flow.density(grid.points, lam)) for lam in ENDS)
    return first, last


def convergence(qubits: tuple[int, ...], made: list[Flow]) -> Sheet:
    """Total variation by flow, derivative and qubits."""
    times, rows = np.linspace(*ENDS, STEPS + 1), []
    for flow in made:
        for derivative in DERIVATIVES:
            if flow.dim == 2 and derivative == FOURIER:
                continue  # dense along each coordinate, minutes
            cells = []
            for n in qubits:
                print(flow.name, derivative, n, flush=True)
                if n * flow.dim > 12:
                    cells.append("")
                    continue
                grid = Grid(flow.dim, n, EXTENT)
                first, last = ends_of(flow, grid)
                found = evolve(ContinuityHamiltonian(grid, flow.velocity, derivative), first, times)
                cells.append(figure(distances(grid, found, last).total_variation))
            rows.append((flow.name, derivative, *cells))
    columns = ("flow", "derivative", *(f"{n} qubits" for n in qubits))
    return Sheet("total variation, exact exponentials", columns, rows, n_text=2)


def splitting(steps: tuple[int, ...], flow: Flow) -> Sheet:
    """The distance of products of rotations, and of their circuit, to the exact exponentials."""
    grid = Grid(flow.dim, 4, EXTENT)
    hamiltonian = ContinuityHamiltonian(grid, flow.velocity)
    first, _ = ends_of(flow, grid)
    exact, rows = evolve(hamiltonian, first, np.linspace(*ENDS, 4 * STEPS + 1)), []
    for count in steps:
        times = np.linspace(*ENDS, count + 1)
        product, circuit = (made(hamiltonian, first, times) for made in (emulate, run))
        apart = float(np.abs(product - circuit).max())
        rows.append((str(count), figure(float(np.linalg.norm(product - exact))), figure(apart, 1)))
    title = f"{flow.name}, {grid.qubits * grid.dim} qubits: the product of rotations"
    return Sheet(title, ("steps", "|dpsi| to exact", "circuit to product"), rows, n_text=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few sizes, as a test")
    parser.add_argument("--out", type=Path, help="default: benchmarks/results, none with --quick")
    options = parser.parse_args()
    made = flows()
    qubits, steps = ((4, 5), (4, 8)) if options.quick else ((4, 5, 6, 7), (8, 16, 32))
    chosen = made[:1] if options.quick else made
    page = Page([convergence(qubits, chosen), splitting(steps, made[1])], {})
    Console().print(page.rich())
    folder = options.out or (None if options.quick else RESULTS)
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "carleman_wave.md").write_text(NOTE + page.markdown())


if __name__ == "__main__":
    main()
