import pickle

import numpy as np
import pennylane as qml
import pytest
import torch

from hqdm.circuits import (
    AmplitudeEmbedding,
    AngleEmbedding,
    Basic,
    Circuit,
    FQConv,
    HQConv,
    StronglyEntangling,
)
from hqdm.utils.errors import HQDMError


def reupload(x, weights):
    for layer in weights:
        for wire in range(2):
            qml.RX(x[wire], wires=wire)
            qml.RY(layer[wire], wires=wire)
        qml.CNOT(wires=[0, 1])


def from_reupload(**options):
    return Circuit.from_qfunc(reupload, n_wires=2, n_inputs=2, weights_shape=(3, 2), **options)


@pytest.mark.parametrize(
    ("measure", "wires", "n_outputs"),
    [("expval_z", None, 4), ("expval_z", (2, 0), 2), ("probs", None, 16), ("probs", (3, 1, 0), 8)],
)
def test_measurement(measure, wires, n_outputs):
    circuit = Circuit(AngleEmbedding(4), Basic(4, 2), measure, wires)
    x, weights = torch.randn(4).double(), torch.randn(2, 4).double()
    device = qml.device("default.qubit", wires=4)
    out = qml.QNode(circuit.qfunc, device)(x, weights)
    out = torch.stack(out) if measure == "expval_z" else out

    @qml.qnode(device)
    def state():
        qml.AngleEmbedding(x, wires=range(4))
        for layer in weights:
            for wire in range(4):
                qml.RX(layer[wire], wires=wire)
            for wire in range(4):
                qml.CNOT(wires=[wire, (wire + 1) % 4])
        return qml.state()

    joint = state().abs().square().reshape(2, 2, 2, 2)
    measured = wires or (0, 1, 2, 3)
    if measure == "probs":
        letters = "".join("abcd"[wire] for wire in measured)
        expected = torch.einsum(f"abcd->{letters}", joint).flatten()
    else:
        halves = [joint.unbind(wire) for wire in measured]
        expected = torch.stack([zero.sum() - one.sum() for zero, one in halves])
    assert circuit.n_outputs == n_outputs == len(out)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-12)


def test_sizes():
    circuit = Circuit(AmplitudeEmbedding(4, 10), Basic(4, 2))
    assert (circuit.n_wires, circuit.n_inputs, circuit.n_outputs) == (4, 10, 4)
    assert circuit.weights_shape == (2, 4)
    circuit = from_reupload(measure="probs", wires=[1])
    assert (circuit.n_wires, circuit.n_inputs, circuit.n_outputs) == (2, 2, 2)
    assert circuit.weights_shape == (3, 2)


def test_a_quantum_function_queues_its_gates():
    x, weights = torch.randn(2), torch.randn(3, 2)
    tape = qml.tape.make_qscript(from_reupload().qfunc)(x, weights)
    assert [op.name for op in tape.operations] == ["RX", "RY", "RX", "RY", "CNOT"] * 3
    assert len(tape.measurements) == 2


def test_specs_count_what_is_drawn():
    specs = Circuit(AngleEmbedding(12), FQConv(12, 3)).specs()
    assert specs["gates"] == {"RX": 12, "CRZ": 36, "CRX": 36}
    assert specs["n_gates"] == 84
    assert specs["n_weights"] == 72
    assert specs["n_wires"] == 12
    # RX; then a layer is three groups of parallel pairs, CRZ and CRX each, and the next layer's
    # first group waits for the last.
    assert specs["depth"] == 1 + 3 * 6
    assert Circuit(AngleEmbedding(12), HQConv(12, 3)).specs()["n_weights"] == 84


def test_drawing_shows_every_wire_and_gate():
    drawing = Circuit(AngleEmbedding(4), HQConv(4, 1)).draw()
    lines = drawing.splitlines()
    assert [line[:2] for line in lines] == ["0:", "1:", "2:", "3:"]
    assert drawing.count("RX") == 4 + 4
    assert drawing.count("RZ") == 4
    assert drawing.count("<Z>") == 4
    # Templates are opened, state preparations are not.
    drawing = Circuit(AmplitudeEmbedding(2), StronglyEntangling(2)).draw()
    assert drawing.count("Rot") == 2
    assert "Ψ" in drawing


