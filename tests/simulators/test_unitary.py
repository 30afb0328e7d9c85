import pennylane as qml
import pytest
import torch
from programs import assert_close, sample, value_and_gradients
from simulated_gpu import GPU, SimulatedGPU, on_gpu

from hqdm.circuits import AmplitudeEmbedding, AngleEmbedding, Basic, Circuit, StronglyEntangling
from hqdm.simulators import PennyLaneSimulator, UnitarySimulator, unitary
from hqdm.simulators.program import statevector
from hqdm.simulators.program.statevector import BlockPlan
from hqdm.simulators.unitary import is_applicable, measured_rows, n_rows
from hqdm.utils.errors import HQDMError


@pytest.mark.parametrize(
    ("measure", "wires", "n_outcomes", "expected"),
    [
        ("expval_z", (1,), None, list(range(8))),
        ("probs", None, 3, [0, 1, 2]),
        # Outcome 00 of wires 2 and 1 is that of the basis states 000 and 100, 01 of 010 and 110.
        ("probs", (2, 1), 2, [0, 4, 2, 6]),
    ],
)
def test_only_the_measured_rows_are_computed(measure, wires, n_outcomes, expected):
    ansatz = StronglyEntangling(3, 2)
    circuit = Circuit(AmplitudeEmbedding(3), ansatz, measure, wires, n_outcomes)
    assert measured_rows(circuit, torch.device("cpu")).tolist() == expected
    assert n_rows(circuit) == len(expected)
    inputs, weights = sample(circuit, 2)
    real, imag = UnitarySimulator().rows(circuit, inputs, weights)
    assert real.shape == (2, 8, len(expected))
    for i in range(2):
        unitary = qml.matrix(ansatz.queue, wire_order=range(3))(weights[i].detach())
        rows = torch.complex(real[i], imag[i]).detach().T
        torch.testing.assert_close(rows, unitary[expected], rtol=0, atol=1e-13)


def test_expectations_are_in_the_order_of_the_measured_wires():
    circuit = Circuit(AmplitudeEmbedding(3), StronglyEntangling(3, 1), wires=(2, 0))
    inputs, weights = sample(circuit, 1)
    outer, inner = UnitarySimulator()(circuit, inputs, weights).unbind(-1)
    for wire, expected in ((2, outer), (0, inner)):
        alone = Circuit(circuit.embedding, circuit.ansatz, wires=(wire,))
        torch.testing.assert_close(
            PennyLaneSimulator("default.qubit")(alone, inputs, weights)[..., 0],
            expected,
            rtol=0,
            atol=1e-13,
        )


@pytest.mark.parametrize(
    ("measure", "wires", "n_outcomes"),
    [("expval_z", (2, 0), None), ("probs", None, 3), ("probs", (2, 1), 2)],
)
def test_on_a_gpu_it_runs_in_torch_without_waiting(measure, wires, n_outcomes, monkeypatch):
    embedding = AmplitudeEmbedding(3, 5)
    circuit = Circuit(embedding, StronglyEntangling(3, 2), measure, wires, n_outcomes)
    inputs, weights = sample(circuit, 2, 7)
    with SimulatedGPU():  # plans and tables are built once, in another thread
        ready = BlockPlan(circuit, GPU, inputs.dtype)
        rows = on_gpu(measured_rows(circuit, torch.device("cpu")))
        z = on_gpu(unitary.signs(circuit, torch.device("cpu"), inputs.dtype))
    monkeypatch.setattr(statevector, "plan", lambda *_: ready)
    monkeypatch.setattr(unitary, "measured_rows", lambda *_: rows)
    monkeypatch.setattr(unitary, "signs", lambda *_: z)
    with SimulatedGPU() as gpu:
        call = (on_gpu(x).requires_grad_() for x in (inputs, weights))
        ours = value_and_gradients(UnitarySimulator(), circuit, *call)
    assert gpu.waits == []
    monkeypatch.undo()
    theirs = value_and_gradients(UnitarySimulator(), circuit, inputs, weights)
    assert_close([tensor.held for tensor in ours], theirs, 1e-13)


def test_where_it_applies():
    assert is_applicable(Circuit(AmplitudeEmbedding(3), Basic(3, 1)))
    angle = Circuit(AngleEmbedding(3), Basic(3, 1))
    assert not is_applicable(angle)
    with pytest.raises(HQDMError, match="needs an AmplitudeEmbedding"):
        UnitarySimulator()(angle, *sample(angle))


def test_an_empty_batch():
    circuit = Circuit(AmplitudeEmbedding(3), Basic(3, 1))
    assert UnitarySimulator()(circuit, *sample(circuit, 2, 0)).shape == (2, 0, 3)


def test_memory_is_refused_before_it_is_allocated():
    circuit = Circuit(AmplitudeEmbedding(3), Basic(3, 1))
    with pytest.raises(HQDMError, match=r"5 samples of 2 x 3 qubits would take [\d,]+ bytes"):
        UnitarySimulator(1000)(circuit, *sample(circuit, 2, 5))
