r"""All quantum algorithms for one evolution: queries, success probability, qubits and gates.

Linear-system solvers with published query counts (`hqdm.carleman.costs.queries`) prepare the
history state; the measured block is the final state with the probability of the case. Time-marching
keeps (|y| / |y_0|)^2 of the shifted evolution, times that of its amplification. All other rows are
those of `hqdm.carleman.costs.resources`.
"""

import math
from dataclasses import dataclass

from hqdm.carleman.costs.queries import SOLVERS, marching_queries, solver_queries
from hqdm.carleman.costs.resources import (
    QuantumCost,
    lchs_cost,
    qlss_cost,
    schrodingerisation_cost,
    states_read,
    table_access,
)
from hqdm.carleman.costs.scaling import Case
from hqdm.carleman.lchs.quadrature import Cauchy
from hqdm.carleman.monomials import n_monomials
from hqdm.carleman.qlss.circuit import circuit_qubits


@dataclass(frozen=True)
class Comparison:
    """One algorithm and its cost.

    Attributes:
        algorithm: Name of the algorithm.
        cost: Its cost; None if its success probability is negligible.
    """

    algorithm: str
    cost: QuantumCost | None


def solver_cost(case: Case, tolerance: float, algorithm: str) -> QuantumCost:
    """The cost of one solution by a linear-system solver with a published query count.

    Args:
        case: The evolution.
        tolerance: Tolerance of |dx| / |x|.
        algorithm: A name of `hqdm.carleman.costs.queries.SOLVERS`.

    Raises:
        HQDMError: If the name is unknown.
    """
    eps = tolerance * math.sqrt(case.final_probability * case.share)
    n = n_monomials(case.dim, case.order)
    return QuantumCost(
        qubits=circuit_qubits(math.ceil(case.blocks * n)) + 1,
        queries=solver_queries(algorithm, case.kappa, eps),
        success_probability=case.final_probability,
        states=states_read(case, tolerance),
        preparation=case.order * case.dim,
        **table_access(case),
    )


def marching_cost(case: Case, tolerance: float) -> QuantumCost:
    """The cost of one solution by time-marching, up to the constants of its theorem.

    Args:
        case: The evolution.
        tolerance: Tolerance of |dx| / |x|.
    """
    eps = tolerance * math.sqrt(case.share) * case.kept
    queries, amplified = marching_queries(case.hermitian_norm + case.skew_norm, eps)
    n = n_monomials(case.dim, case.order)
    return QuantumCost(
        qubits=circuit_qubits(n) + 2,
        queries=queries,
        success_probability=min(1.0, (case.kept * amplified) ** 2),
        states=states_read(case, tolerance),
        preparation=case.order * case.dim,
        **table_access(case),
    )


def compare(case: Case, tolerance: float) -> list[Comparison]:
    """The costs of one evolution by every algorithm, at one tolerance of |dx| / |x|.

    Raises:
        HQDMError: If the condition number is not above 1.
    """
    costs = {
        "QLSS, Childs-Kothari-Somma polynomial": qlss_cost(case, tolerance, "cks"),
        "QLSS, minimax polynomial": qlss_cost(case, tolerance),
        **{f"QLSS, {name}": solver_cost(case, tolerance, name) for name in SOLVERS},
        "time-marching": marching_cost(case, tolerance),
        "LCHS, Cauchy kernel": lchs_cost(case, tolerance, Cauchy()),
        "LCHS, near-optimal kernel": lchs_cost(case, tolerance),
        "Schrödingerisation": schrodingerisation_cost(case, tolerance),
    }
    return [Comparison(*item) for item in costs.items()]
