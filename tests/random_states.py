"""Random states of seeds, made with numpy alone."""

import numpy as np
import torch
from torch import Tensor


def random_kets(n_states: int, n_qubits: int, seed: int = 0) -> Tensor:
    """Haar-random kets `(n_states, d)`."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n_states, 2**n_qubits, 2)) @ [1, 1j]
    return torch.from_numpy(z / np.linalg.norm(z, axis=-1, keepdims=True))


def random_density(n_states: int, n_qubits: int, seed: int = 0) -> Tensor:
    """Density matrices `(n_states, d, d)` of full rank, of the Hilbert-Schmidt measure."""
    rng = np.random.default_rng(seed)
    g = rng.normal(size=(n_states, 2**n_qubits, 2**n_qubits, 2)) @ [1, 1j]
    rho = g @ g.conj().swapaxes(-1, -2)
    return torch.from_numpy(rho / np.trace(rho, axis1=-2, axis2=-1)[:, None, None])
