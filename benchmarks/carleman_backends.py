"""Quantum algorithms for one segment of a fitted model, in several bases, in two tables.

    python benchmarks/carleman_backends.py --checkpoint benchmarks/models/mnist_unet
        [--fit FILE] [--label CLASS] [--write benchmarks/results/carleman_backends.md]

The first table compares weights of the lifted basis: none, 0.6 per degree, and those of the lowest
cost. The second compares all algorithms in the last basis. The evolution is that of the middle
segment, from the latents of median norm (seed 0). Gates are those of one reading of x at one gate
per query: of states x runs x (preparation + queries).
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console

from hqdm.carleman.analysis import integrate
from hqdm.carleman.costs.comparison import compare
from hqdm.carleman.costs.resources import QuantumCost, quantum_costs
from hqdm.carleman.costs.scaling import Case
from hqdm.carleman.costs.weights import optimal_weights
from hqdm.carleman.lchs.unitaries import cartesian
from hqdm.carleman.linearization import degree_weights, reweighted
from hqdm.carleman.magnus import Direct, Matrix, Vector
from hqdm.carleman.qlss.history import block_system
from hqdm.carleman.qlss.inverse import inverse_polynomial
from hqdm.carleman.qlss.solver import forward_factors, least_singular_value, scale
from hqdm.diffusion.loading import load_denoiser
from hqdm.surrogate.analysis import median_point
from hqdm.surrogate.fit import CarlemanFit
from hqdm.surrogate.learned import ClassFits, load_fit
from hqdm.surrogate.noise_polynomial import DiffusionDrift
from hqdm.surrogate.resources import initial_latents, segment_of
from hqdm.surrogate.sampler import Carleman, build_carleman
from hqdm.utils.tables import Page, Sheet, figure

NOTE = "<!-- written by benchmarks/carleman_backends.py -->\n\n"
METHODS = {
    "qlss": "QLSS, minimax",
    "reflection": "QLSS, reflection",
    "lchs": "LCHS",
    "schrodingerisation": "Schrödingerisation",
}


def evolution(fit: CarlemanFit, segments: int, order: int) -> tuple[list[Matrix], Vector, Carleman]:
    """The generators of the middle segment, its initial value without weights, and the sampler."""
    segment, sampler = segment_of(fit, segments), build_carleman(fit, segments, order=order)
    assert isinstance(sampler, Carleman)
    first, a = float(fit.noise.nodes[0]), segment["from"]
    z = initial_latents(fit, 0)
    if a > first:
        z = integrate(DiffusionDrift(fit.noise), z, first, a)
    y0 = sampler.system.lift(median_point(z)[None])[0]
    return sampler.generators(a, segment["to"]), y0, sampler


def case_of(
    made: Sequence[Matrix], y0: Vector, sampler: Carleman, weights: Vector, tolerance: float
) -> Case:
    """The quantities of the weighted evolution, from sparse solves in place of emulations."""
    weighted, start = [reweighted(generator, weights) for generator in made], weights * y0
    parts = [cartesian(generator) for generator in weighted]
    y = Direct().solve(weighted, start).y
    share = float((y[sampler.system.monomials.linear] ** 2).sum() / (y @ y))
    history = block_system(weighted, start)
    factors = forward_factors(history.matrix)
    x, alpha = factors.solve(history.start), scale(history.matrix, "sparse")
    kappa = alpha / least_singular_value(factors)
    polynomial = inverse_polynomial("minimax", kappa, tolerance)
    size = np.linalg.norm(start)
    return Case(
        dim=sampler.fit.latents.dim,
        order=sampler.order,
        degree=sampler.fit.noise.degree,
        segments=1,
        n_generators=len(made),
        blocks=len(x) / len(y),
        kappa=kappa,
        inverse_probability=float(
            (np.linalg.norm(x) * alpha / size / polynomial.normalisation) ** 2
        ),
        final_probability=float((history.finals(x) ** 2).sum() / (x @ x)),
        hermitian_norm=sum(part.hermitian_norm for part in parts),
        skew_norm=sum(part.skew_norm for part in parts),
        shift=sum(part.shift for part in parts),
        gain=float(np.linalg.norm(y) / size),
        share=share,
    )


def cells(cost: QuantumCost | None) -> tuple[str, ...]:
    """Queries, success probability, runs, qubits, qubits of tables and gates of a cost."""
    if cost is None:
        return ("none",) * 7
    numbers = cost.queries, cost.success_probability, cost.runs, cost.qubits, cost.table_qubits
    gates = (cost.gates(access) for access in ("oracle", "table"))
    return (*(figure(number) for number in numbers), *(figure(number, 2) for number in gates))


def bases_sheet(cases: dict[str, Case], tolerance: float) -> Sheet:
    """The table of the bases."""
    quantities = {
        "condition number": lambda case: case.kappa,
        "share of x": lambda case: case.share,
        "shift": lambda case: case.shift,
        "QLSS, success": lambda case: case.inverse_probability * case.final_probability,
        "shifted |y| / |y_0|, squared": lambda case: case.kept**2,
    }
    rows = [(name, *(figure(q(case)) for case in cases.values())) for name, q in quantities.items()]
    costs = {name: quantum_costs(case, tolerance) for name, case in cases.items()}
    for method, label in METHODS.items():
        found = [cost[method] for cost in costs.values()]
        gates = ("none" if cost is None else figure(cost.gates("oracle"), 2) for cost in found)
        rows.append((f"{label}, gates", *gates))
    return Sheet(f"weights of the lifted basis, tolerance {tolerance:g}", ("", *cases), rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--fit", help="file of `hqdm carleman fit` (next to the checkpoint)")
    parser.add_argument("--label", type=int, default=0, help="class of fits of classes (0)")
    parser.add_argument("--order", type=int, default=5, help="truncation order N (5)")
    parser.add_argument("--segments", type=int, default=16, help="number of segments (16)")
    parser.add_argument("--tolerance", type=float, default=0.01, help="error of x (0.01)")
    parser.add_argument("--write", type=Path, help="Markdown file")
    options = parser.parse_args()
    denoiser = load_denoiser(options.checkpoint)
    fit = load_fit(Path(options.checkpoint), denoiser, options.fit)
    fit = fit.fits[options.label] if isinstance(fit, ClassFits) else fit
    made, y0, sampler = evolution(fit, options.segments, options.order)
    monomials = sampler.system.monomials
    weights = {
        "none": np.ones(len(monomials)),
        "0.6 per degree": degree_weights(monomials, 0.6 ** np.arange(options.order + 1)),
        "lowest cost": optimal_weights(made, y0, monomials),
    }
    cases = {
        name: case_of(made, y0, sampler, found, options.tolerance)
        for name, found in weights.items()
    }
    best = weights["lowest cost"]
    factors = [best[monomials.start(k)] / best[1] for k in range(options.order + 1)]
    segment = segment_of(fit, options.segments)
    columns = "algorithm", "queries", "success", "runs", "qubits", "of tables", "gates", "by tables"
    rows = [
        (row.algorithm, *cells(row.cost))
        for row in compare(cases["lowest cost"], options.tolerance)
    ]
    title = (
        f"one reading of x after segment {segment['number']} of {segment['of']}, lambda "
        f"{segment['from']:.2f} to {segment['to']:.2f}, d = {fit.latents.dim}, N = {options.order}"
    )
    notes = {
        "": [f"weights of degrees 0 to {options.order}: {', '.join(f'{f:.3f}' for f in factors)}"]
    }
    page = Page([bases_sheet(cases, options.tolerance), Sheet(title, columns, rows)], notes)
    Console().print(page.rich())
    if options.write:
        options.write.write_text(NOTE + page.markdown())


if __name__ == "__main__":
    main()
