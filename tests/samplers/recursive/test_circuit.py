"""The concatenated circuit: on devices, with noise, and in OpenQASM, read by Qiskit."""

import math
import warnings

import numpy as np
import pennylane as qml
import pytest
import torch

from hqdm.nn.amplitude.procrustes import BestUnitary
from hqdm.nn.amplitude.unitary import USS
from hqdm.samplers.recursive.circuit import ConcatenatedCircuit, depolarising
from hqdm.samplers.recursive.powers import channel_probabilities, observables, unitary_power
from hqdm.utils.errors import HQDMError


def network(**options):
    """Three qubits, and one more for the ancilla."""
    return USS(channels=2, size=2, n_layers=2, **options).double()


def state(dtype=torch.complex128):
    psi = torch.randn(8, dtype=dtype)
    return psi / psi.norm()


def exact(net, psi, n, y=None):
    kraus = net.kraus(y).detach()
    if net.has_ancilla:
        return channel_probabilities(observables(kraus, n), psi[None].to(kraus))[0]
    return (unitary_power(kraus, n) @ psi.to(kraus)).abs().square()


@pytest.mark.parametrize("device", ["default.qubit", "lightning.qubit", "default.mixed"])
def test_without_an_ancilla_every_device_gives_the_power(device):
    for net in (network(), BestUnitary(channels=2, size=2).double()):
        psi = state()
        found = ConcatenatedCircuit(net, 3).probabilities(psi, device)
        torch.testing.assert_close(found, exact(net, psi, 3), rtol=0, atol=1e-10)


@pytest.mark.parametrize("device", ["default.qubit", "lightning.qubit", "default.mixed"])
@pytest.mark.parametrize("y", [None, 1])
def test_with_resets_every_device_gives_the_channel(device, y):
    net, psi = network(n_classes=2), state()
    found = ConcatenatedCircuit(net, 3, y).probabilities(psi, device)
    torch.testing.assert_close(found, exact(net, psi, 3, y), rtol=0, atol=1e-10)


def test_the_channel_is_the_circuit_with_resets_on_a_mixed_device():
    """Measured midway and deferred by PennyLane to further wires, not reset by a channel."""
    net, psi = network(n_classes=2, uploads=2), state()
    operations = ConcatenatedCircuit(net, 3, 1).operations(psi)
    assert sum("MidMeasure" in type(operation).__name__ for operation in operations) == 2

    @qml.qnode(qml.device("default.mixed", wires=6), mcm_method="deferred")
    def node():
        for operation in operations:
            qml.apply(operation)
        return qml.probs(wires=range(3))

    found = torch.as_tensor(node())
    torch.testing.assert_close(found, exact(net, psi, 3, 1), rtol=0, atol=1e-10)


def test_a_device_of_the_user_s():
    net, psi = network(), state()
    found = ConcatenatedCircuit(net, 2).probabilities(psi, qml.device("default.qubit", wires=3))
    torch.testing.assert_close(found, exact(net, psi, 2), rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    "make", [network, lambda: network(n_classes=2)], ids=["unitary", "channel"]
)
def test_shots_converge_as_one_over_the_square_root(make):
    """The squared error of frequencies is (1 - sum p^2) / shots on average.

    Its mean over 8 states of 8 frequencies has a relative standard deviation of about 1 / 4.
    """
    net = make()
    y = None if net.n_classes is None else 0
    circuit = ConcatenatedCircuit(net, 2, y)
    for shots in (100, 10_000):
        ratios = []
        for seed in range(8):
            psi = state()
            p = exact(net, psi, 2, y)
            found = circuit.probabilities(psi, shots=shots, seed=seed)
            assert (found * shots - (found * shots).round()).abs().max() < 1e-6  # frequencies
            expected = (1 - p.square().sum()) / shots
            ratios.append(float((found - p).square().sum() / expected))
        assert 0.4 < np.mean(ratios) < 2
    again = [circuit.probabilities(psi, shots=50, seed=3) for _ in range(2)]
    assert torch.equal(*again)
    assert not torch.equal(again[0], circuit.probabilities(psi, shots=50, seed=4))


def test_readout_errors_flip_each_bit_of_the_outcome():
    net, psi, r = network(n_classes=2), state(), 0.1
    circuit = ConcatenatedCircuit(net, 2, 0)
    found = circuit.probabilities(psi, "default.mixed", noise=depolarising(0.0, r))
    flips = torch.tensor([[1 - r, r], [r, 1 - r]], dtype=torch.float64)
    joint = torch.einsum("ai,bj,ck,ijk->abc", *[flips] * 3, exact(net, psi, 2, 0).view(2, 2, 2))
    torch.testing.assert_close(found, joint.flatten(), rtol=0, atol=1e-10)


