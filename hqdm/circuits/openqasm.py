"""Circuits in OpenQASM, in gates of the standard include of its version.

A global phase changes no measurement and is left out: version 2.0 has no word for it. A wire that
is measured midway and reset, with an outcome on which no gate depends, is written as `reset`.
"""

from collections.abc import Iterator, Mapping

import numpy as np
import pennylane as qml
from pennylane.operation import Operator

from hqdm.circuits.operations import NO_EFFECT, NOT_UNITARY, matrix_of, measures, resets
from hqdm.utils.errors import HQDMError, unknown

VERSIONS = ("2.0", "3.0")
NAMES = {
    **{"PauliX": "x", "PauliY": "y", "PauliZ": "z", "Hadamard": "h", "S": "s", "T": "t"},
    **{"Adjoint(S)": "sdg", "Adjoint(T)": "tdg", "RX": "rx", "RY": "ry", "RZ": "rz"},
    **{"PhaseShift": "u1", "U1": "u1", "U2": "u2", "U3": "u3", "CNOT": "cx", "CZ": "cz"},
    **{"CRZ": "crz", "Toffoli": "ccx"},
}
"""Names of gates in both versions of OpenQASM by those in PennyLane."""
NAMES_3 = {**NAMES, "CRX": "crx", "CRY": "cry", "SWAP": "swap"}


def openqasm(operations: list[Operator], n_wires: int, version: str) -> str:
    """A program that runs operations on wires `0..n_wires-1` and measures all of them.

    Args:
        operations: The operations, with numbers for their angles.
        n_wires: Number of qubits.
        version: "2.0" or "3.0".

    Raises:
        HQDMError: If the version is unknown, or an operation is neither gate nor reset.
    """
    if version not in VERSIONS:
        raise unknown("version of OpenQASM", version, VERSIONS)
    if version == "2.0":
        head = ['include "qelib1.inc";', f"qreg q[{n_wires}];", f"creg c[{n_wires}];"]
        measure = "measure q[{0}] -> c[{0}];"
    else:
        head = ['include "stdgates.inc";', f"qubit[{n_wires}] q;", f"bit[{n_wires}] c;"]
        measure = "c[{0}] = measure q[{0}];"
    lines = [f"OPENQASM {version};", *head]
    names = NAMES if version == "2.0" else NAMES_3
    lines += [_line(gate, names) for operation in operations for gate in _named(operation, names)]
    lines += [measure.format(wire) for wire in range(n_wires)]
    return "\n".join(lines) + "\n"


def _line(gate: Operator, names: Mapping[str, str]) -> str:
    if resets(gate):
        return f"reset q[{gate.wires[0]}];"
    # Fixed point, since version 2.0 does not read 1e-05.
    angles = ", ".join(f"{float(angle):.17f}" for angle in gate.parameters)
    wires = ",".join(f"q[{wire}]" for wire in gate.wires)
    return f"{names[gate.name]}{f'({angles})' if angles else ''} {wires};"


def _named(operation: Operator, names: Mapping[str, str]) -> Iterator[Operator]:
    """The gates of an operation that have a name, and resets.

    Raises:
        HQDMError: If it has none.
    """
    if operation.name in (*NO_EFFECT, "GlobalPhase") or not operation.wires:
        return
    if operation.name in names or resets(operation):
        yield operation
        return
    measured = measures(operation)
    if operation.has_decomposition and not measured:
        parts = operation.decomposition()
        parts = [parts] if isinstance(parts, Operator) else parts  # as of powers of exponentials
    elif operation.has_matrix and not measured:
        parts = [_unitary(operation)]
    else:
        raise HQDMError(f"{operation.name} is no gate, expected gates for OpenQASM")
    for part in parts:
        yield from _named(part, names)


def _unitary(operation: Operator) -> Operator:
    matrix = matrix_of(operation)
    error = np.abs(matrix.conj().T @ matrix - np.eye(len(matrix))).max()
    if isinstance(operation, qml.QubitUnitary) or error > NOT_UNITARY:
        raise HQDMError(f"{operation.name} is not unitary, expected gates for OpenQASM")
    return qml.QubitUnitary(matrix, wires=operation.wires)
