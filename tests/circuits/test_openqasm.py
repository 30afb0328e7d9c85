"""Exported programs, read by Qiskit: the probabilities of PennyLane."""

import warnings

import numpy as np
import operations
import pennylane as qml
import pytest
import torch
from marks import slow, thinned

from hqdm.circuits import ANSATZE, AmplitudeEmbedding, AngleEmbedding, Circuit, build_ansatz
from hqdm.circuits.openqasm import openqasm
from hqdm.utils.errors import HQDMError

qasm2 = pytest.importorskip("qiskit.qasm2", reason="Qiskit is an extra for development")
qasm3 = pytest.importorskip("qiskit.qasm3")
quantum_info = pytest.importorskip("qiskit.quantum_info")

N_WIRES = 4
GATES = [
    *("RX", "RY", "RZ", "Rot", "U1", "U2", "U3", "PhaseShift", "Hadamard", "S", "T", "SX", "CH"),
    *("CRX", "CRY", "CRZ", "CRot", "CNOT", "CY", "CZ", "SWAP", "ISWAP", "ECR", "Toffoli", "CSWAP"),
    *("CCZ", "MultiRZ", "IsingXX", "IsingXY", "SingleExcitation", "DoubleExcitation", "PSWAP"),
    *("ControlledPhaseShift", "QubitUnitary", "DiagonalQubitUnitary", "QFT", "TrotterProduct"),
    *("GlobalPhase", "PauliRot", "FermionicSWAP", "GroverOperator", "exp", "prod"),
]
WRAPPED = {
    "plain": lambda gate: gate,
    "adjoint": qml.adjoint,
    "controlled": lambda gate: qml.ctrl(gate, control=N_WIRES, control_values=[0]),
    "squared": lambda gate: qml.pow(gate, 2),
}


def probabilities(program, version):
    """Of all outcomes, first wire most significant, by Qiskit."""
    if version == "2.0":
        read = qasm2.loads(program)
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read = pytest.importorskip("qiskit.qasm3").loads(program)
    measured = [
        read.find_bit(m.clbits[0]).index for m in read.data if m.operation.name == "measure"
    ]
    assert measured == list(range(read.num_qubits))
    read.remove_final_measurements()
    state = quantum_info.Statevector(read)
    return state.probabilities(list(range(read.num_qubits))[::-1])


def of_pennylane(circuit, x, w):
    circuit = Circuit(circuit.embedding, circuit.ansatz, "probs")
    return qml.QNode(circuit.qfunc, qml.device("default.qubit", wires=circuit.n_wires))(x, w)


def random_circuit(generator):
    """A few random operations on permuted wires after rotations."""
    chosen = [
        (str(generator.choice(GATES)), str(generator.choice(list(WRAPPED)))) for _ in range(3)
    ]
    orders = [generator.permutation(N_WIRES) for _ in chosen]

    def queue(x, w):
        for wire in range(N_WIRES + 1):
            qml.RY(x[wire], wires=wire)
        for (name, wrapped), order in zip(chosen, orders, strict=True):
            with qml.QueuingManager.stop_recording():
                gate = operations.make(name, [float(angle) for angle in w])
                gate = WRAPPED[wrapped](gate)
                places = dict(enumerate(order.tolist()))
                gate = gate.map_wires({w: places[w] for w in gate.wires if w in places})
            qml.apply(gate)

    return Circuit.from_qfunc(
        queue,
        n_wires=N_WIRES + 1,
        n_inputs=N_WIRES + 1,
        weights_shape=(operations.N_ANGLES,),
    )


@pytest.mark.parametrize("version", ["2.0", "3.0"])
@pytest.mark.parametrize("seed", [*range(4), *map(slow, range(4, 20))])
def test_random_circuits(seed, version):
    """Ten circuits per seed: 200 in all."""
    generator = np.random.default_rng(seed)
    for _ in range(10):
        circuit = random_circuit(generator)
        x = torch.from_numpy(generator.uniform(-3, 3, circuit.n_inputs))
        w = torch.from_numpy(generator.uniform(-3, 3, circuit.weights_shape))
        found = probabilities(circuit.to_openqasm(x, w, version), version)
        np.testing.assert_allclose(found, of_pennylane(circuit, x, w), rtol=0, atol=1e-9)