def test_openqasm_has_the_angles_of_the_sample():
    circuit = Circuit(AngleEmbedding(4), HQConv(4, 1))
    x, weights = torch.tensor([0.1, 0.2, 0.3, 0.4]), torch.arange(1, 9)[None] / 8
    assert circuit.to_openqasm(x, weights).startswith("OPENQASM 2.0;")
    program = circuit.to_openqasm(x, weights, "3.0").splitlines()
    assert program[0] == "OPENQASM 3.0;"
    assert "qubit[4] q;" in program
    gates = [line for line in program if line.startswith(("rx", "crz", "crx"))]
    assert [line.split("(")[0] for line in gates] == ["rx"] * 4 + ["crz", "crx"] * 4
    angles = [float(line.split("(")[1].split(")")[0]) for line in gates]
    assert angles == pytest.approx([0.1, 0.2, 0.3, 0.4, *weights[0].tolist()], abs=1e-7)
    assert gates[4].endswith("q[0],q[3];")


def test_copies_are_equal_and_hash_alike():
    for circuit in (Circuit(AngleEmbedding(4), Basic(4), "probs", [1, 0]), from_reupload()):
        other = pickle.loads(pickle.dumps(circuit))
        assert other == circuit
        assert hash(other) == hash(circuit)
    assert Circuit(AngleEmbedding(4), Basic(4)) != Circuit(AngleEmbedding(4), Basic(4), "probs")


def outcomes(n_outcomes, measure="probs", wires=(1, 0)):
    return Circuit(AngleEmbedding(3), Basic(3), measure, wires, n_outcomes)


def test_the_state_is_that_of_the_quantum_function():
    circuit = from_reupload(measure="state")
    x, weights = torch.randn(2).double(), torch.randn(3, 2).double()
    device = qml.device("default.qubit", wires=2)
    state = qml.QNode(circuit.qfunc, device)(x, weights)
    expected = qml.matrix(reupload, wire_order=range(2))(x, weights)[:, 0]
    torch.testing.assert_close(state, expected, rtol=0, atol=1e-12)
    assert circuit.n_outputs == 2 * len(state)


def test_a_prepared_state_precedes_the_gates():
    def queue(x, w):
        qml.RY(x[0] * w[0], wires=1)

    circuit = Circuit.from_qfunc(
        queue, n_wires=2, n_inputs=5, weights_shape=(1,), measure="state", prepares=True
    )
    x = torch.tensor([0.7, 0, 0.6, 0, 0.8], dtype=torch.float64)
    weights = torch.tensor([2.0], dtype=torch.float64)
    state = qml.QNode(circuit.qfunc, qml.device("default.qubit", wires=2))(x, weights)
    cos, sin = np.cos(0.7), np.sin(0.7)
    expected = [-0.6 * sin, 0.6 * cos, -0.8 * sin, 0.8 * cos]
    np.testing.assert_allclose(state.real, expected, rtol=0, atol=1e-12)
    assert circuit != Circuit.from_qfunc(
        queue, n_wires=2, n_inputs=5, weights_shape=(1,), measure="state"
    )


