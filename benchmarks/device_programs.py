"""Programs of PennyLane's users, for `pennylane_device.py` and the tests.

Each is written after the description of a demonstration or a paper, and runs on any device:

    classifier      variational classifier (Schuld et al., arXiv 1804.00633): amplitudes, 6 layers
    quanvolution    quanvolutional network (Henderson et al., arXiv 1904.04767): 2 x 2 patches
    reuploading     data re-uploading (Perez-Salinas et al., arXiv 1907.02085): one qubit
    torch_layer     hybrid network with qml.qnn.TorchLayer between two linear layers
    qaoa            MaxCut on a graph of 12 vertices (Farhi et al., arXiv 1411.4028)
    vqe             Fermi-Hubbard chain of 6 sites, 12 qubits, all single and double excitations
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pennylane as qml
import torch
from pennylane import numpy as pnp
from torch import Tensor, nn

SEED = 0
Call = Callable[[], list[np.ndarray]]


@dataclass(frozen=True)
class Program:
    """A program on a device.

    Attributes:
        name: Its name.
        is_batched: Whether it runs on a batch of samples.
        make: A function of the device's name that returns a call of the program: its value and
            gradients as arrays, or with `gradients=False` the value only.
    """

    name: str
    is_batched: bool
    make: Callable[..., Call]


def qnode(function: Callable[..., Any], device: str, n_wires: int) -> qml.QNode:
    """A QNode with the fastest exact gradient of a device."""
    method = {"hqdm.qubit": "best", "lightning.qubit": "adjoint"}.get(device, "backprop")
    return qml.QNode(function, qml.device(device, wires=n_wires), diff_method=method)


def by_torch(loss: Callable[..., Tensor], *leaves: Tensor, gradients: bool) -> Call:
    """A call that returns a loss and its gradients for torch leaves."""

    def call() -> list[np.ndarray]:
        with torch.set_grad_enabled(gradients):
            value = loss(*leaves)
        found = torch.autograd.grad(value, leaves) if gradients else ()
        return [tensor.detach().numpy() for tensor in (value, *found)]

    return call


def by_autograd(loss: Callable[..., Any], leaf: Any, *, gradients: bool) -> Call:
    """A call that returns a loss and its gradient for a leaf of PennyLane's NumPy."""
    gradient = qml.grad(loss)

    def call() -> list[np.ndarray]:
        if not gradients:
            return [np.asarray(loss(leaf))]
        found = gradient(leaf)
        return [np.asarray(gradient.forward), np.asarray(found)]

    return call


def numbers(*shape: int, low: float = -np.pi, high: float = np.pi) -> np.ndarray:
    """Uniform random numbers, the same in every call."""
    return np.random.default_rng(SEED + sum(shape)).uniform(low, high, shape)


def leaf(array: np.ndarray, dtype: torch.dtype = torch.float64) -> Tensor:
    """A tensor that requires a gradient."""
    return torch.tensor(array, dtype=dtype, requires_grad=True)


def classifier(device: str, n_samples: int = 128, gradients: bool = True) -> Call:
    """Labels of samples with 16 features by <Z> of the first of 4 qubits."""

    def circuit(weights: Tensor, features: Tensor) -> Any:
        qml.AmplitudeEmbedding(features, wires=range(4), normalize=True)
        for layer in weights:
            for wire in range(4):
                qml.Rot(*layer[wire], wires=wire)
            for wire in range(4):
                qml.CNOT(wires=[wire, (wire + 1) % 4])
        return qml.expval(qml.Z(0))

    node = qnode(circuit, device, 4)
    features = torch.tensor(numbers(n_samples, 16))
    labels = torch.sign(features[:, 0] * features[:, 1])

    def loss(weights: Tensor, bias: Tensor) -> Tensor:
        return (labels - node(weights, features) - bias).square().mean()

    return by_torch(loss, leaf(numbers(6, 4, 3)), leaf(np.array(0.1)), gradients=gradients)


def quanvolution(device: str, n_images: int = 16, gradients: bool = True) -> Call:
    """A random circuit on the 2 x 2 patches of images of 28 x 28 pixels, and its gradient."""

    def circuit(patches: Tensor, weights: Tensor) -> Any:
        for wire in range(4):
            qml.RY(np.pi * patches[..., wire], wires=wire)
        qml.RandomLayers(weights, wires=range(4), seed=SEED)
        return [qml.expval(qml.Z(wire)) for wire in range(4)]

    node = qnode(circuit, device, 4)
    images = torch.tensor(numbers(n_images, 28, 28, low=0, high=1))
    patches = images.unfold(1, 2, 2).unfold(2, 2, 2).reshape(-1, 4)

    def loss(weights: Tensor) -> Tensor:
        return torch.stack(list(node(patches, weights)), -1).square().mean()

    return by_torch(loss, leaf(numbers(1, 4)), gradients=gradients)