@pytest.mark.parametrize("version", ["2.0", "3.0"])
@pytest.mark.parametrize(
    "embedding", [AmplitudeEmbedding(4), *(AngleEmbedding(4, a) for a in "XYZ")]
)
@pytest.mark.parametrize("ansatz", thinned(sorted(set(ANSATZE) - {"FQConv"}), every=2))
def test_embeddings_and_ansaetze(embedding, ansatz, version):
    circuit = Circuit(embedding, build_ansatz(ansatz, 4, 2))
    x = torch.randn(circuit.n_inputs, dtype=torch.float64)
    w = torch.randn(circuit.weights_shape, dtype=torch.float64)
    found = probabilities(circuit.to_openqasm(x, w, version), version)
    np.testing.assert_allclose(found, of_pennylane(circuit, x, w), rtol=0, atol=1e-9)


def test_small_angles_are_written_with_a_point():
    """Version 2.0 does not read 1e-07."""
    circuit = Circuit(AngleEmbedding(1), build_ansatz("Basic", 1, 1))
    program = circuit.to_openqasm(torch.tensor([1e-7]), torch.tensor([[-1e-9]]))
    assert "e-" not in program
    assert "rx(0.0000001" in program


@pytest.mark.parametrize(
    ("queue", "version", "said"),
    [
        (lambda x, w: qml.RX(x[0], wires=0), "2.1", "unknown version of OpenQASM '2.1'"),
        (lambda x, w: qml.Projector([0], wires=0), "2.0", "not unitary, expected gates"),
        (lambda x, w: qml.measure(0), "3.0", "is no gate, expected gates for OpenQASM"),
    ],
)
def test_what_is_no_gate_is_refused(queue, version, said):
    circuit = Circuit.from_qfunc(queue, n_wires=1, n_inputs=1, weights_shape=(1,))
    with pytest.raises(HQDMError, match=said):
        circuit.to_openqasm(torch.ones(1), torch.ones(1), version)


def reset_midway(x, w, use=False):
    qml.RY(x[0], wires=0)
    qml.CNOT(wires=(0, 1))
    outcome = qml.measure(0, reset=True)
    qml.RX(w[0], wires=0)
    if use:
        qml.cond(outcome, qml.X)(0)


@pytest.mark.parametrize("version", ["2.0", "3.0"])
def test_a_reset_is_written_as_one(version):
    """Of an entangled wire: wire 1 is left in a mixture, cos^2 and sin^2 of x / 2."""
    circuit = Circuit.from_qfunc(reset_midway, n_wires=2, n_inputs=1, weights_shape=(1,))
    x, w = torch.tensor([[1.1], [0.7]], dtype=torch.float64)
    program = circuit.to_openqasm(x, w, version)
    assert program.count("reset q[0];") == 1
    read = qasm2.loads(program) if version == "2.0" else qasm3.loads(program)
    read.remove_final_measurements()
    mixed = quantum_info.DensityMatrix.from_label("00").evolve(read)
    expected = np.outer(*(np.array([np.cos(a / 2), np.sin(a / 2)]) ** 2 for a in (0.7, 1.1)))
    np.testing.assert_allclose(mixed.probabilities([1, 0]), expected.ravel(), rtol=0, atol=1e-9)


def test_a_gate_that_depends_on_an_outcome_is_refused():
    circuit = Circuit.from_qfunc(
        lambda x, w: reset_midway(x, w, use=True), n_wires=2, n_inputs=1, weights_shape=(1,)
    )
    with pytest.raises(HQDMError, match="is no gate, expected gates for OpenQASM"):
        circuit.to_openqasm(torch.ones(1), torch.ones(1))


class Stretched(qml.operation.Operator):
    """A diagonal matrix that is unitary but for an error."""

    num_wires = 1

    @staticmethod
    def compute_matrix(error):
        return np.diag([1, 1 + float(error)])


def test_matrices_that_are_not_unitary_are_refused():
    """M^dag M differs from 1 by 2 error; the limit is 1e-5, for rounding in single precision."""
    for error, refused in ((1e-7, False), (4e-6, False), (6e-6, True), (1e-3, True)):
        if not refused:
            assert "measure" in openqasm([Stretched(error, wires=0)], 1, "2.0")
            continue
        with pytest.raises(HQDMError, match="Stretched is not unitary"):
            openqasm([Stretched(error, wires=0)], 1, "2.0")
