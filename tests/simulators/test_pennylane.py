"""PennyLane devices as simulators, against the state vector."""

import pickle

import pennylane as qml
import pytest
import torch
from marks import thinned

from hqdm.circuits import AmplitudeEmbedding, AngleEmbedding, Basic, Circuit, HQConv
from hqdm.simulators import PennyLaneSimulator, StatevectorSimulator
from hqdm.utils.errors import HQDMError


def nonlinear(x, w):
    qml.RX(torch.sin(x[0]), wires=0)
    qml.CRY(x[1] * w[0], wires=[0, 1])


CIRCUITS = [
    Circuit(AngleEmbedding(4), HQConv(4, 1)),
    Circuit(AngleEmbedding(3), Basic(3, 1), "probs", (2, 0)),
    Circuit.from_qfunc(nonlinear, n_wires=2, n_inputs=2, weights_shape=(1,)),
    Circuit.from_qfunc(nonlinear, n_wires=2, n_inputs=2, weights_shape=(1,), measure="probs"),
]


def value_and_gradients(simulator, circuit, inputs, weights):
    out = simulator(circuit, inputs, weights)
    cotangent = torch.arange(1, out.numel() + 1).cos().reshape(out.shape).to(out)
    return out.detach(), *torch.autograd.grad((out * cotangent).sum(), (inputs, weights))


# Backpropagation on default.qubit; adjoint, or shifts for probabilities, on lightning.qubit; shifts
# on default.mixed, which is too slow for more than the small circuits.
@pytest.mark.parametrize(
    ("device", "circuit"),
    thinned(
        [
            *(("default.qubit", circuit) for circuit in CIRCUITS),
            *(("lightning.qubit", circuit) for circuit in CIRCUITS),
            *(("default.mixed", circuit) for circuit in CIRCUITS[2:]),
        ],
        every=2,
    ),
    ids=lambda value: value if isinstance(value, str) else value.measure,
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_devices_agree_with_the_state_vector(device, circuit, dtype):
    inputs = torch.randn(2, 3, circuit.n_inputs, dtype=dtype, requires_grad=True)
    weights = torch.randn(2, *circuit.weights_shape, dtype=dtype, requires_grad=True)
    simulator = PennyLaneSimulator(device)
    ours = value_and_gradients(StatevectorSimulator(), circuit, inputs, weights)
    theirs = value_and_gradients(simulator, circuit, inputs, weights)
    for a, b in zip(theirs, ours, strict=True):
        assert a.dtype == dtype
        # Other devices' expectation values come to torch in single precision.
        exact = dtype == torch.float64 and device == "default.qubit"
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10 if exact else 5e-6)


def test_amplitudes_have_gradients_on_default_qubit():
    circuit = Circuit(AmplitudeEmbedding(3, 5), Basic(3, 2))
    inputs = torch.randn(2, 3, 5, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(2, 2, 3, dtype=torch.float64, requires_grad=True)
    theirs = value_and_gradients(PennyLaneSimulator("default.qubit"), circuit, inputs, weights)
    ours = value_and_gradients(StatevectorSimulator(), circuit, inputs, weights)
    torch.testing.assert_close(theirs, ours, rtol=0, atol=1e-10)


@pytest.mark.parametrize("measure", ["expval_z", "probs"])
def test_no_gradient_of_amplitudes_is_better_than_nan(measure):
    circuit = Circuit(AmplitudeEmbedding(2, 3), Basic(2, 1), measure)
    inputs, weights = torch.randn(1, 2, 3), torch.randn(1, 1, 2, requires_grad=True)
    simulator = PennyLaneSimulator("lightning.qubit")
    out, expected = (s(circuit, inputs, weights) for s in (simulator, StatevectorSimulator()))
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-6)
    gradients = [torch.autograd.grad(o.square().sum(), weights)[0] for o in (out, expected)]
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-5)
    with pytest.raises(HQDMError, match=r"lightning\.qubit has no gradient .* amplitudes"):
        simulator(circuit, inputs.requires_grad_(), weights)


