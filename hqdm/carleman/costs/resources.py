r"""What a sample by Carleman linearisation takes, on a quantum computer and on a classical one.

With n = C(d + N, N), the quantum algorithms take

* QLSS: log2(blocks n) + 2 qubits, and as many queries as its inverse polynomial's degree;
* LCHS: log2(n) + log2(nodes) + 2 qubits, and 2 R queries for every generator, where (Gilyen, Su,
  Low and Wiebe 2019, lemma 59; Motlagh and Wiebe 2024, corollary 8)

      R = r(e t / 2, 5 eps / 8),    (t / r(t, eps))^r(t, eps) = eps,    t = K |L| + |H|;

a query being one use of the block encoding of the generators. Each run begins by loading noise and
succeeds with a probability that amplitude amplification raises. Images need d / eps^2 samples of
every state, for d amplitudes to a relative error eps. Two prices of a query are shown:

* oracle: one gate, as complexity theory counts;
* table: d C(d + p, p) coefficients, which were fitted and have no formula, are looked up twice.

Classically the same polynomial is integrated (2 d C(d + p, p) operations at each evaluation), or
the lifted map multiplied (2 d n for every walk), or the network is evaluated.
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
from hqdm.carleman.qlss.inverse import needed_degree
from hqdm.utils.errors import HQDMError, unknown

METHODS = ("qlss", "lchs")
ACCESS = ("oracle", "table")

ASSUMPTIONS = (
    "Block encodings have the sub-normalisation that was measured for QLSS, and the spectral norm, "
    "the least there is, for LCHS.",
    "A query costs one gate (oracle), or two table look-ups of d C(d + p, p) coefficients of one "
    "Toffoli an entry (table); arithmetic on indices and rotations by coefficients are left out.",
    "Loading noise costs one gate for each of d numbers, N times over; preparing the nodes of LCHS "
    "costs one gate a node, twice.",
    "Reading d amplitudes to a relative error eps takes d / eps^2 states, constants and logarithms "
    "left out, times the reciprocal of the share of y that is x.",
    "The norm of a walk is spread evenly over its generators.",
    "Error correction, the speed of gates and memory for tables are left out; fewer than one "
    f"success in {1 / MIN_PROBABILITY:.0e} runs counts as none.",
    "Classically every multiplication and addition counts; making the lifted map is left out, as "
    "is fitting the polynomial on both sides.",
)


@dataclass(frozen=True)
class QuantumCost:
    """What a quantum algorithm takes for one sample.

    Attributes:
        qubits: Of one run, without those of tables.
        queries: To the block encoding in one run.
        success_probability: Of one run.
        states: Runs that have to succeed: states read, in all segments.
        preparation: Gates of one run outside queries.
        table: Toffoli gates of a query that looks coefficients up.
    """

    qubits: int
    queries: int
    success_probability: float
    states: float
    preparation: float
    table: int

    @property
    def runs(self) -> float:
        """Expected runs for one state, with amplitude amplification."""
        return amplified_runs(self.success_probability)

    def gates(self, access: str) -> float:
        """Gates of one sample.

        Args:
            access: The price of a query, "oracle" or "table".

        Raises:
            HQDMError: If it is another.
        """
        if access not in ACCESS:
            raise unknown("access to coefficients", access, ACCESS)
        query = self.table if access == "table" else 1
        return self.states * self.runs * (self.preparation + self.queries * query)


@dataclass(frozen=True)
class ClassicalCost:
    """Floating point operations for one sample.

    Attributes:
        direct: Integrating the polynomial equation.
        lifted: Multiplying with the lifted map.
        network: Sampling with the network; None where it is not known.
    """

    direct: float
    lifted: float
    network: float | None = None

    @property
    def least(self) -> float:
        """The cheapest of them."""
        return min(self.direct, self.lifted, math.inf if self.network is None else self.network)


@dataclass(frozen=True)
class Row:
    """All costs at one dimension; a method that never succeeds has none.

    Attributes:
        case: What was measured or extrapolated.
        qlss: By a linear system solver.
        lchs: By Hamiltonian simulations.
        classical: Without a quantum computer.
    """

    case: Case
    qlss: QuantumCost | None
    lchs: QuantumCost | None
    classical: ClassicalCost

    def gates(self, method: str, access: str) -> float:
        """Gates of one sample, infinite where a method never succeeds.

        Raises:
            HQDMError: If the method or the access is unknown.
        """
        if method not in METHODS:
            raise unknown("quantum method", method, METHODS)
        cost = self.qlss if method == "qlss" else self.lchs
        return math.inf if cost is None else cost.gates(access)

    def cells(self) -> dict[str, Any]:
        """One flat row of a table."""
        made: dict[str, Any] = {
            "d": self.case.dim,
            "N": self.case.order,
            "lifted": n_monomials(self.case.dim, self.case.order),
        }
        for method, cost in (("qlss", self.qlss), ("lchs", self.lchs)):
            for name in ("qubits", "queries", "success_probability", "runs", "states"):
                made[f"{method}_{name}"] = None if cost is None else getattr(cost, name)
            for access in ACCESS:
                made[f"{method}_{access}_gates"] = None if cost is None else cost.gates(access)
        for name in ("direct", "lifted", "network"):
            made[f"classical_{name}"] = getattr(self.classical, name)
        return made


@dataclass(frozen=True)
class Resources:
    """A table of costs and what it takes for granted.

    Attributes:
        rows: By rising dimension.
        tolerance: Of |dx| / |x|.
        assumptions: Sentences.
    """

    rows: tuple[Row, ...]
    tolerance: float
    assumptions: tuple[str, ...] = (*ASSUMPTIONS, *SCALING_ASSUMPTIONS)

    def crossing(self, method: str, access: str, speed: float = 1.0) -> int | None:
        """The dimension from which a quantum algorithm costs less than every classical way.

        Args:
            method: "qlss" or "lchs".
            access: The price of a query, "oracle" or "table".
            speed: Floating point operations in the time of one gate.

        Returns:
            The least dimension of the table from which on this holds to its end; None if there is
            none.
        """
        cheaper = [row.gates(method, access) * speed < row.classical.least for row in self.rows]
        first = len(cheaper) - int(np.argmin([*cheaper[::-1], False]))
        return self.rows[first].case.dim if first < len(cheaper) else None


def n_coefficients(case: Case) -> int:
    """The number of coefficients of the drift, d C(d + p, p)."""
    return case.dim * n_monomials(case.dim, case.degree)


def lookup_toffolis(entries: int) -> int:
    """Toffoli gates of a table of so many entries, by unary iteration (Babbush et al. 2018)."""
    return max(0, entries - 2)


def simulation_degree(time: float, eps: float) -> int:
    """R: exp(-i t x) on [-1, 1] to an error eps by a polynomial of this degree.

    Args:
        time: t >= 0, time times norm.
        eps: In (0, 1).
    """
    if time == 0:
        return 0
    # half the error for even and half for odd powers; r comes from Lambert's function
    scale, digits = math.e * time / 2, math.log(8 / (5 * eps))
    return math.ceil(scale * math.exp(lambertw(digits / scale).real))


def states_read(case: Case, tolerance: float) -> float:
    """States that a sample's amplitudes are read from, in all segments."""
    return case.segments * case.dim / tolerance**2 / case.share


