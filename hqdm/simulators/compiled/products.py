"""The compiled kernels of the matrices of instructions: products of the matrices of their gates.

    P_k = M_k P_(k-1),    M_k = A_k + cos(phase) B_k + sin(phase) C_k

With the gradient G_k with respect to P_k, that with respect to the phase of a gate is

    Re sum conj(G_k P_(k-1)^dag) * (cos(phase) C_k - sin(phase) B_k),    G_(k-1) = M_k^dag G_k.
"""

from typing import NamedTuple

import numpy as np

from hqdm.simulators.compiled.code_cache import borrowing, serial

Array = np.ndarray


class Terms(NamedTuple):
    """The gates of instructions of one size, step by step; missing ones are identities.

    Attributes:
        gates: Index of the gate, `(n_steps, n_instructions)`.
        matrices: A, B and C, `(n_steps, n_instructions, 3, size, size)`, complex.
    """

    gates: Array
    matrices: Array


@borrowing
def entry(terms: Array, i: int, j: int, cos: float, sin: float) -> complex:
    """An entry of the matrix of a gate."""
    return terms[0, i, j] + cos * terms[1, i, j] + sin * terms[2, i, j]


@serial
def multiply(terms: Terms, phases: Array, products: Array) -> None:
    """Multiply the matrices of gates.

    Args:
        terms: The gates.
        phases: Their phases, `(n_circuits, n_gates)`.
        products: Receives the products P_k, `(n_circuits, n_steps, n_instructions, size, size)`.
    """
    n_steps, n_instructions = terms.gates.shape
    size = terms.matrices.shape[3]
    for circuit in range(len(phases)):
        for step in range(n_steps):
            for place in range(n_instructions):
                phase = phases[circuit, terms.gates[step, place]]
                cos, sin = np.cos(phase), np.sin(phase)
                parts = terms.matrices[step, place]
                product = products[circuit, step, place]
                for i in range(size):
                    for j in range(size):
                        if step == 0:
                            product[i, j] = entry(parts, i, j, cos, sin)
                        else:
                            before = products[circuit, step - 1, place]
                            total = entry(parts, i, 0, cos, sin) * before[0, j]
                            for k in range(1, size):
                                total += entry(parts, i, k, cos, sin) * before[k, j]
                            product[i, j] = total


@serial
def differentiate(
    terms: Terms, phases: Array, products: Array, grad: Array, work: Array, grad_phases: Array
) -> None:
    """The gradient with respect to the phases.

    Args:
        terms: The gates.
        phases: Their phases, `(n_circuits, n_gates)`.
        products: From `multiply`.
        grad: The gradient with respect to the last products, `(n_circuits, n_instructions, size,
            size)`; overwritten.
        work: Room, `(size,)`, complex.
        grad_phases: Zeros, as `phases`; receives the gradient.
    """
    n_steps, n_instructions = terms.gates.shape
    size = terms.matrices.shape[3]
    for circuit in range(len(phases)):
        for step in range(n_steps - 1, -1, -1):
            for place in range(n_instructions):
                gate = terms.gates[step, place]
                cos, sin = np.cos(phases[circuit, gate]), np.sin(phases[circuit, gate])
                parts, own = terms.matrices[step, place], grad[circuit, place]
                before = products[circuit, max(step - 1, 0), place]
                slope = grad_phases[circuit, gate]
                for i in range(size):
                    for k in range(size):
                        # (G P^dag)_ik; before the first gate P is the identity
                        of_gate = own[i, k]
                        if step > 0:
                            of_gate = own[i, 0] * np.conj(before[k, 0])
                            for j in range(1, size):
                                of_gate += own[i, j] * np.conj(before[k, j])
                        turned = cos * parts[2, i, k] - sin * parts[1, i, k]
                        slope += of_gate.real * turned.real + of_gate.imag * turned.imag
                grad_phases[circuit, gate] = slope
                for j in range(size):
                    for k in range(size):
                        work[k] = own[k, j]
                    for i in range(size):
                        total = np.conj(entry(parts, 0, i, cos, sin)) * work[0]
                        for k in range(1, size):
                            total += np.conj(entry(parts, k, i, cos, sin)) * work[k]
                        own[i, j] = total
