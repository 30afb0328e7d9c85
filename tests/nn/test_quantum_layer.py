import copy
import io
import math
import pickle

import pennylane as qml
import pytest
import torch

from hqdm.circuits import AmplitudeEmbedding, AngleEmbedding, Basic, Circuit, HQConv
from hqdm.nn.quantum_layer import QuantumLayer
from hqdm.utils.errors import HQDMError

CIRCUIT = Circuit(AngleEmbedding(4), HQConv(4, 2))


def test_one_qubit_in_closed_form():
    # RX(2 pi theta) RX(x)|0> has <Z> = cos(x + 2 pi theta).
    layer = QuantumLayer(Circuit(AngleEmbedding(1), Basic(1)), n_circuits=3).double()
    x = torch.randn(5, 3, 1, dtype=torch.float64)
    expected = (x + 2 * math.pi * layer.theta[:, 0]).cos()
    torch.testing.assert_close(layer(x), expected, rtol=0, atol=1e-14)


def test_axes_before_the_circuits_are_a_batch():
    layer = QuantumLayer(CIRCUIT, n_circuits=3)
    x = torch.randn(2, 5, 3, 4)
    out = layer(x)
    assert out.shape == (2, 5, 3, 4)
    torch.testing.assert_close(out[1, 2], layer(x[1, 2]), rtol=0, atol=1e-6)
    assert layer(x[0, 0]).shape == (3, 4)
    assert layer(x[:0]).shape == (0, 5, 3, 4)


def test_angles_are_uniform_turns():
    theta = QuantumLayer(Circuit(AngleEmbedding(4), Basic(4, 50)), n_circuits=20).theta
    assert theta.shape == (20, 50, 4)
    assert theta.min() >= 0
    assert theta.max() < 1
    # Mean and variance of 4,000 uniform draws, within five standard errors.
    assert abs(theta.mean() - 1 / 2) < 5 * (1 / 12 / 4000) ** 0.5
    assert abs(theta.var() - 1 / 12) < 5 * (1 / 180 / 4000) ** 0.5


def test_every_angle_gets_a_gradient():
    layer = QuantumLayer(CIRCUIT, n_circuits=2)
    layer(torch.randn(5, 2, 4)).square().sum().backward()
    assert (layer.theta.grad.abs() > 1e-6).all()


@pytest.mark.parametrize("simulator", ["auto", "pennylane:default.qubit"])
def test_copies_give_the_same_outputs(simulator):
    layer = QuantumLayer(CIRCUIT, n_circuits=2, simulator=simulator)
    x = torch.randn(3, 2, 4)
    expected = layer(x)  # before copying, so that whatever a layer keeps is copied too
    other = QuantumLayer(CIRCUIT, n_circuits=2, simulator=simulator)
    buffer = io.BytesIO()
    torch.save(layer.state_dict(), buffer)
    buffer.seek(0)
    other.load_state_dict(torch.load(buffer, weights_only=True))
    for copied in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), other):
        assert torch.equal(copied(x), expected)
        assert copied.theta is not layer.theta


def test_state_dict_holds_the_angles_only():
    assert list(QuantumLayer(CIRCUIT).state_dict()) == ["theta"]


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_without_gradients(context):
    layer = QuantumLayer(CIRCUIT)
    x = torch.randn(3, 1, 4)
    with context():
        out = layer(x)
    assert not out.requires_grad
    torch.testing.assert_close(out, layer(x).detach())


