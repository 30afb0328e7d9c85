"""Scaling exponents of Carleman linearisation and its solvers, measured and predicted.

    python benchmarks/carleman_scaling.py [--quick] [--out FOLDER]

Writes `carleman_scaling.json` and `carleman_scaling.md`. Every exponent is the slope of a
least-squares line through logarithms of measured values:

* degree of an inverse polynomial: the lowest with a measured error of at most eps, by search; of a
  kernel reflection: the lowest that meets its bound;
* error of the history state: for the lifted logistic equation, by the emulated solver (QLSS);
* queries of QLSS, and time times norm of LCHS and Schrödingerisation: for the same equation;
* cutoff and nodes of LCHS, cutoff of Schrödingerisation: of the grids that meet their error
  bounds;
* truncation error |x - x_N| of the logistic equation dx/dt = -x + x^2 / 2, for which order N keeps
  N terms of a geometric series with the ratio q = x_0 (1 - exp(-t)) / 2. Its logarithm changes by
  log |q| per order, as does the bound of Liu et al. where it holds.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.console import Console

from hqdm.carleman.analysis import liu_bound
from hqdm.carleman.drift import FixedDrift
from hqdm.carleman.lchs.quadrature import Cauchy, Kernel, NearOptimal, sizes
from hqdm.carleman.lchs.solver import LCHS
from hqdm.carleman.linearization import CarlemanSystem
from hqdm.carleman.magnus import Direct, Matrix, Vector, generators
from hqdm.carleman.qlss.inverse import POLYNOMIALS, inverse_polynomial, needed_degree
from hqdm.carleman.qlss.solver import QLSS, algorithm_degree
from hqdm.carleman.schrodingerisation.solver import Schrodingerisation
from hqdm.carleman.schrodingerisation.warp import WINDOW, Profile
from hqdm.utils.errors import HQDMError
from hqdm.utils.tables import Sheet

RESULTS = Path(__file__).parent / "results"
NOTE = "<!-- written by benchmarks/carleman_scaling.py -->\n\n"
HEADERS = ("quantity", "against", "from", "to", "predicted", "fitted")

LOGISTIC = FixedDrift(np.array([[0.0, -1.0, 0.5]]), 2)
INITIAL_VALUE, ORDER = 0.8, 3  # of the lifted logistic equation
KAPPA, EPS = 50.0, 1e-3  # of a polynomial while the other one varies
EXTENT = 1.0  # sum of the norms of the Hermitian parts in LCHS
SMOOTHNESS = 1, 2, 4, 8  # orders q of the initial data
KERNELS: tuple[tuple[str, Kernel, float], ...] = tuple(
    (f"β = {beta}", NearOptimal(beta), 1 / beta) for beta in (0.5, 0.75, 0.9)
)
TRUNCATED = ((0.8, 1.0), (1.2, 2.0), (-1.8, 3.0), (-3.0, 0.5), (-3.0, 2.0))


@dataclass(frozen=True)
class Sizes:
    """Parameter values at which quantities are measured.

    Attributes:
        kappas: Condition numbers.
        digits: Decimal places of eps.
        many_digits: The same for quantities with a closed form.
        times: Evolution times.
        orders: Truncation orders.
    """

    kappas: tuple[float, ...] = (10, 20, 40, 80, 160, 320)
    digits: tuple[float, ...] = (2, 3, 4, 5, 6, 7, 8)
    many_digits: tuple[float, ...] = (10, 20, 40, 80, 160)
    times: tuple[float, ...] = (8, 16, 32, 64)
    orders: tuple[int, ...] = tuple(range(2, 11))


QUICK = Sizes((10, 20, 40), (2, 4, 6), (20, 80), (4, 8), (2, 4, 6))


@dataclass(frozen=True)
class Row:
    """One fitted exponent; for truncation errors, the slope against N itself.

    Attributes:
        quantity: The measured quantity.
        against: The variable.
        first: Its first value.
        last: Its last value.
        predicted: The theoretical exponent.
        fitted: The measured exponent.
    """

    quantity: str
    against: str
    first: float
    last: float
    predicted: float
    fitted: float

    def cells(self) -> tuple[str, ...]:
        """The row as text."""
        ends = f"{self.first:.3g}", f"{self.last:.3g}"
        return self.quantity, self.against, *ends, f"{self.predicted:.3f}", f"{self.fitted:.3f}"


def power_law(
    quantity: str,
    against: str,
    predicted: float,
    x: Sequence[float] | Vector,
    y: Sequence[float] | Vector,
) -> Row:
    """The exponent of y ~ x^exponent."""
    fitted = np.polyfit(np.log(x), np.log(y), 1)[0]
    return Row(quantity, against, float(x[0]), float(x[-1]), predicted, float(fitted))


def lowest_degree(kind: str, kappa: float, eps: float) -> int:
    """The lowest odd degree with a measured error of the polynomial of at most eps."""
    few, enough = 0, (needed_degree(kind, kappa, eps) + 1) // 2
    while enough - few > 1:
        terms = (few + enough) // 2
        if inverse_polynomial(kind, kappa, eps, 2 * terms - 1).error <= eps:
            enough = terms
        else:
            few = terms
    return 2 * enough - 1


def degrees(at: Sizes) -> Iterator[Row]:
    """Degrees of the inverse polynomials."""
    kappas, eps = np.array(at.kappas, dtype=np.float64), 10.0 ** -np.array(at.digits)
    for kind in POLYNOMIALS:
        found = [lowest_degree(kind, kappa, EPS) for kappa in kappas]
        law, theory = degree_law(kind, kappas, EPS)
        yield power_law(f"degree, {kind}, κ varies", law, 1, theory, found)
        found = [lowest_degree(kind, KAPPA, e) for e in eps]
        law, theory = degree_law(kind, KAPPA, eps)
        yield power_law(f"degree, {kind}, ε varies", law, 1, theory, found)


def reflections(at: Sizes) -> Iterator[Row]:
    """Degrees of the kernel reflection."""
    kappas, eps = np.array(at.kappas, dtype=np.float64), 10.0 ** -np.array(at.digits)
    found = [algorithm_degree("reflection", kappa, EPS) for kappa in kappas]
    yield power_law("degree, reflection, κ varies", "κ", 1, kappas, found)
    found = [algorithm_degree("reflection", KAPPA, e) for e in eps]
    law = np.log(2 * np.sqrt(2) / eps)
    yield power_law("degree, reflection, ε varies", "log(2√2/ε)", 1, law, found)


def warps(at: Sizes) -> Iterator[Row]:
    """Cutoffs of Schrödingerisation with initial data of given smoothness."""
    eps = 10.0 ** -np.array(at.digits)
    for order in SMOOTHNESS:
        cutoffs = [Profile(order, 2.0, WINDOW + EXTENT).cutoff(e) for e in eps]
        name = f"cutoff, Schrödingerisation, q = {order}"
        yield power_law(name, "1/ε", 1 / order, 1 / eps, cutoffs)


def degree_law(kind: str, kappa: Vector | float, eps: Vector | float) -> tuple[str, Vector]:
    """The predicted degree up to a constant factor, see `hqdm.carleman.qlss.inverse`."""
    if kind == "cks":
        # the truncation error is close to erfc(D / sqrt b), with b = kappa^2 log(2 kappa / eps)
        terms = np.sqrt(np.log(np.divide(2 * kappa, eps)) * np.log(np.divide(1, eps)))
        return "κ √(log(2κ/ε) log(1/ε))", np.multiply(kappa, terms)
    return "κ log(2/ε)", np.multiply(kappa, np.log(np.divide(2, eps)))


def evolution(time: float) -> tuple[list[Matrix], Vector]:
    """Generators of the lifted logistic equation over unit intervals, and its initial value."""
    system = CarlemanSystem(LOGISTIC, ORDER)
    times = np.linspace(0, time, round(time) + 1)
    y0 = system.lift(np.array([[INITIAL_VALUE]]))[0]
    return generators(system.matrix, times, 2), y0


def evolutions(at: Sizes) -> Iterator[Row]:
    """Errors, queries and norms of both quantum algorithms."""
    eps = 10.0 ** -np.array(at.digits)
    for kind in POLYNOMIALS:
        solved = [QLSS(eps=e, polynomial=kind).solve(*evolution(2)).account.inversion for e in eps]
        errors = [s.history_error for s in solved]
        yield power_law(f"error of the history state, {kind}", "ε", 1, eps, errors)
    solved = [QLSS(eps=EPS).solve(*evolution(t)).account.inversion for t in at.times]
    yield power_law("queries of QLSS", "time", 1, at.times, [s.queries for s in solved])
    simulated = [LCHS(tolerance=EPS).solve(*evolution(t)).account for t in at.times]
    norms = [s.evolution for s in simulated]
    yield power_law("time times norm of LCHS", "time", 1, at.times, norms)
    simulated = [Schrodingerisation(tolerance=EPS).solve(*evolution(t)).account for t in at.times]
    norms = [s.evolution for s in simulated]
    yield power_law("time times norm of Schrödingerisation", "time", 1, at.times, norms)


def kernels(at: Sizes) -> Iterator[Row]:
    """Cutoffs and nodes of LCHS."""
    eps = 10.0 ** -np.array(at.digits)
    cutoffs, nodes = quadratures(Cauchy(), eps)
    yield power_law("cutoff, Cauchy", "1/ε", 1, 1 / eps, cutoffs)
    yield power_law("nodes, Cauchy", "log(1/ε)/ε", 1, np.log(1 / eps) / eps, nodes)
    eps = 10.0 ** -np.array(at.many_digits)
    for name, kernel, exponent in KERNELS:
        cutoffs, nodes = quadratures(kernel, eps)
        yield power_law(f"cutoff, {name}", "log(1/ε)", exponent, np.log(1 / eps), cutoffs)
        yield power_law(f"nodes, {name}", "log(1/ε)", exponent + 1, np.log(1 / eps), nodes)


def quadratures(kernel: Kernel, eps: Vector) -> tuple[list[float], list[int]]:
    """Cutoffs and numbers of nodes at tolerances."""
    cutoffs = [kernel.cutoff(e / 2) for e in eps]
    return cutoffs, [2 * sizes(kernel, EXTENT, e)[1] for e in eps]


def truncation(at: Sizes) -> Iterator[Row]:
    """Truncation errors of the logistic equation against N, with and without a bound."""
    for x0, t in TRUNCATED:
        ratio = x0 / 2 * -np.expm1(-t)
        errors = [truncation_error(order, x0, t) for order in at.orders]
        try:
            liu_bound(LOGISTIC, np.array([x0]), 1, t)
            bound = "bounded"
        except HQDMError:
            bound = "no bound"
        name = f"truncation, x_0 = {x0}, t = {t}, {bound}"
        fitted = float(np.polyfit(at.orders, np.log(errors), 1)[0])
        first, *_, last = at.orders
        yield Row(name, "N", first, last, float(np.log(abs(ratio))), fitted)


def truncation_error(order: int, x0: float, t: float) -> float:
    """|x(t) - x_N(t)|."""
    system = CarlemanSystem(LOGISTIC, order)
    made = generators(system.matrix, np.array([0, t]), 2)
    found = system.project(Direct().solve(made, system.lift(np.array([[x0]]))[0]).y)[0]
    return float(abs(found - x0 * np.exp(-t) / (1 + x0 / 2 * np.expm1(-t))))


def sheet(rows: Sequence[Row]) -> Sheet:
    """The rows as a table."""
    return Sheet("", HEADERS, [row.cells() for row in rows], n_text=2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few sizes, as a test")
    parser.add_argument("--out", type=Path, help="default: benchmarks/results, none with --quick")
    options = parser.parse_args()
    at = QUICK if options.quick else Sizes()
    parts = degrees, reflections, evolutions, kernels, warps, truncation
    rows = [row for part in parts for row in part(at)]
    table = sheet(rows)
    Console().print(table.rich())
    folder = options.out or (None if options.quick else RESULTS)
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps([asdict(row) for row in rows], indent=1, ensure_ascii=False)
        (folder / "carleman_scaling.json").write_text(text + "\n")
        (folder / "carleman_scaling.md").write_text(NOTE + table.markdown())


if __name__ == "__main__":
    main()
