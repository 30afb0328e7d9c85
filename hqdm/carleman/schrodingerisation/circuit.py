r"""Schrödingerisation as a PennyLane circuit, for small systems.

There are two registers, one for the 2^a points p_j and one for the system. The circuit is

    T^+  SELECT  T  (PREP x LOAD),        PREP |0> = sum_j g(p_j) |j> / |g|,

where T transforms points to the modes k_m = h (m - (2^a - 1) / 2),

    T |j> = 2^(-a / 2) exp(-i pi (2^a - 1) j / 2^a) sum_m exp(2 pi i m j / 2^a) |m>,

a phase per qubit and a quantum Fourier transform, and SELECT is that of LCHS
(`hqdm.carleman.lchs.circuit`). A measurement of the first register that finds a point of the window
leaves u on the system.
"""

from collections.abc import Sequence

import numpy as np
import pennylane as qml

from hqdm.carleman.lchs.circuit import MAX_QUBITS, loaded, simulations
from hqdm.carleman.lchs.unitaries import Parts, register_qubits
from hqdm.carleman.magnus import Vector
from hqdm.carleman.schrodingerisation.warp import Warp
from hqdm.utils.errors import HQDMError


def run(parts: Sequence[Parts], grid: Warp, y0: Vector, order: int, steps: int | None) -> Vector:
    """The v at the points of the window from the simulated circuit, rescaled to its norm, `(n, J)`.

    Args:
        parts: The parts of every generator, first to last.
        grid: The points and the initial data.
        y0: The initial value, `(n,)`.
        order: Order of the product formula.
        steps: Steps of the product formula per generator; None for exact unitaries.

    Raises:
        HQDMError: If the circuit has more than `MAX_QUBITS` qubits.
    """
    points, system = registers(grid, len(y0))
    needed = len(points) + len(system)
    if needed > MAX_QUBITS:
        raise HQDMError(
            f"this Schrödingerisation circuit needs {needed} qubits ({len(system)} for the system, "
            f"{len(points)} for {grid.n_modes} points), expected at most {MAX_QUBITS}: raise the "
            'tolerance, shorten the evolution, or emulate it with mode="emulate"'
        )
    tape = qml.tape.QuantumScript(operators(parts, grid, y0, order, steps), [qml.state()])
    (state,) = qml.execute([tape], qml.device("default.qubit", wires=needed))
    kept = state.reshape(grid.n_modes, -1)[grid.window, : len(y0)].T
    return np.asarray(kept.real * np.linalg.norm(grid.values) * np.linalg.norm(y0))


def registers(grid: Warp, n: int) -> tuple[range, range]:
    """The wires of the points and of a system of dimension n."""
    points = register_qubits(grid.n_modes)
    return range(points), range(points, points + register_qubits(n))


def operators(
    parts: Sequence[Parts], grid: Warp, y0: Vector, order: int, steps: int | None
) -> list[qml.operation.Operator]:
    """The operators of the circuit, see `run`."""
    points, system = registers(grid, len(y0))
    values = grid.values
    prepare = qml.MottonenStatePreparation(values / np.linalg.norm(values), wires=points)
    angle = -np.pi * (grid.n_modes - 1) / grid.n_modes
    phases = [
        qml.PhaseShift(angle * 2.0 ** (len(points) - 1 - wire), wires=wire) for wire in points
    ]
    transform = [*phases, qml.QFT(wires=points)]
    select = simulations(parts, grid.spacing, points, system, order, steps)
    back = [qml.adjoint(operator) for operator in reversed(transform)]
    return [loaded(y0, system), prepare, *transform, *select, *back]
