r"""Expectations of Hermitian observables on neighbouring wires, with trainable coefficients.

    H_i = sum_P c_iP P,      the Pauli words P = (P_1, ..., P_k) on the wires i, ..., i + k - 1

modulo the number of wires, one observable for each measured wire i (adaptive non-local observables,
arXiv 2504.13414; in a diffusion model, arXiv 2602.03405). Any Hermitian matrix on k wires has such
real coefficients, 4^k of them.

Observables on one wire are computed from the expectations of X, Y and Z, three evaluations of the
circuit. Others need the state, 2^(n+1) numbers per sample for n wires.
"""

from dataclasses import replace
from functools import cache, reduce
from itertools import product

import torch
from torch import Tensor

from hqdm.circuits import Circuit
from hqdm.simulators.program.base import Simulator, refuse_memory
from hqdm.utils.checks import whole
from hqdm.utils.errors import HQDMError

MAX_STATE_BYTES = 2**30
MATRICES = {
    "I": [[1, 0], [0, 1]],
    "X": [[0, 1], [1, 0]],
    "Y": [[0, -1j], [1j, 0]],
    "Z": [[1, 0], [0, -1]],
}


def words(locality: int) -> list[str]:
    """The Pauli words on some wires, in the order of the coefficients: II, IX, IY, IZ, XI, ..."""
    return ["".join(letters) for letters in product(MATRICES, repeat=locality)]


def check_locality(circuit: Circuit, locality: int) -> None:
    """Refuse observables that do not fit a circuit.

    Raises:
        HQDMError: If they are on more wires than there are, or the circuit has another measurement
            than expectations of Z.
    """
    whole("observable", locality, 1, circuit.n_wires)
    if (circuit.measure, circuit.basis) != ("expval_z", "Z"):
        raise HQDMError(
            f"observables take the place of expectations of Z, got measure={circuit.measure!r}: "
            "leave one of them out"
        )


def coefficients_of_z(circuit: Circuit, locality: int) -> Tensor:
    """The coefficients of Z on each measured wire, `(n_outputs, 4**locality)`."""
    own = [float(word == "Z" + "I" * (locality - 1)) for word in words(locality)]
    return torch.tensor(own).repeat(circuit.n_outputs, 1)


def expectations(
    simulator: Simulator, circuit: Circuit, inputs: Tensor, weights: Tensor, coefficients: Tensor
) -> Tensor:
    """Evaluate the observables.

    Args:
        simulator: The simulator.
        circuit: The common circuit, which measures Z.
        inputs: Features, `(n_circuits, B, n_inputs)`.
        weights: Angles in radians, `(n_circuits, *weights_shape)`.
        coefficients: `(n_circuits, n_outputs, 4**locality)`.

    Returns:
        `(n_circuits, B, n_outputs)`.

    Raises:
        HQDMError: If the states of the batch take more than `MAX_STATE_BYTES`.
    """
    if coefficients.shape[-1] == len(MATRICES):
        values = [
            simulator(replace(circuit, basis=letter), inputs, weights) for letter in ("X", "Y", "Z")
        ]
        constant, *factors = coefficients[:, None].unbind(-1)
        return sum((c * value for c, value in zip(factors, values, strict=True)), constant)
    n = circuit.n_wires
    refuse_memory(
        f"the states of {inputs.shape[1]} samples of {len(inputs)} x {n} qubits, for observables",
        inputs.shape[0] * inputs.shape[1] * 2 ** (n + 1) * inputs.element_size(),
        MAX_STATE_BYTES,
    )
    states = simulator(replace(circuit, measure="state", wires=None), inputs, weights)
    psi = torch.view_as_complex(states.unflatten(-1, (*(2,) * n, 2)).contiguous())
    locality = (coefficients.shape[-1].bit_length() - 1) // 2
    paulis = _paulis(locality).to(psi)
    observables = torch.einsum("noc,cab->onab", coefficients.to(psi), paulis)
    return torch.stack(
        [
            _expectation(psi, observable, [(wire + j) % n for j in range(locality)])
            for wire, observable in zip(circuit.measured_wires, observables, strict=True)
        ],
        -1,
    )


def _expectation(psi: Tensor, observable: Tensor, wires: list[int]) -> Tensor:
    """The expectations `(n_circuits, B)` of matrices `(n_circuits, 2**k, 2**k)` on k wires."""
    rest = [wire for wire in range(psi.ndim - 2) if wire not in wires]
    columns = psi.permute(0, 1, *(2 + wire for wire in (*wires, *rest)))
    columns = columns.reshape(*psi.shape[:2], 2 ** len(wires), 2 ** len(rest))
    return (columns.conj() * (observable[:, None] @ columns)).real.sum((-2, -1))


@cache
def _paulis(locality: int) -> Tensor:
    """The matrices of the Pauli words, `(4**locality, 2**locality, 2**locality)`."""
    letters = {name: torch.tensor(m, dtype=torch.complex128) for name, m in MATRICES.items()}
    return torch.stack(
        [reduce(torch.kron, [letters[name] for name in word]) for word in words(locality)]
    )