def test_an_empty_batch():
    out = PennyLaneSimulator("default.qubit")(
        CIRCUITS[0], torch.zeros(2, 0, 4), torch.zeros(2, 1, 8)
    )
    assert out.shape == (2, 0, 4)


def test_an_unknown_device():
    with pytest.raises(HQDMError, match=r"device 'default\.qbit'.*'default\.qubit'"):
        PennyLaneSimulator("default.qbit")


def test_it_pickles_after_use():
    simulator = PennyLaneSimulator("lightning.qubit")
    inputs, weights = torch.randn(1, 2, 4), torch.randn(1, 1, 8)
    out = simulator(CIRCUITS[0], inputs, weights)
    other = pickle.loads(pickle.dumps(simulator))
    assert other == simulator
    torch.testing.assert_close(other(CIRCUITS[0], inputs, weights), out)


def midway(x, w):
    qml.RX(x[0], wires=0)
    qml.measure(0)
    qml.RY(w[0], wires=0)


def midway_twice(x, w):
    qml.RX(x[0], wires=0)
    qml.cond(qml.measure(0), qml.X)(1)
    qml.measure(0, reset=True)
    qml.RY(w[0], wires=0)


@pytest.mark.parametrize("device", ["default.qubit", "lightning.qubit", "default.mixed"])
@pytest.mark.parametrize(
    ("fn", "expected"),
    [
        # A measured qubit has <X> = 0: <Z> is multiplied by the cosine of the second rotation.
        (midway, lambda x, w: [x.cos() * w.cos()]),
        (midway_twice, lambda x, w: [w.cos(), x.cos()]),
    ],
)
def test_the_devices_measure_midway(device, fn, expected):
    x, w = torch.tensor([0.3, 0.7], dtype=torch.float64)
    wanted = torch.stack(expected(x, w))
    circuit = Circuit.from_qfunc(fn, n_wires=len(wanted), n_inputs=1, weights_shape=(1,))
    out = PennyLaneSimulator(device)(circuit, x.reshape(1, 1, 1), w.reshape(1, 1))
    # Without backpropagation, PennyLane returns single precision.
    atol = 1e-9 if device == "default.qubit" else 1e-7
    torch.testing.assert_close(out[0, 0], wanted, rtol=0, atol=atol)


@pytest.mark.parametrize("device", ["default.qubit", "lightning.qubit"])
def test_the_state_of_thirty_qubits_is_refused(device):
    circuit = Circuit(AngleEmbedding(30), Basic(30, 1), wires=(0,))
    inputs, weights = torch.zeros(1, 1, 30), torch.zeros(1, *circuit.weights_shape)
    with pytest.raises(HQDMError, match=r"30 qubits would take 17,179,869,184 bytes, more than"):
        PennyLaneSimulator(device)(circuit, inputs, weights)


def test_a_density_matrix_has_the_square_of_the_entries():
    circuit = Circuit(AngleEmbedding(3), Basic(3, 1))
    inputs, weights = torch.zeros(1, 1, 3), torch.zeros(1, *circuit.weights_shape)
    assert PennyLaneSimulator("default.mixed", 1024)(circuit, inputs, weights).shape == (1, 1, 3)
    with pytest.raises(HQDMError, match="3 qubits would take 1,024 bytes"):
        PennyLaneSimulator("default.mixed", 1023)(circuit, inputs, weights)


@pytest.mark.parametrize("measure", ["expval_z", "probs"])
def test_a_batch_above_the_limit_is_computed_in_parts(measure):
    circuit = Circuit(AngleEmbedding(3), Basic(3, 1), measure)
    inputs = torch.randn(2, 5, 3, dtype=torch.float64)
    weights = torch.randn(2, *circuit.weights_shape, dtype=torch.float64)
    whole = PennyLaneSimulator("default.qubit")(circuit, inputs, weights)
    for samples in (1, 2):
        parts = PennyLaneSimulator("default.qubit", samples * 16 * 8)(circuit, inputs, weights)
        torch.testing.assert_close(parts, whole, rtol=0, atol=1e-15)