def reuploading(device: str, n_samples: int = 128, gradients: bool = True) -> Call:
    """Fidelities of one qubit with the states of two classes; features enter in every layer."""
    projectors = [np.diag([1.0, 0.0]), np.diag([0.0, 1.0])]

    def circuit(scales: Tensor, weights: Tensor, features: Tensor) -> Any:
        for scale, weight in zip(scales, weights, strict=True):
            angles = weight + scale * features
            qml.Rot(angles[..., 0], angles[..., 1], angles[..., 2], wires=0)
        return [qml.expval(qml.Hermitian(matrix, wires=0)) for matrix in projectors]

    node = qnode(circuit, device, 1)
    features = torch.tensor(numbers(n_samples, 3))
    labels = (features[:, :2].norm(dim=1) < 2).double()

    def loss(scales: Tensor, weights: Tensor) -> Tensor:
        zero, one = node(scales, weights, features)
        return ((zero - 1 + labels).square() + (one - labels).square()).mean()

    return by_torch(loss, leaf(numbers(5, 3)), leaf(numbers(3, 5).T), gradients=gradients)


def torch_layer(device: str, n_samples: int = 128, gradients: bool = True) -> Call:
    """Cross entropy of a network with 12 qubits between linear layers, float32."""
    torch.manual_seed(SEED)

    def circuit(inputs: Tensor, weights: Tensor) -> Any:
        qml.AngleEmbedding(inputs, wires=range(12))
        qml.StronglyEntanglingLayers(weights, wires=range(12))
        return [qml.expval(qml.Z(wire)) for wire in range(12)]

    layer = qml.qnn.TorchLayer(qnode(circuit, device, 12), {"weights": (3, 12, 3)})
    network = nn.Sequential(nn.Linear(16, 12), layer, nn.Linear(12, 3))
    features = torch.tensor(numbers(n_samples, 16), dtype=torch.float32)
    labels = torch.arange(n_samples) % 3

    def loss(*_: Tensor) -> Tensor:
        return nn.functional.cross_entropy(network(features).float(), labels)

    return by_torch(loss, *network.parameters(), gradients=gradients)


EDGES = [(i, (i + 1) % 12) for i in range(12)] + [(i, i + 6) for i in range(6)]


def qaoa(device: str, n_layers: int = 4, gradients: bool = True) -> Call:
    """Cut of a 3-regular graph of 12 vertices."""
    cost = qml.Hamiltonian([0.5] * len(EDGES), [qml.Z(i) @ qml.Z(j) for i, j in EDGES])
    mixer = qml.qaoa.x_mixer(range(12))

    def circuit(angles: Any) -> Any:
        for wire in range(12):
            qml.Hadamard(wires=wire)
        for gamma, beta in angles:
            qml.qaoa.cost_layer(gamma, cost)
            qml.qaoa.mixer_layer(beta, mixer)
        return qml.expval(cost)

    angles = pnp.array(numbers(n_layers, 2), requires_grad=True)
    return by_autograd(qnode(circuit, device, 12), angles, gradients=gradients)


@cache
def fermi_hubbard(n_sites: int) -> Any:
    """Hamiltonian of a chain with hopping 1 and repulsion 2, by Jordan and Wigner."""
    return qml.spin.fermi_hubbard("chain", [n_sites], hopping=1.0, coulomb=2.0)


def vqe(device: str, n_sites: int = 6, gradients: bool = True) -> Call:
    """Energy of a half-filled chain."""
    n_qubits = 2 * n_sites
    hamiltonian = fermi_hubbard(n_sites)
    singles, doubles = qml.qchem.excitations(n_sites, n_qubits)
    occupied = qml.qchem.hf_state(n_sites, n_qubits)

    def circuit(angles: Any) -> Any:
        qml.BasisState(occupied, wires=range(n_qubits))
        for angle, wires in zip(angles, doubles + singles, strict=True):
            gate = qml.DoubleExcitation if len(wires) == 4 else qml.SingleExcitation
            gate(angle, wires=wires)
        return qml.expval(hamiltonian)

    n_angles = len(singles) + len(doubles)
    angles = pnp.array(numbers(n_angles, low=-0.2, high=0.2), requires_grad=True)
    return by_autograd(qnode(circuit, device, n_qubits), angles, gradients=gradients)


PROGRAMS = (
    Program("classifier", True, classifier),
    Program("quanvolution", True, quanvolution),
    Program("reuploading", True, reuploading),
    Program("torch_layer", True, torch_layer),
    Program("qaoa", False, qaoa),
    Program("vqe", False, vqe),
)
