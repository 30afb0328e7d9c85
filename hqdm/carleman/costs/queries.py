r"""Query counts of published linear-system solvers, and of time-marching.

Queries to a block encoding of B, |B| <= 1 with singular values of at least 1 / kappa, per state
whose error is at most eps:

* reflection (Dalzell 2024, theorem 1), with |x| known: kappa log(2 sqrt 2 / eps);
* shortcut (Dalzell 2024, abstract), with |x| unknown: 56 kappa + 1.05 kappa log(1 / eps), without
  terms of lower order;
* discrete adiabatic (Costa et al. 2022): T steps leave an error a kappa / T, a filter with
  kappa log(2 / eps) queries keeps the solution with the probability (1 - error^2 / 2)^2. T is
  chosen for the fewest queries. The constant a is at most 2305 by proof, and 1.84 on random
  matrices (Costa, An, Babbush and Berry 2023);
* randomised adiabatic (Jennings et al. 2023, theorem 1), with s = log(2 kappa + 3):

      Q = 1741 e / 500 sqrt(kappa^2 + 1) ((133 / 125 + 4 / (25 kappa^(1/3))) pi s + 1)
          + 351 / 50 s^2 (log(451 s^2 / eps) + 1) + kappa log(32 / eps),

  divided by the success probability 0.39 - 0.201 eps, for kappa >= sqrt 12 and eps <= 0.24.

Time-marching (Fang, Lin and Tong 2023) applies L short evolutions of norm 1 or less one after the
other, each as a truncated Taylor series, whose amplitude uniform amplification restores to 1 - 1/L.
Its theorem has no constants; they are set to one here: e L log(e L / eps) uses of a Taylor series
of K terms per short evolution.
"""

import math
from collections.abc import Callable

from scipy.optimize import minimize_scalar

from hqdm.carleman.qlss.history import taylor_order
from hqdm.carleman.qlss.solver import algorithm_degree
from hqdm.utils.errors import HQDMError, unknown

PROVEN, MEASURED = 2305.0, 1.84  # constants a of the discrete adiabatic algorithm


def reflection(kappa: float, eps: float) -> float:
    """Queries of the kernel reflection with a known norm."""
    return float(algorithm_degree("reflection", kappa, eps))


def shortcut(kappa: float, eps: float) -> float:
    """Queries with an unknown norm, by Dalzell's bound without terms of lower order."""
    return 56 * kappa + 1.05 * kappa * math.log(1 / eps)


def discrete_adiabatic(kappa: float, eps: float, constant: float = PROVEN) -> float:
    """Expected queries of the discrete adiabatic algorithm with a filter.

    Args:
        kappa: Condition number.
        eps: Error of the state.
        constant: a, of the error a kappa / T of T steps.
    """
    rest = kappa * math.log(2 / eps)

    def expected(error: float) -> float:
        return (constant * kappa / error + rest) / (1 - error**2 / 2) ** 2

    found = minimize_scalar(expected, bounds=(1e-3, 1.2), method="bounded")
    return float(found.fun)


def randomised_adiabatic(kappa: float, eps: float) -> float:
    """Expected queries of the randomised adiabatic algorithm with a filter."""
    kappa, eps = max(kappa, math.sqrt(12)), min(eps, 0.24)
    s = math.log(2 * kappa + 3)
    steps = (133 / 125 + 4 / (25 * kappa ** (1 / 3))) * math.pi * s + 1
    adiabatic = 1741 * math.e / 500 * math.sqrt(kappa**2 + 1) * steps
    spread = 351 / 50 * s**2 * (math.log(451 * s**2 / eps) + 1)
    return (adiabatic + spread + kappa * math.log(32 / eps)) / (0.39 - 0.201 * eps)


SOLVERS: dict[str, Callable[[float, float], float]] = {
    "reflection": reflection,
    "shortcut": shortcut,
    "discrete adiabatic": discrete_adiabatic,
    "discrete adiabatic, measured": lambda kappa, eps: discrete_adiabatic(kappa, eps, MEASURED),
    "randomised adiabatic": randomised_adiabatic,
}
"""Query counts by algorithm, for one state of the solution."""


def solver_queries(algorithm: str, kappa: float, eps: float) -> int:
    """Expected queries for one state of the solution.

    Args:
        algorithm: A name of `SOLVERS`.
        kappa: Condition number, above 1.
        eps: Error of the state, in (0, 1).

    Raises:
        HQDMError: If the name is unknown or a number is out of range.
    """
    if algorithm not in SOLVERS:
        raise unknown("linear-system solver", algorithm, SOLVERS)
    if not (1 < kappa < math.inf and 0 < eps < 1):
        raise HQDMError(
            "a query count needs a finite kappa above 1 and eps in (0, 1), got "
            f"{kappa:g} and {eps:g}"
        )
    return math.ceil(SOLVERS[algorithm](kappa, eps))


def marching_queries(norm: float, eps: float) -> tuple[int, float]:
    """Queries of time-marching, and the part of the norm that amplification keeps.

    Args:
        norm: Sum of the norms of the generators, |G_1| + ... + |G_M|.
        eps: Error of the final state, relative to the initial one.
    """
    steps = max(2, math.ceil(norm))
    terms = taylor_order(norm / steps, steps, eps)
    uses = math.e * steps * math.log(math.e * steps / eps)
    return math.ceil(steps * uses * terms), (1 - 1 / steps) ** steps