def test_from_one_outcome_to_all_are_kept():
    """Two measured wires of three have four outcomes."""
    assert [outcomes(n).n_outputs for n in (1, 4, None)] == [1, 4, 4]
    for n_outcomes, measure in ((0, "probs"), (5, "probs"), (1, "expval_z")):
        said = f"measure='probs' and 1 to 4 outcomes, got n_outcomes={n_outcomes} with "
        with pytest.raises(HQDMError, match=f"{said}measure='{measure}'"):
            outcomes(n_outcomes, measure)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Circuit(AngleEmbedding(4), Basic(8)), "embedding has 4 wires and the ansatz 8"),
        (lambda: Circuit(AngleEmbedding(4), Basic(4), "z"), "unknown measurement 'z'"),
        (lambda: Circuit(AngleEmbedding(4), Basic(4), wires=(4,)), r"within 0\.\.3, got \(4,\)"),
        (lambda: Circuit(AngleEmbedding(4), Basic(4), wires=(1, 1)), r"different .* got \(1, 1\)"),
        (lambda: Circuit(AngleEmbedding(4), Basic(4), wires=()), r"got \(\)"),
        (lambda: from_reupload(measure="state", wires=(1,)), r"of all wires, got wires=\(1,\)"),
        (
            lambda: Circuit(AngleEmbedding(2), from_reupload().ansatz),
            r"replaces embedding and ansatz: use Circuit\.from_qfunc",
        ),
        (
            lambda: Circuit.from_qfunc(reupload, n_wires=2, n_inputs=0, weights_shape=(3, 2)),
            "at least one wire and one input, got n_wires=2, n_inputs=0",
        ),
    ],
)
def test_invalid_input_is_refused(build, message):
    with pytest.raises(HQDMError, match=message):
        build()


def values(function, x, weights):
    return torch.stack(qml.QNode(function, qml.device("default.qubit", wires=4))(x, weights))


def test_features_are_embedded_before_each_part_of_the_layers():
    """Three layers in two parts, of two and one, with gates written out."""
    circuit = Circuit(AngleEmbedding(4, shift=0.4), Basic(4, 3), repeats=2)

    def written_out(x, weights):
        for k, layer in enumerate(weights):
            if k in (0, 2):
                qml.AngleEmbedding(x + 0.4, wires=range(4))
            Basic(4).apply(layer[None])
        return [qml.expval(qml.Z(wire)) for wire in range(4)]

    x, weights = torch.randn(4).double(), torch.randn(3, 4).double()
    expected = values(written_out, x, weights)
    torch.testing.assert_close(values(circuit.qfunc, x, weights), expected, rtol=0, atol=1e-12)
    assert circuit.n_inputs == 4
    assert circuit.specs()["gates"]["RX"] == 8 + 12
    assert circuit != Circuit(AngleEmbedding(4, shift=0.4), Basic(4, 3))
    assert circuit != Circuit(AngleEmbedding(4), Basic(4, 3), repeats=2)


@pytest.mark.parametrize("letter", ["X", "Y", "Z"])
def test_expectations_in_another_basis(letter):
    circuit = Circuit(AngleEmbedding(4), HQConv(4, 2), wires=(3, 1), basis=letter)

    def written_out(x, weights):
        AngleEmbedding(4).apply(x)
        HQConv(4, 2).apply(weights)
        return [qml.expval(getattr(qml, letter)(wire)) for wire in (3, 1)]

    x, weights = torch.randn(4).double(), torch.randn(2, 8).double()
    expected = values(written_out, x, weights)
    torch.testing.assert_close(values(circuit.qfunc, x, weights), expected, rtol=0, atol=1e-12)
    assert (circuit == Circuit(AngleEmbedding(4), HQConv(4, 2), wires=(3, 1))) == (letter == "Z")


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Circuit(AngleEmbedding(4), Basic(4, 2), repeats=3), "as many layers or more, got"),
        (lambda: Circuit(AngleEmbedding(4), Basic(4, 2), repeats=0), "repeats needs a whole numb"),
        (
            lambda: Circuit(AmplitudeEmbedding(4), Basic(4, 2), repeats=2),
            "an embedding by gates, got AmplitudeEmbedding",
        ),
        (lambda: Circuit(AngleEmbedding(4), Basic(4), basis="W"), "unknown basis 'W'"),
        (lambda: Circuit(AngleEmbedding(4), Basic(4), "probs", basis="X"), "of measure='expval_z'"),
        (lambda: AngleEmbedding(4, shift=float("nan")), "shift needs a finite number"),
    ],
)
def test_options_that_do_not_fit_are_refused(build, message):
    with pytest.raises(HQDMError, match=message) as error:
        build()
    assert "\n" not in str(error.value)