def test_depolarised_gates():
    """With p = 3 / 4 every wire is fully mixed; a small p changes probabilities in proportion."""
    net, psi = network(), state()
    circuit = ConcatenatedCircuit(net, 1)
    mixed = circuit.probabilities(psi, "default.mixed", noise=depolarising(0.75))
    torch.testing.assert_close(mixed, torch.full((8,), 1 / 8).double(), rtol=0, atol=1e-10)
    p = exact(net, psi, 1)
    changes = [
        circuit.probabilities(psi, "default.mixed", noise=depolarising(e)) - p for e in (1e-5, 2e-5)
    ]
    assert changes[0].abs().max() > 1e-5  # 2 layers of 3 rotations and 3 CNOTs
    torch.testing.assert_close(changes[1], 2 * changes[0], rtol=1e-2, atol=0)


def test_a_noise_model_of_the_user_s_sees_single_gates():
    """A phase of pi on every wire after each CNOT and nothing else: Z gates, by hand."""
    net, psi = network(), state()
    model = qml.NoiseModel(
        {qml.noise.op_eq(qml.CNOT): lambda op, **_: [qml.PhaseFlip(1.0, wires=w) for w in op.wires]}
    )
    found = ConcatenatedCircuit(net, 1).probabilities(psi, "default.mixed", noise=model)

    @qml.qnode(qml.device("default.qubit", wires=3))
    def node():
        for operation in ConcatenatedCircuit(net, 1).operations(psi):
            qml.apply(operation)
            if operation.name == "CNOT":
                for wire in operation.wires:
                    qml.Z(wire)
        return qml.probs()

    torch.testing.assert_close(found, torch.as_tensor(node()), rtol=0, atol=1e-10)
    assert (found - exact(net, psi, 1)).abs().max() > 1e-2


@pytest.mark.parametrize("version", ["2.0", "3.0"])
@pytest.mark.parametrize(
    ("options", "y"), [({}, None), ({"n_classes": 2, "uploads": 2}, 1)], ids=["unitary", "channel"]
)
def test_openqasm_is_read_back_by_qiskit(options, y, version):
    qasm2 = pytest.importorskip("qiskit.qasm2", reason="Qiskit is an extra for development")
    info = pytest.importorskip("qiskit.quantum_info")
    net, psi = network(**options), state(torch.float64)
    program = ConcatenatedCircuit(net, 3, y).to_openqasm(psi, version)
    assert program.count("reset q[3];") == (0 if y is None else 2)
    if version == "2.0":
        read = qasm2.loads(program)
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read = pytest.importorskip("qiskit.qasm3").loads(program)
    read.remove_final_measurements()
    mixed = info.DensityMatrix.from_label("0" * read.num_qubits).evolve(read)
    image = info.partial_trace(mixed, [3]) if net.has_ancilla else mixed
    rho = torch.outer(psi, psi).to(torch.complex128)
    for _ in range(3):
        rho = sum(k @ rho @ k.mH for k in net.kraus(y).detach())
    found = torch.as_tensor(image.reverse_qargs().data)  # Qiskit's first wire is least significant
    torch.testing.assert_close(found, rho, rtol=0, atol=1e-9)
    torch.testing.assert_close(rho.diagonal().real, exact(net, psi, 3, y), rtol=0, atol=1e-12)


def test_what_cannot_run_is_refused():
    circuit, psi = ConcatenatedCircuit(network(), 1), state()
    with pytest.raises(HQDMError, match="unknown PennyLane device 'default.qubits'.*did you mean"):
        circuit.probabilities(psi, "default.qubits")
    with pytest.raises(HQDMError, match="default.qubit does not simulate noise: use one of defaul"):
        circuit.probabilities(psi, "default.qubit", noise=depolarising(0.1))
    for options in ({"gate": 1.5}, {"gate": 0.1, "readout": -0.1}):
        with pytest.raises(HQDMError, match=r"needs a probability in \[0, 1\]"):
            depolarising(**options)
    with pytest.raises(HQDMError, match="depolarising needs a finite number"):
        depolarising(math.nan)
    with pytest.raises(HQDMError, match="expected a PennyLane device or its name, got 3"):
        circuit.probabilities(psi, 3)
    for other, got in ((torch.zeros_like(psi), "zeros"), (psi[:3], r"\(3,\)")):
        with pytest.raises(HQDMError, match=f"amplitudes that are not all zero, got {got}"):
            circuit.to_openqasm(other)


def test_a_noise_model_names_its_channels():
    text = str(depolarising(0.1, 0.02))
    assert "DepolarizingChannel(0.1)" in text
    assert "BitFlip(0.02)" in text