def qlss_cost(case: Case, tolerance: float, polynomial: str = "minimax") -> QuantumCost | None:
    """A sample by a linear system solver.

    Args:
        case: The walk.
        tolerance: Of |dx| / |x|.
        polynomial: See `hqdm.carleman.qlss.inverse`.

    Returns:
        None where success is less likely than `MIN_PROBABILITY`.
    """
    probability = case.inverse_probability * case.final_probability
    if probability < MIN_PROBABILITY:
        return None
    # an error of the history x, relative to it, is this much more of the part that is read
    eps = tolerance * math.sqrt(case.final_probability * case.share)
    n = n_monomials(case.dim, case.order)
    return QuantumCost(
        qubits=qsvt_qubits(math.ceil(case.blocks * n)),
        queries=needed_degree(polynomial, max(case.kappa, 1 + 1e-9), eps),
        success_probability=probability,
        states=states_read(case, tolerance),
        preparation=case.order * case.dim,
        table=2 * lookup_toffolis(n_coefficients(case)),
    )


def lchs_cost(case: Case, tolerance: float, kernel: Kernel | None = None) -> QuantumCost | None:
    """A sample by Hamiltonian simulations.

    Args:
        case: The walk.
        tolerance: Of |dx| / |x|, half for the quadrature and half for the simulations.
        kernel: The near-optimal one by default.

    Returns:
        None where success is less likely than `MIN_PROBABILITY`.
    """
    kernel = kernel or NearOptimal()
    one_norm = mass(kernel, 0.0)
    kept = case.gain * math.exp(-case.shift)  # |y| / |y_0| before growth is multiplied back
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
        table=2 * lookup_toffolis(n_coefficients(case)),
    )


def classical_cost(
    case: Case, evaluations: int, network_flops: float | None = None
) -> ClassicalCost:
    """A sample without a quantum computer.

    Args:
        case: The walk.
        evaluations: Of the drift in a walk, by an integrator that meets the same tolerance.
        network_flops: Of a whole sample by the network.
    """
    lifted = 2 * case.dim * n_monomials(case.dim, case.order)
    return ClassicalCost(
        direct=float(2 * case.segments * evaluations * n_coefficients(case)),
        lifted=float(case.segments * lifted),
        network=network_flops,
    )


def table(
    cases: Sequence[Case],
    tolerance: float,
    evaluations: int,
    network_flops: Sequence[float | None] | None = None,
) -> Resources:
    """One row of costs for every case.

    Args:
        cases: Measured or extrapolated, by rising dimension.
        tolerance: Of |dx| / |x|.
        evaluations: See `classical_cost`.
        network_flops: See `classical_cost`, one for every case.

    Raises:
        HQDMError: If the tolerance is not between 0 and 1, or numbers are missing.
    """
    if not 0 < tolerance < 1:
        raise HQDMError(f"resources need a tolerance between 0 and 1, got {tolerance}")
    flops = [None] * len(cases) if network_flops is None else list(network_flops)
    if len(flops) != len(cases):
        raise HQDMError(f"{len(cases)} cases need as many network_flops, got {len(flops)}")
    rows = [
        Row(
            case,
            qlss_cost(case, tolerance),
            lchs_cost(case, tolerance),
            classical_cost(case, evaluations, flop),
        )
        for case, flop in zip(cases, flops, strict=True)
    ]
    return Resources(tuple(rows), tolerance)


def circuit_gates(operators: Sequence[Any]) -> dict[str, int]:
    """Gates of a circuit in Clifford + T and Toffoli gates, by PennyLane's resource estimator.

    Args:
        operators: PennyLane operators, such as `hqdm.carleman.lchs.circuit.operators` makes.
    """
    import pennylane as qml

    def function() -> None:
        for operator in operators:
            # the estimator does not know this one, only what it is made of
            known = not isinstance(operator, qml.StatePrep)
            for part in [operator] if known else operator.decomposition():
                qml.apply(part)

    return dict(qml.estimator.estimate(function)().gate_counts)