def test_autocast_leaves_the_circuits_in_single_precision():
    layer = QuantumLayer(CIRCUIT)
    x = torch.randn(3, 1, 4)
    expected = layer(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = layer(x)
        from_half = layer(x.bfloat16())
    assert out.dtype == from_half.dtype == torch.float32
    assert torch.equal(out, expected)
    torch.testing.assert_close(from_half, layer(x.bfloat16().float()))


def test_amplitudes_and_probabilities():
    layer = QuantumLayer(Circuit(AmplitudeEmbedding(3, 5), Basic(3, 1), "probs", (1, 2)))
    out = layer(torch.randn(6, 1, 5))
    assert out.shape == (6, 1, 4)
    torch.testing.assert_close(out.sum(-1), torch.ones(6, 1))


@pytest.mark.parametrize("shape", [(3, 4), (5, 1, 4), (5, 2, 3), (4,)])
def test_wrong_input_shapes(shape):
    with pytest.raises(HQDMError) as error:
        QuantumLayer(CIRCUIT, n_circuits=2)(torch.zeros(shape))
    assert str(error.value) == f"QuantumLayer needs inputs of shape (..., 2, 4), got {shape}"


def test_invalid_arguments_are_refused():
    with pytest.raises(HQDMError, match="n_circuits needs a whole number from 1, got 0"):
        QuantumLayer(CIRCUIT, n_circuits=0)
    with pytest.raises(HQDMError, match="unknown simulator 'fast'"):
        QuantumLayer(CIRCUIT, simulator="fast")


def test_weights_without_axes_and_no_weights():
    """RX(x + w)|0> has <Z> = cos(x + w); without weights a layer has none to train."""
    x = torch.linspace(-1, 1, 6, dtype=torch.float64).reshape(3, 2, 1).requires_grad_()
    for shape, gate in (((), lambda x, w: x[0] + w), ((0,), lambda x, w: x[0])):
        circuit = Circuit.from_qfunc(
            lambda x, w, gate=gate: qml.RX(gate(x, w), wires=0),
            n_wires=1,
            n_inputs=1,
            weights_shape=shape,
        )
        for simulator in ("auto", "compiled", "statevector", "pennylane:default.qubit"):
            layer = QuantumLayer(circuit, 2, simulator).double()
            angles = 2 * math.pi * layer.theta.reshape(2, -1).sum(1)
            out = layer(x)
            torch.testing.assert_close(out[..., 0], (x[..., 0] + angles).cos())
            out.sum().backward()
            assert layer(x[:0]).shape == (0, 2, 1)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_float32_inside(dtype):
    layer = QuantumLayer(CIRCUIT, n_circuits=2).to(dtype)
    single = copy.deepcopy(layer).float()
    x = torch.randn(5, 2, 4).to(dtype)
    out = layer(x)
    assert out.dtype == dtype
    assert torch.equal(out, single(x.float()).to(dtype))
    out.float().sum().backward()
    single(x.float()).sum().backward()
    assert layer.theta.grad.dtype == dtype
    torch.testing.assert_close(layer.theta.grad, single.theta.grad.to(dtype))


def test_options_change_nothing_by_default():
    """The angles are drawn as before, and there is nothing else."""
    torch.manual_seed(0)
    layer = QuantumLayer(CIRCUIT, 3)
    torch.manual_seed(0)
    assert torch.equal(layer.theta, torch.empty(3, 2, 8).uniform_())
    assert list(layer.state_dict()) == ["theta"]


def test_small_angles():
    layer = QuantumLayer(Circuit(AngleEmbedding(4), Basic(4, 50)), 20, angle_std=0.2)
    angles = layer.angles(layer.theta).detach()
    # 4,000 draws: the standard error of their mean is 0.003, that of their deviation 1.1 %.
    assert abs(angles.mean()) < 0.016
    assert abs(angles.std() - 0.2) < 0.011
    with pytest.raises(HQDMError, match="angle_std needs a positive number, got 0"):
        QuantumLayer(CIRCUIT, angle_std=0)


@pytest.mark.parametrize("compiled", [False, True])
def test_trainable_factors_and_observables_are_no_angles(compiled):
    """One qubit in closed form: c_I + c_Y <Y> + c_Z <Z> at the angle s x + 2 pi theta."""
    circuit = Circuit(AngleEmbedding(1), Basic(1))
    layer = QuantumLayer(circuit, 3, input_scale=True, observable=1).double()
    x = torch.randn(5, 3, 1, dtype=torch.float64)
    assert torch.equal(layer.scale, torch.ones(3, 1))
    torch.testing.assert_close(layer(x), (x + 2 * math.pi * layer.theta[:, 0]).cos())
    with torch.no_grad():
        layer.scale.normal_()
        layer.observables.normal_()
    angle = layer.scale * x + 2 * math.pi * layer.theta[:, 0]
    one, _, y, z = layer.observables.unbind(-1)
    expected = one - y * angle.sin() + z * angle.cos()
    run = torch.compile(layer, backend="eager") if compiled else layer
    out = run(x)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-12)
    parameters = list(layer.parameters())
    own, other = (torch.autograd.grad(v.square().sum(), parameters) for v in (out, expected))
    for gradient, reference in zip(own, other, strict=True):
        torch.testing.assert_close(gradient, reference, rtol=0, atol=1e-10)
    assert [id(p) for p in layer.quantum_parameters()] == [id(layer.theta)]
    before = copy.deepcopy(layer.state_dict())
    layer.reset_parameters()
    changed = [k for k, v in layer.state_dict().items() if not torch.equal(v, before[k])]
    assert changed == ["theta"]
    copied = pickle.loads(pickle.dumps(layer))
    assert torch.equal(copied(x), layer(x))
