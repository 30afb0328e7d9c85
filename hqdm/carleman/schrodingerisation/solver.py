r"""Schrödingerisation: a dissipative linear map as a unitary one in one more dimension.

With the parts L_m >= 0 and H_m of shifted generators (`hqdm.carleman.lchs.unitaries`), the warped
phase transformation v(s, p) = exp(-p) u(s) turns du/ds = -(L_m + i H_m) u into a Schrödinger
equation, with the Hamiltonian

    eta x L_m + I x H_m,        eta = i d/dp

(Jin, Liu and Yu 2022; `hqdm.carleman.schrodingerisation.warp` has its initial data g, grid and
error bound). The solution of the original equation is

    exp(G_M) ... exp(G_1) y_0 = exp(c_1 + ... + c_M) exp(p_j) v(p_j),    0 <= p_j <= w,

that is, the equation without shifts is recovered from p > p* = c_1 + ... + c_M, where c_m is the
largest eigenvalue of the symmetric part of G_m, if positive. A quantum computer prepares
sum_j g(p_j) |j> |y_0>, applies the evolution, and measures a point of the window with the
probability

    p = sum_{window} |v_j|^2 / (sum_j g(p_j)^2 |y_0|^2).

`Schrodingerisation` either emulates the evolution exactly or runs the circuit
(`hqdm.carleman.schrodingerisation.circuit`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hqdm.carleman.lchs.solver import (
    MODES,
    SimulationAccount,
    check_probability,
    check_product_formula,
    check_start,
)
from hqdm.carleman.lchs.unitaries import Parts, cartesian, register_qubits, simulate
from hqdm.carleman.magnus import Direct, Matrix, Solution, Vector
from hqdm.carleman.schrodingerisation.warp import ORDERS, Warp, warp
from hqdm.utils.checks import whole
from hqdm.utils.errors import HQDMError, unknown

NAME = "Schrödingerisation"


@dataclass(frozen=True)
class SchrodingerisationAccount(SimulationAccount):
    """Costs and errors of Schrödingerisation.

    Attributes:
        n_modes: Number of grid points and of Fourier modes.
        smoothness: q, the order of convergence in the grid spacing.
        grid_error: Bound on |dy| / |y_0| due to the grid.
        fraction: Part of the state in the window for a solution of constant norm.
    """

    n_modes: int
    smoothness: int
    grid_error: float
    fraction: float


@dataclass(frozen=True)
class Schrodingerisation:
    """A backend that applies exponentials by a Schrödinger equation in one more dimension.

    Attributes:
        mode: "emulate" for exact unitaries by linear algebra, "circuit" for PennyLane.
        smoothness: Order q of the initial data, see `hqdm.carleman.schrodingerisation.warp`; by
            default the cheapest for the tolerance.
        tolerance: Tolerance of |dy| / |y_0| of the grid. Product formulas add a further error.
        order: Order of the circuit's product formula, 1 or even.
        steps: Steps of the circuit's product formula per generator; None for exact unitaries.

    Raises:
        HQDMError: If an option is out of range.
    """

    mode: str = "emulate"
    smoothness: int | None = None
    tolerance: float = 1e-6
    order: int = 2
    steps: int | None = 16

    def __post_init__(self) -> None:
        """Check the settings."""
        if self.mode not in MODES:
            raise unknown(f"mode of {NAME}", self.mode, MODES)
        if self.smoothness is not None:
            whole(f"smoothness of {NAME}", self.smoothness, ORDERS[0], ORDERS[-1])
        if not 0 < self.tolerance < 1:
            raise HQDMError(f"{NAME} needs a tolerance between 0 and 1, got {self.tolerance}")
        check_product_formula(self.order, self.steps)

    def solve(self, generators: Sequence[Matrix], y0: Vector) -> Solution:
        """See `Backend.solve`; the account is a `SchrodingerisationAccount`.

        Raises:
            HQDMError: If the input is empty, not finite or of the wrong shape; if the success
                probability is below `MIN_PROBABILITY` of `hqdm.carleman.lchs.solver`; if the
                tolerance needs too many grid points; if the circuit has too many qubits.
        """
        y0 = np.asarray(y0, dtype=np.float64)
        check_start(NAME, generators, y0)
        parts = [cartesian(generator) for generator in generators]
        exact = Direct().solve(generators, y0).y
        size = float(np.linalg.norm(y0))
        check_probability(NAME, parts, float(np.linalg.norm(exact)) / size)
        growth = np.exp(sum(part.shift for part in parts))
        extent = sum(part.hermitian_norm for part in parts)
        grid = warp(extent, self.tolerance / growth, self.smoothness)
        states = self._window(parts, grid, y0)
        y = growth * (states @ grid.recovery)
        simulated = self.mode == "circuit" and self.steps is not None
        return Solution(
            y,
            SchrodingerisationAccount(
                cutoff=grid.cutoff,
                spacing=grid.spacing,
                error=float(np.linalg.norm(y - exact)) / size,
                shifts=tuple(part.shift for part in parts),
                success_probability=float((states**2).sum() / (grid.values**2).sum()) / size**2,
                hermitian_norm=extent,
                skew_norm=sum(part.skew_norm for part in parts),
                system_qubits=register_qubits(len(y0)),
                ancilla_qubits=register_qubits(grid.n_modes),
                order=self.order if simulated else None,
                steps=self.steps if simulated else None,
                n_modes=grid.n_modes,
                smoothness=grid.profile.order,
                grid_error=growth * grid.error,
                fraction=grid.fraction,
            ),
        )

    def _window(self, parts: Sequence[Parts], grid: Warp, y0: Vector) -> Vector:
        """The v at the points of the window, `(n, J)`."""
        if self.mode == "emulate":
            return emulate(parts, grid, y0)
        from hqdm.carleman.schrodingerisation.circuit import run  # PennyLane takes seconds to load

        return run(parts, grid, y0, self.order, self.steps)


def emulate(parts: Sequence[Parts], grid: Warp, y0: Vector) -> Vector:
    """The v at the points of the window, `(n, J)`, with exact unitaries.

    Args:
        parts: The parts of every generator, first to last.
        grid: The points and modes.
        y0: The initial value, `(n,)`.
    """
    points, nodes, coefficients = grid.points[grid.window], grid.nodes, grid.coefficients
    found = np.zeros((len(y0), len(points)))
    for chunk, states in simulate(parts, nodes, y0):
        modes = coefficients[chunk, None] * np.exp(-1j * np.outer(nodes[chunk], points))
        found += 2 * (states @ modes).real
    return found
