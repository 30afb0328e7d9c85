r"""LCHS as a PennyLane circuit, for small systems.

There are two registers, one for the 2^a nodes, k_j = h (j - (2^a - 1) / 2), and one for the system.
The circuit is

    PREP^+  PHASE  SELECT  PREP,        PREP |0> = sum_j sqrt(|c_j| / |c|_1) |j>,

where PHASE multiplies |j> by the phase of c_j, and SELECT applies U(k_j) controlled on the state j
of the node register. For equidistant nodes, SELECT is one simulation on both registers per
generator:

    exp(-i (K L + H)),        K = sum_j k_j |j><j| = -(h / 2) sum_b 2^(a - 1 - b) Z_b,

in which the number of Pauli words grows with the number a of qubits, not with the number of nodes.
Measuring |0> on the node register leaves sum_j c_j U(k_j) y_0 / (|c|_1 |y_0|) on the system.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import pennylane as qml
from numpy.typing import NDArray

from hqdm.carleman.lchs.quadrature import Quadrature
from hqdm.carleman.lchs.unitaries import Parts, register_qubits
from hqdm.carleman.magnus import Matrix, Vector
from hqdm.utils.errors import HQDMError

MAX_QUBITS = 12
"""Maximum number of qubits of a simulated circuit."""


def run(
    parts: Sequence[Parts], rule: Quadrature, y0: Vector, order: int, steps: int | None
) -> Vector:
    """sum_j c_j U(k_j) y_0 from the simulated circuit, rescaled to its norm.

    Args:
        parts: The parts of every generator, first to last.
        rule: Nodes and coefficients.
        y0: The initial value, `(n,)`.
        order: Order of the product formula.
        steps: Steps of the product formula per generator; None for exact unitaries.

    Raises:
        HQDMError: If the circuit has more than `MAX_QUBITS` qubits.
    """
    nodes, system = registers(rule, len(y0))
    needed = len(nodes) + len(system)
    if needed > MAX_QUBITS:
        raise HQDMError(
            f"this LCHS circuit needs {needed} qubits ({len(system)} for the system, {len(nodes)} "
            f"for {2 * len(rule.nodes)} nodes), expected at most {MAX_QUBITS}: raise the "
            'tolerance, shorten the evolution, or emulate it with mode="emulate"'
        )
    tape = qml.tape.QuantumScript(operators(parts, rule, y0, order, steps), [qml.state()])
    (state,) = qml.execute([tape], qml.device("default.qubit", wires=needed))
    kept = state[: len(y0)]  # the node register is in |0>
    return np.asarray(kept.real * rule.one_norm * np.linalg.norm(y0))


def registers(rule: Quadrature, n: int) -> tuple[range, range]:
    """The wires of the node register and of a system of dimension n."""
    ancillas = register_qubits(2 * len(rule.nodes))
    return range(ancillas), range(ancillas, ancillas + register_qubits(n))


def operators(
    parts: Sequence[Parts], rule: Quadrature, y0: Vector, order: int, steps: int | None
) -> list[qml.operation.Operator]:
    """The operators of the circuit, beginning with the preparation of y_0 on the system.

    Args:
        parts: The parts of every generator, first to last.
        rule: Nodes and coefficients.
        y0: The initial value, `(n,)`.
        order: Order of the product formula.
        steps: Steps of the product formula per generator; None for exact unitaries.
    """
    nodes, system = registers(rule, len(y0))
    coefficients = _all_coefficients(rule, 2 ** len(nodes))
    amplitudes = np.sqrt(np.abs(coefficients) / rule.one_norm)
    prepare = qml.MottonenStatePreparation(amplitudes, wires=nodes)
    select = simulations(parts, rule.spacing, nodes, system, order, steps)
    phases = qml.DiagonalQubitUnitary(np.exp(1j * np.angle(coefficients)), wires=nodes)
    return [loaded(y0, system), prepare, *select, phases, qml.adjoint(prepare)]


def loaded(y0: Vector, system: range) -> qml.operation.Operator:
    """The preparation of y_0 / |y_0|, padded with zeros, on the system."""
    start = np.pad(y0 / np.linalg.norm(y0), (0, 2 ** len(system) - len(y0)))
    return qml.MottonenStatePreparation(start, wires=system)


def simulations(
    parts: Sequence[Parts],
    spacing: float,
    nodes: range,
    system: range,
    order: int,
    steps: int | None,
) -> list[qml.operation.Operator]:
    """SELECT: exp(-i (K L + H)) on both registers, one operator per generator.

    Args:
        parts: The parts of every generator, first to last.
        spacing: The spacing h of the nodes.
        nodes: Wires of the node register.
        system: Wires of the system.
        order: Order of the product formula.
        steps: Steps of the product formula per generator; None for exact unitaries.
    """
    if steps is None:
        return [_exactly(part, spacing, nodes, system) for part in parts]
    return [_product_formula(part, spacing, nodes, system, order, steps) for part in parts]


def _all_coefficients(rule: Quadrature, count: int) -> NDArray[np.complex128]:
    """c_j over nodes of both signs, in increasing order, padded with zeros to `count`."""
    positive = np.pad(rule.coefficients, (0, count // 2 - len(rule.coefficients)))
    return np.concatenate([positive.conj()[::-1], positive])


def _padded(matrix: Matrix, width: int) -> NDArray[np.float64]:
    """A matrix padded with zeros to a register of `width` qubits, dense."""
    return np.pad(matrix.toarray(), (0, 2**width - matrix.shape[0]))


def _pauli_words(
    matrix: NDArray[np.inexact], wires: range
) -> Iterator[tuple[float, qml.operation.Operator]]:
    """Coefficients and Pauli words of a Hermitian matrix; none for 0, which PennyLane refuses."""
    if matrix.any():
        coefficients, words = qml.pauli_decompose(matrix, wire_order=wires).terms()
        yield from zip(np.real(coefficients), words, strict=True)


def hamiltonian(
    part: Parts, spacing: float, nodes: range, system: range
) -> list[qml.operation.Operator]:
    """K L + H on both registers, as Pauli words with their coefficients."""
    hermitian, skew = (_padded(matrix, len(system)) for matrix in (part.hermitian, part.skew))
    controlled = [
        qml.s_prod(-spacing / 2 * 2.0 ** (len(nodes) - 1 - wire) * coefficient, qml.Z(wire) @ word)
        for coefficient, word in _pauli_words(hermitian, system)
        for wire in nodes
    ]
    return controlled + [qml.s_prod(*term) for term in _pauli_words(1j * skew, system)]


def _product_formula(
    part: Parts, spacing: float, nodes: range, system: range, order: int, steps: int
) -> qml.operation.Operator:
    terms = hamiltonian(part, spacing, nodes, system)
    if not terms:
        return qml.Identity(system)
    if len(terms) == 1:
        return qml.evolve(terms[0])
    # PennyLane's product formulas approximate exp(+i t (K L + H))
    return qml.TrotterProduct(qml.sum(*terms), time=-1.0, n=steps, order=order)


def _exactly(part: Parts, spacing: float, nodes: range, system: range) -> qml.operation.Operator:
    k = spacing * (np.arange(2 ** len(nodes)) - (2 ** len(nodes) - 1) / 2)
    hermitian, skew = (_padded(matrix, len(system)) for matrix in (part.hermitian, part.skew))
    energies, modes = np.linalg.eigh(k[:, None, None] * hermitian + 1j * skew)
    unitaries = (modes * np.exp(-1j * energies)[:, None]) @ modes.conj().swapaxes(1, 2)
    return qml.Select([qml.QubitUnitary(u, wires=system) for u in unitaries], control=nodes)
