r"""Resources of one solution by Carleman linearisation, on a quantum and on a classical computer.

With n = C(d + N, N), the quantum algorithms take

* QLSS: log2(blocks n) + 2 qubits, and a number of queries equal to the degree of the inverse
  polynomial;
* QLSS by a kernel reflection, with |x| known: log2(blocks n) + 3 qubits, and queries as in
  `hqdm.carleman.costs.queries`;
* LCHS: log2(n) + log2(nodes) + 2 qubits, and 2 R queries per generator, where (Gilyen, Su, Low and
  Wiebe 2019, lemma 59; Motlagh and Wiebe 2024, corollary 8)

      R = r(e t / 2, 5 eps / 8),    (t / r(t, eps))^r(t, eps) = eps,    t = K |L| + |H|;

* Schrödingerisation: log2(n) + log2(modes) + 2 qubits, and queries like LCHS with its own K.

A query is one use of the block encoding of the generators. Each run begins by loading the initial
value and succeeds with a probability that amplitude amplification increases. Reading d amplitudes
to a relative error eps takes d / eps^2 copies of each state. Two costs of a query are reported:

* oracle: one gate, as in query complexity;
* table: two look-ups of d C(d + p, p) coefficients, which are fitted and have no closed form, by
  SELECT-SWAP (Low, Kliuchnikov and Schaeffer 2018): ceil(E / s) - 2 + b (s - 1) Toffoli gates for
  E entries of b bits, with s a power of two and b s qubits.

Classically, the same polynomial equation is integrated (2 d C(d + p, p) operations per
evaluation), or the lifted map is applied (2 d n operations per evolution). If the polynomial
approximates another drift, the cost of integrating the original equation may be given for
comparison.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import lambertw

from hqdm.carleman.costs.scaling import ASSUMPTIONS as SCALING_ASSUMPTIONS
from hqdm.carleman.costs.scaling import Case
from hqdm.carleman.lchs.quadrature import Kernel, NearOptimal, mass, sizes
from hqdm.carleman.lchs.solver import MIN_PROBABILITY
from hqdm.carleman.magnus import amplified_runs
from hqdm.carleman.monomials import n_monomials
from hqdm.carleman.qlss.circuit import circuit_qubits as qsvt_qubits
from hqdm.carleman.qlss.solver import algorithm_degree
from hqdm.carleman.schrodingerisation.warp import warp
from hqdm.utils.errors import HQDMError, unknown

METHODS = ("qlss", "reflection", "lchs", "schrodingerisation")
ACCESS = ("oracle", "table")
CLASSICAL = ("direct", "lifted", "original")
COEFFICIENT_BITS = 16

ASSUMPTIONS = (
    "Block encodings have the measured sub-normalisation for QLSS, and the spectral norm, the "
    "smallest possible, for LCHS.",
    "A query costs one gate (oracle), or the Toffoli gates of two SELECT-SWAP look-ups of "
    f"d C(d + p, p) coefficients of {COEFFICIENT_BITS} bits (table), with as many qubits as make "
    "them fewest; index arithmetic and rotations by coefficients are neglected.",
    "Loading the initial value costs one gate for each of d numbers, N times; preparing the nodes "
    "of LCHS costs one gate per node, twice, the points of Schrödingerisation one gate per point "
    "and two Fourier transforms.",
    "The kernel reflection knows the norm of the solution: its estimate, once per segment, is "
    "neglected beside the states that are read.",
    "Reading d amplitudes to a relative error eps takes d / eps^2 states, up to constants and "
    "logarithms, divided by the fraction |x|^2 / |y|^2.",
    "The norm of an evolution is distributed evenly over its generators.",
    "Error correction, gate times and the memory of tables are neglected; a success probability "
    f"below {MIN_PROBABILITY:.0e} counts as zero.",
    "Classically every multiplication and addition counts; constructing the lifted map is "
    "neglected, as is fitting the polynomial on both sides.",
)


@dataclass(frozen=True)
class QuantumCost:
    """Resources of a quantum algorithm for one solution.

    Attributes:
        qubits: Qubits of one run, without those of tables.
        queries: Queries to the block encoding in one run.
        success_probability: Success probability of one run.
        states: Number of states read, that is of successful runs, over all segments.
        preparation: Gates of one run outside queries.
        table: Toffoli gates per query with table look-ups.
        table_qubits: Qubits of a look-up.
    """

    qubits: int
    queries: int
    success_probability: float
    states: float
    preparation: float
    table: int
    table_qubits: int

    @property
    def runs(self) -> float:
        """Expected number of runs per state, with amplitude amplification."""
        return amplified_runs(self.success_probability)

    def gates(self, access: str) -> float:
        """Gates of one solution.

        Args:
            access: The cost model of a query, "oracle" or "table".

        Raises:
            HQDMError: If it is neither.
        """
        if access not in ACCESS:
            raise unknown("access to coefficients", access, ACCESS)
        query = self.table if access == "table" else 1
        return self.states * self.runs * (self.preparation + self.queries * query)


@dataclass(frozen=True)
class ClassicalCost:
    """Floating-point operations for one solution.

    Attributes:
        direct: Operations of integrating the polynomial equation.
        lifted: Operations of applying the lifted map.
        original: Operations of integrating the equation whose drift the polynomial approximates;
            None if there is none.
    """

    direct: float
    lifted: float
    original: float | None = None

    @property
    def least(self) -> float:
        """The smallest of the costs."""
        return min(self.direct, self.lifted, math.inf if self.original is None else self.original)


@dataclass(frozen=True)
class Row:
    """All costs at one dimension.

    Attributes:
        case: The measured or extrapolated quantities.
        quantum: Costs by the names of `METHODS`; None for a method of negligible success
            probability.
        classical: Cost on a classical computer.
    """

    case: Case
    quantum: dict[str, QuantumCost | None]
    classical: ClassicalCost

    def gates(self, method: str, access: str) -> float:
        """Gates of one solution, infinite for a method of negligible success probability.

        Raises:
            HQDMError: If the method or the access is unknown.
        """
        if method not in METHODS:
            raise unknown("quantum method", method, METHODS)
        cost = self.quantum[method]
        return math.inf if cost is None else cost.gates(access)

    def operations(self, against: str | None) -> float:
        """Operations of one classical method of `CLASSICAL`, or of the cheapest for None.

        Raises:
            HQDMError: If the method is unknown.
        """
        if against is None:
            return self.classical.least
        if against not in CLASSICAL:
            raise unknown("classical method", against, CLASSICAL)
        found = getattr(self.classical, against)
        return math.inf if found is None else float(found)

    def cells(self) -> dict[str, Any]:
        """The costs as a flat row of a table, by column name."""
        made: dict[str, Any] = {
            "d": self.case.dim,
            "N": self.case.order,
            "lifted": n_monomials(self.case.dim, self.case.order),
        }
        for method, cost in self.quantum.items():
            for name in ("qubits", "queries", "success_probability", "runs", "states"):
                made[f"{method}_{name}"] = None if cost is None else getattr(cost, name)
            for access in ACCESS:
                made[f"{method}_{access}_gates"] = None if cost is None else cost.gates(access)
        for name in CLASSICAL:
            made[f"classical_{name}"] = getattr(self.classical, name)
        return made


@dataclass(frozen=True)
class Resources:
    """A table of costs and the assumptions behind it.

    Attributes:
        rows: Rows in increasing order of dimension.
        tolerance: Tolerance of |dx| / |x|.
        assumptions: The assumptions, as sentences.
    """

    rows: tuple[Row, ...]
    tolerance: float
    assumptions: tuple[str, ...] = (*ASSUMPTIONS, *SCALING_ASSUMPTIONS)

    def crossing(
        self, method: str, access: str, speed: float = 1.0, against: str | None = None
    ) -> int | None:
        """The dimension from which a quantum algorithm costs less than classical methods.

        Args:
            method: A name of `METHODS`.
            access: The cost model of a query, "oracle" or "table".
            speed: Floating-point operations in the time of one gate.
            against: One classical method, "direct", "lifted" or "original"; all of them by default.

        Returns:
            The smallest dimension of the table from which this holds for all larger ones; None if
            there is none.
        """
        cheaper = [row.gates(method, access) * speed < row.operations(against) for row in self.rows]
        first = len(cheaper) - int(np.argmin([*cheaper[::-1], False]))
        return self.rows[first].case.dim if first < len(cheaper) else None


def n_coefficients(case: Case) -> int:
    """The number d C(d + p, p) of coefficients of the drift."""
    return case.dim * n_monomials(case.dim, case.degree)


def lookup(entries: int, bits: int = COEFFICIENT_BITS) -> tuple[int, int]:
    """Toffoli gates and qubits of a SELECT-SWAP look-up with the fewest of the former.

    For s = 1 it is the unary iteration of Babbush et al. (2018).

    Args:
        entries: Number of entries E, 1 or more.
        bits: Bits b of an entry.
    """
    swaps = (2**k for k in range((entries - 1).bit_length() + 1))
    return min((max(0, -(-entries // s) - 2) + bits * (s - 1), bits * s) for s in swaps)


def table_access(case: Case) -> dict[str, int]:
    """The Toffoli gates of the two look-ups of a query, and the qubits of one."""
    gates, qubits = lookup(n_coefficients(case))
    return {"table": 2 * gates, "table_qubits": qubits}


def simulation_degree(time: float, eps: float) -> int:
    """The degree R of a polynomial that approximates exp(-i t x) on [-1, 1] to an error eps.

    Args:
        time: t >= 0, time times norm.
        eps: Error in (0, 1).
    """
    if time == 0:
        return 0
    # half the error for even and half for odd powers; r comes from Lambert's function
    scale, digits = math.e * time / 2, math.log(8 / (5 * eps))
    return math.ceil(scale * math.exp(lambertw(digits / scale).real))


def states_read(case: Case, tolerance: float) -> float:
    """Number of states from which the amplitudes of one solution are read, over all segments."""
    return case.segments * case.dim / tolerance**2 / case.share


def qlss_cost(case: Case, tolerance: float, polynomial: str = "minimax") -> QuantumCost | None:
    """The cost of one solution by a quantum linear system solver.

    Args:
        case: The evolution.
        tolerance: Tolerance of |dx| / |x|.
        polynomial: "minimax", "cks" or "reflection", see `hqdm.carleman.qlss.solver.QLSS`.

    Returns:
        The cost; None if the success probability is below `MIN_PROBABILITY`.
    """
    reflected = polynomial == "reflection"
    inverse_probability = 1.0 if reflected else case.inverse_probability
    probability = inverse_probability * case.final_probability
    if probability < MIN_PROBABILITY:
        return None
    # the relative error of the part that is read exceeds that of the whole history by this factor
    eps = tolerance * math.sqrt(case.final_probability * case.share)
    n = n_monomials(case.dim, case.order)
    return QuantumCost(
        qubits=qsvt_qubits(math.ceil(case.blocks * n)) + reflected,
        queries=algorithm_degree(polynomial, max(case.kappa, 1 + 1e-9), eps),
        success_probability=probability,
        states=states_read(case, tolerance),
        preparation=case.order * case.dim,
        **table_access(case),
    )


def lchs_cost(case: Case, tolerance: float, kernel: Kernel | None = None) -> QuantumCost | None:
    """The cost of one solution by a linear combination of Hamiltonian simulations.

    Args:
        case: The evolution.
        tolerance: Tolerance of |dx| / |x|, half for the quadrature and half for the simulations.
        kernel: Kernel of LCHS; the near-optimal kernel by default.

    Returns:
        The cost; None if the success probability is below `MIN_PROBABILITY`.
    """
    kernel = kernel or NearOptimal()
    one_norm, kept = mass(kernel, 0.0), case.kept
    probability = min(1.0, (kept / one_norm) ** 2)
    if probability < MIN_PROBABILITY:
        return None
    eps = tolerance * math.sqrt(case.share) * kept / 2
    spacing, count = sizes(kernel, case.hermitian_norm, eps)
    time = spacing * (count - 0.5) * case.hermitian_norm + case.skew_norm
    degree = simulation_degree(time / case.n_generators, eps / (one_norm * case.n_generators))
    system = (n_monomials(case.dim, case.order) - 1).bit_length()
    return QuantumCost(
        qubits=system + (2 * count - 1).bit_length() + 2,
        queries=math.ceil(2 * degree * case.n_generators),
        success_probability=probability,
        states=states_read(case, tolerance),
        preparation=case.order * case.dim + 4 * count,
        **table_access(case),
    )


def schrodingerisation_cost(case: Case, tolerance: float) -> QuantumCost | None:
    """The cost of one solution by Schrödingerisation.

    Args:
        case: The evolution.
        tolerance: Tolerance of |dx| / |x|, half for the grid and half for the simulations.

    Returns:
        The cost; None if the success probability is below `MIN_PROBABILITY`.
    """
    if case.kept**2 < MIN_PROBABILITY:
        return None
    eps = tolerance * math.sqrt(case.share) * case.kept / 2
    grid = warp(case.hermitian_norm, eps)
    probability = min(1.0, case.kept**2 * grid.fraction)
    time = grid.cutoff * case.hermitian_norm + case.skew_norm
    # an error of the whole state is larger relative to its part in the window
    allowed = eps * math.sqrt(grid.fraction) / case.n_generators
    degree = simulation_degree(time / case.n_generators, allowed)
    system = (n_monomials(case.dim, case.order) - 1).bit_length()
    points = grid.n_modes.bit_length() - 1
    return QuantumCost(
        qubits=system + points + 2,
        queries=math.ceil(2 * degree * case.n_generators),
        success_probability=probability,
        states=states_read(case, tolerance),
        preparation=case.order * case.dim + grid.n_modes + 2 * points**2,
        **table_access(case),
    )


def classical_cost(
    case: Case, evaluations: int, original_flops: float | None = None
) -> ClassicalCost:
    """The cost of one solution on a classical computer.

    Args:
        case: The evolution.
        evaluations: Evaluations of the drift per segment by an integrator that meets the tolerance.
        original_flops: See `ClassicalCost.original`.
    """
    lifted = 2 * case.dim * n_monomials(case.dim, case.order)
    return ClassicalCost(
        direct=float(2 * case.segments * evaluations * n_coefficients(case)),
        lifted=float(case.segments * lifted),
        original=original_flops,
    )


def quantum_costs(case: Case, tolerance: float) -> dict[str, QuantumCost | None]:
    """The costs of one solution by every method of `METHODS`."""
    return {
        "qlss": qlss_cost(case, tolerance),
        "reflection": qlss_cost(case, tolerance, "reflection"),
        "lchs": lchs_cost(case, tolerance),
        "schrodingerisation": schrodingerisation_cost(case, tolerance),
    }


def table(
    cases: Sequence[Case],
    tolerance: float,
    evaluations: int,
    original_flops: Sequence[float | None] | None = None,
) -> Resources:
    """Tabulate the costs of several cases.

    Args:
        cases: Measured or extrapolated cases, in increasing order of dimension.
        tolerance: Tolerance of |dx| / |x|.
        evaluations: See `classical_cost`.
        original_flops: See `ClassicalCost.original`, one per case.

    Raises:
        HQDMError: If the tolerance is not between 0 and 1, or `original_flops` and the cases differ
            in number.
    """
    if not 0 < tolerance < 1:
        raise HQDMError(f"resources need a tolerance between 0 and 1, got {tolerance}")
    flops = [None] * len(cases) if original_flops is None else list(original_flops)
    if len(flops) != len(cases):
        raise HQDMError(
            f"expected one value of original_flops per case, {len(cases)}, got {len(flops)}"
        )
    rows = [
        Row(
            case,
            quantum_costs(case, tolerance),
            classical_cost(case, evaluations, flop),
        )
        for case, flop in zip(cases, flops, strict=True)
    ]
    return Resources(tuple(rows), tolerance)


def circuit_gates(operators: Sequence[Any]) -> dict[str, int]:
    """Count the Clifford, T and Toffoli gates of a circuit by PennyLane's resource estimator.

    Args:
        operators: PennyLane operators, such as those of `hqdm.carleman.lchs.circuit.operators`.
    """
    import pennylane as qml

    def function() -> None:
        for operator in operators:
            # the estimator supports StatePrep only in decomposed form
            known = not isinstance(operator, qml.StatePrep)
            for part in [operator] if known else operator.decomposition():
                qml.apply(part)

    return dict(qml.estimator.estimate(function)().gate_counts)
