r"""LCHS: a dissipative linear map as a linear combination of Hamiltonian simulations.

Every generator is split into a symmetric and an antisymmetric part, and the former is shifted,

    -G_m + c_m = L_m + i H_m,    L_m = c_m - (G_m + G_m^T) / 2,    H_m = i (G_m - G_m^T) / 2,

with the smallest c_m >= 0 for which L_m is positive semidefinite. Then (An, Liu and Lin 2023)

    exp(G_M) ... exp(G_1) = exp(c_1 + ... + c_M) int g(k) U(k) dk,
    U(k) = exp(-i (k L_M + H_M)) ... exp(-i (k L_1 + H_1)).

`hqdm.carleman.lchs.quadrature` defines the kernels g and approximates the integral by a sum
sum_j c_j U(k_j). A quantum computer prepares sum_j sqrt(|c_j|) |j>, applies U(k_j) and the phase of
c_j controlled on j, reverses the preparation and measures |0> with the probability

    p = |sum_j c_j U(k_j) y_0|^2 / (sum_j |c_j| |y_0|)^2.

`LCHS` either emulates that sum exactly (`hqdm.carleman.lchs.unitaries`) or runs the circuit
(`hqdm.carleman.lchs.circuit`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hqdm.carleman.lchs.quadrature import Cauchy, Kernel, NearOptimal, Quadrature, quadrature
from hqdm.carleman.lchs.unitaries import Parts, cartesian, emulate, register_qubits
from hqdm.carleman.magnus import Direct, Matrix, Solution, Vector, amplified_runs
from hqdm.utils.errors import HQDMError, unknown

KERNELS = ("cauchy", "near-optimal")
MODES = ("emulate", "circuit")

MIN_PROBABILITY = 1e-12
"""Smallest success probability accepted: about a million rounds even of amplitude amplification."""


@dataclass(frozen=True)
class SimulationAccount:
    """Costs and errors of an algorithm that simulates K L + H for a register of nodes k.

    Attributes:
        cutoff: K, the largest |k|.
        spacing: Spacing of the nodes.
        error: Total error |dy| / |y_0|, measured against the direct solution.
        shifts: c_m of every generator.
        success_probability: Success probability of the final measurement.
        hermitian_norm: sum_m |L_m|, time times norm.
        skew_norm: sum_m |H_m|.
        system_qubits: Qubits of the system.
        ancilla_qubits: Qubits of the node register.
        order: Order of the product formula; None for exact unitaries.
        steps: Steps of the product formula per generator; None for exact unitaries.
    """

    cutoff: float
    spacing: float
    error: float
    shifts: tuple[float, ...]
    success_probability: float
    hermitian_norm: float
    skew_norm: float
    system_qubits: int
    ancilla_qubits: int
    order: int | None
    steps: int | None

    @property
    def growth(self) -> float:
        """exp(sum_m c_m), by which the shifted solution is multiplied."""
        return float(np.exp(sum(self.shifts)))

    @property
    def evolution(self) -> float:
        """Time times norm of the longest simulation, K sum_m |L_m| + sum_m |H_m|.

        It is the cost of the circuit, which applies the unitaries of all nodes in superposition.
        """
        return self.cutoff * self.hermitian_norm + self.skew_norm

    @property
    def repetitions(self) -> float:
        """Expected number of runs of the circuit until success."""
        return 1 / self.success_probability

    @property
    def amplified_repetitions(self) -> float:
        """Expected number of runs and adjoint runs with amplitude amplification."""
        return amplified_runs(self.success_probability)


@dataclass(frozen=True)
class LCHSAccount(SimulationAccount):
    """Costs and errors of LCHS.

    Attributes:
        kernel: Name of the kernel.
        n_unitaries: Number of nodes.
        truncation_error: Bound on |dy| / |y_0| due to the finite cutoff.
        spacing_error: Bound on |dy| / |y_0| due to the spacing.
        one_norm: The sum of |c_j|.
    """

    kernel: str
    n_unitaries: int
    truncation_error: float
    spacing_error: float
    one_norm: float


@dataclass(frozen=True)
class LCHS:
    """Linear combination of Hamiltonian simulations, a `Backend`.

    Attributes:
        mode: "emulate" for exact unitaries by linear algebra, "circuit" for PennyLane.
        kernel: "near-optimal" or "cauchy".
        beta: Exponent of the near-optimal kernel, between 0 and 1.
        tolerance: Tolerance of |dy| / |y_0|, half for the cutoff and half for the spacing. Product
            formulas add a further error.
        order: Order of the circuit's product formula, 1 or even.
        steps: Steps of the circuit's product formula per generator; None for exact unitaries.

    Raises:
        HQDMError: If an option is out of range.
    """

    mode: str = "emulate"
    kernel: str = "near-optimal"
    beta: float = 0.75
    tolerance: float = 1e-6
    order: int = 2
    steps: int | None = 16

    def __post_init__(self) -> None:
        """Check the settings."""
        if self.mode not in MODES:
            raise unknown("mode of LCHS", self.mode, MODES)
        if self.kernel not in KERNELS:
            raise unknown("kernel of LCHS", self.kernel, KERNELS)
        NearOptimal(self.beta)
        if not 0 < self.tolerance < 1:
            raise HQDMError(f"LCHS needs a tolerance between 0 and 1, got {self.tolerance}")
        check_product_formula(self.order, self.steps)

    def solve(self, generators: Sequence[Matrix], y0: Vector) -> Solution:
        """See `Backend.solve`; the account is an `LCHSAccount`.

        Raises:
            HQDMError: If the input is empty, not finite or of the wrong shape; if the success
                probability is below `MIN_PROBABILITY`; if the tolerance needs too many unitaries;
                if the circuit has too many qubits.
        """
        y0 = np.asarray(y0, dtype=np.float64)
        check_start("LCHS", generators, y0)
        parts = [cartesian(generator) for generator in generators]
        exact = Direct().solve(generators, y0).y
        check_probability("LCHS", parts, float(np.linalg.norm(exact) / np.linalg.norm(y0)))
        growth = np.exp(sum(part.shift for part in parts))
        kernel: Kernel = Cauchy() if self.kernel == "cauchy" else NearOptimal(self.beta)
        extent = sum(part.hermitian_norm for part in parts)
        rule = quadrature(kernel, extent, self.tolerance / growth)
        combined = self._combine(parts, rule, y0)
        account = self._account(parts, rule, combined, y0, growth * combined - exact)
        return Solution(growth * combined, account)

    def _combine(self, parts: Sequence[Parts], rule: Quadrature, y0: Vector) -> Vector:
        """sum_j c_j U(k_j) y_0."""
        if self.mode == "emulate":
            return emulate(parts, rule, y0)
        from hqdm.carleman.lchs.circuit import run  # PennyLane takes seconds to load

        return run(parts, rule, y0, self.order, self.steps)

    def _account(
        self, parts: Sequence[Parts], rule: Quadrature, combined: Vector, y0: Vector, error: Vector
    ) -> LCHSAccount:
        """The account of a sum of unitaries, given the error of the rescaled result."""
        size = np.linalg.norm(y0)
        growth = np.exp(sum(part.shift for part in parts))
        simulated = self.mode == "circuit" and self.steps is not None
        n_unitaries = 2 * len(rule.nodes)
        return LCHSAccount(
            kernel=self.kernel,
            n_unitaries=n_unitaries,
            cutoff=rule.cutoff,
            spacing=rule.spacing,
            truncation_error=growth * rule.truncation_error,
            spacing_error=growth * rule.spacing_error,
            error=float(np.linalg.norm(error) / size),
            one_norm=rule.one_norm,
            shifts=tuple(part.shift for part in parts),
            success_probability=float(np.linalg.norm(combined) / (rule.one_norm * size)) ** 2,
            hermitian_norm=sum(part.hermitian_norm for part in parts),
            skew_norm=sum(part.skew_norm for part in parts),
            system_qubits=register_qubits(len(y0)),
            ancilla_qubits=register_qubits(n_unitaries),
            order=self.order if simulated else None,
            steps=self.steps if simulated else None,
        )


def check_product_formula(order: int, steps: int | None) -> None:
    """Refuse an order that is odd and not 1, and a number of steps below 1.

    Raises:
        HQDMError: If either is out of range.
    """
    if order != 1 and (order < 1 or order % 2):
        raise HQDMError(f"a product formula has order 1 or an even one, got {order}")
    if steps is not None and steps < 1:
        raise HQDMError(f"a product formula takes 1 step or more, got {steps}")


def check_start(method: str, generators: Sequence[Matrix], y0: Vector) -> None:
    """Refuse missing generators, mismatched shapes, numbers that are not finite, and y_0 = 0.

    Args:
        method: Name of the algorithm, for the message.
        generators: The generators, `(n, n)` each.
        y0: The initial value, `(n,)`.

    Raises:
        HQDMError: If one of these is the case.
    """
    if y0.ndim != 1 or not np.isfinite(y0).all() or not y0.any():
        raise HQDMError(
            f"{method} needs one finite initial value other than zero, `(n,)`, got shape "
            f"{y0.shape}: a quantum state has one column and norm one"
        )
    if not generators:
        raise HQDMError(f"{method} needs one generator or more, got none")
    for m, generator in enumerate(generators, 1):
        if generator.shape != (len(y0), len(y0)):
            raise HQDMError(
                f"generator {m} has shape {generator.shape}, expected {(len(y0), len(y0))}"
            )
        if not np.isfinite(generator.data).all():
            raise HQDMError(f"generator {m} has entries that are not finite")


def check_probability(method: str, parts: Sequence[Parts], gain: float) -> None:
    """Refuse an evolution whose success probability is too small.

    Args:
        method: Name of the algorithm, for the message.
        parts: The parts of every generator.
        gain: |y| / |y_0|.

    Raises:
        HQDMError: If it is below `MIN_PROBABILITY` or the solution overflows.
    """
    if not np.isfinite(gain):
        raise HQDMError("the solution overflows: integrate over a shorter time or scale the system")
    shifts = [part.shift for part in parts]
    probability = (gain * np.exp(-sum(shifts))) ** 2
    if probability < MIN_PROBABILITY:
        worst = int(np.argmax(shifts))
        raise HQDMError(
            f"{method} would succeed with probability {probability:.1g} at most, expected "
            f"{MIN_PROBABILITY:.0g} or more: |y| / |y_0| is {gain:.2g} and the generators need "
            f"shifts of {sum(shifts):.3g} in all to be dissipative (generator {worst + 1} of "
            f"{len(shifts)}: {shifts[worst]:.3g}); integrate over a shorter time, or scale the "
            "variables until the drift is dissipative"
        )
