"""Controls are what they say: values against closed forms, counts, bits of frozen angles."""

import math
from dataclasses import replace

import pytest
import torch
from marks import thinned
from torch.nn import functional as F
from trainings import kept_by_training

from hqdm.circuits import ANSATZE, AngleEmbedding, Circuit, Separable, build_ansatz
from hqdm.diffusion.denoiser import Denoiser
from hqdm.diffusion.schedule import CosineSchedule
from hqdm.nn.blocks import WSConv2d
from hqdm.nn.controls import CONTROLS, Cosines, MatchedConv2d, controlled
from hqdm.nn.parts import count, quantum_parameters
from hqdm.nn.quantum_conv import Hybrid
from hqdm.nn.quantum_layer import QuantumLayer
from hqdm.nn.unet import UNet
from hqdm.utils.errors import HQDMError

ANGLES = {"groups": 2, "channels_per_group": 1, "ansatz": "HQConv", "n_layers": 2}
AMPLITUDES = {"convolution": "QuantumConv2d", "options": {"kernel_size": 2, "n_layers": 2}}
SMALL = {"size": 4, "dim": 4, "mults": (1,), "heads": 1, "head_dim": 4}


def built(control, kind=ANGLES, channels=(4, 4), seed=0):
    torch.manual_seed(seed)
    return Hybrid.from_dict({**kind, "control": control}).conv(*channels)


def network(control, kind=ANGLES, seed=0):
    torch.manual_seed(seed)
    return UNet(hybrid={"encoder.0": Hybrid.from_dict({**kind, "control": control})}, **SMALL)


def separable_layer(name, simulator):
    ansatz = build_ansatz(name, 8, 2)
    circuit = Circuit(AngleEmbedding(8), Separable(8, 2, ansatz=ansatz))
    return QuantumLayer(circuit, 2, simulator).double()


@pytest.mark.parametrize("simulator", ["statevector", "compiled"])
@pytest.mark.parametrize("name", sorted(ANSATZE))
def test_a_separable_circuit_is_a_product_of_cosines(name, simulator):
    """cos(2 pi a) cos(x + 2 pi b) on each wire, with a and b from the values at 0 and pi / 2."""
    torch.manual_seed(0)
    layer = separable_layer(name, simulator)
    at = torch.tensor([0, math.pi / 2], dtype=torch.float64)
    cosine, sine = layer(at[:, None, None].expand(2, 2, 8)).detach()
    product = Cosines(2, range(8)).double()
    b = torch.atan2(-sine, cosine)
    product.theta.data = torch.stack([torch.hypot(cosine, sine).acos(), b]) / (2 * math.pi)
    x = 3 * torch.randn(5, 2, 8, dtype=torch.float64)
    torch.testing.assert_close(layer(x), product(x), rtol=0, atol=1e-12)
    entangled = QuantumLayer(replace(layer.circuit, ansatz=layer.circuit.ansatz.ansatz), 2).double()
    entangled.load_state_dict(layer.state_dict())
    assert (entangled(x) - layer(x)).abs().max() > 0.1


def test_a_separable_quantum_convolution_has_rows_that_are_kronecker_products():
    """Every cut of the wires leaves one singular value, of size 1; entangling gates leave more."""
    second = []
    for control in ("separable", "frozen"):
        conv = built(control, AMPLITUDES, (4, 4)).double()
        real, imag = conv.rows(conv.theta).detach().chunk(2)
        rows = torch.complex(real, imag)
        for left in (2, 4, 8):
            values = torch.linalg.svdvals(rows.reshape(4, left, -1))
            second.append(values[:, 1].max().item())
    assert max(second[:3]) < 1e-12
    assert min(second[3:]) > 0.01


@pytest.mark.parametrize("kind", [ANGLES, AMPLITUDES], ids=["angles", "amplitudes"])
def test_frozen_angles_do_not_move_by_a_bit(kind):
    """In a training with weight decay and an average of the weights; all other weights move."""
    for control, moves in (("frozen", False), ("separable", True)):
        unet = network(control, kind)
        quantum = {id(p) for p in quantum_parameters(unet)}
        assert len(quantum) == 4
        kept = kept_by_training(Denoiser(unet, CosineSchedule()), lambda: torch.randn(4, 1, 4, 4))
        for name, p in unet.named_parameters():
            same = not moves and id(p) in quantum
            assert kept[name] == (same, same), name


@pytest.mark.parametrize(
    ("options", "channels"),
    [
        ({"n_layers": 3}, (10, 10)),
        ({"groups": "all"}, (10, 10)),
        ({"groups": 2, "channels_per_group": 2, "n_layers": 4}, (9, 7)),
        ({"groups": 2, "channels_per_group": 1, "ansatz": "HQConv", "n_layers": 5}, (4, 4)),
        ({"groups": 1, "ansatz": "StronglyEntangling", "n_layers": 3}, (3, 3)),
        (AMPLITUDES, (3, 6)),
        ({"convolution": "QuantumConv2d", "options": {"n_layers": 8}}, (6, 3)),
    ],
)
def test_a_matched_convolution_has_as_many_parameters_as_the_circuits(options, channels):
    conv = Hybrid.from_dict(options).conv(*channels)
    other = Hybrid.from_dict({**options, "control": "matched"}).conv(*channels)
    assert count(other.parameters()) == count(conv.parameters())
    assert not list(quantum_parameters(other))
    x = torch.randn(2, channels[0], 5, 6)
    out = other(x)
    assert out.shape == conv(x).shape
    out.square().sum().backward()
    for parameter in other.parameters():
        assert parameter.grad is not None
        assert (parameter.grad != 0).all()


def test_a_dense_matched_convolution_is_the_package_s_own():
    """With 9 c_in + 1 parameters for each output: the kernel of `WSConv2d`, in another order."""
    matched, conv = MatchedConv2d(3, 2, 1, 2 * 28), WSConv2d(3, 2, gain=27**-0.5)
    with torch.no_grad():
        conv.weight.view(-1)[matched.index] = matched.weight
        conv.bias.copy_(matched.bias)
    x = torch.randn(2, 3, 5, 5)
    torch.testing.assert_close(matched(x), conv(x), rtol=0, atol=1e-6)


def test_a_sparse_matched_convolution_is_standardised_over_its_numbers():
    """15 numbers of 25 around the centre, of mean 0 and variance 1 / 15, in separate groups."""
    torch.manual_seed(0)
    matched = MatchedConv2d(2, 2, 2, 2 * 16 + 1)
    kernels = matched.kernels().detach()
    assert kernels.shape == (2, 1, 5, 5)
    assert [int((k != 0).sum()) for k in kernels] == [16, 15]
    assert (kernels[:, :, 1:4, 1:4] != 0).all()
    for kernel in kernels:
        values = kernel[kernel != 0]
        assert abs(values.mean()) < 1e-6
        torch.testing.assert_close(values.square().sum(), torch.tensor(1.0), rtol=1e-3, atol=0)
    x = torch.randn(1, 2, 6, 6)
    out = matched(x)
    x[:, 1] += 1
    assert torch.equal(matched(x)[:, 0], out[:, 0])
    assert not torch.equal(matched(x)[:, 1], out[:, 1])


def test_an_orthogonal_map_is_an_isometry_of_patches():
    conv = built("orthogonal").double()
    x = torch.randn(3, 4, 6, 4, dtype=torch.float64)
    out = conv(x)

    def norms(images):  # of the 2x2 patches of each channel, which is a group
        return F.avg_pool2d(images[:, :2].square(), 2)

    # The matrices are drawn in float32: orthonormal up to its rounding.
    torch.testing.assert_close(norms(out), norms(x), rtol=1e-5, atol=0)
    torch.testing.assert_close(conv(2 * x)[:, :2], 2 * out[:, :2], rtol=0, atol=1e-12)
    moved = x.clone()
    moved[:, 0, 0, 0] += 1
    changed = (conv(moved) - out).abs().amax(0) > 0
    assert changed[0, :2, :2].all()
    assert changed.sum() == 4


def test_the_kernels_of_an_orthogonal_convolution_are_orthonormal():
    for channels in ((3, 4), (2, 12)):
        sequence = built("orthogonal", AMPLITUDES, channels)
        rows = sequence[-1].weight.detach().flatten(1)
        gram = rows @ rows.T if rows.shape[0] <= rows.shape[1] else rows.T @ rows
        torch.testing.assert_close(gram, torch.eye(len(gram)), rtol=0, atol=1e-5)
        x = torch.randn(2, channels[0], 5, 4)
        quantum = built("frozen", AMPLITUDES, channels)
        assert sequence(x).shape == quantum(x).shape
        # The same patches: a pixel changes the same outputs, where circuits are sensitive to it.
        moved = x.clone()
        moved[:, :, 2, 1] += 1
        places = [(f(moved) != f(x)).any(0).any(0) for f in (sequence, quantum)]
        assert torch.equal(*places)


@pytest.mark.parametrize("kind", [ANGLES, AMPLITUDES])
def test_a_linear_map_is_the_orthogonal_one_at_its_start(kind):
    fixed, trained = built("orthogonal", kind), built("linear", kind)
    x = torch.randn(2, 4, 4, 4)
    assert torch.equal(fixed(x), trained(x))
    assert not torch.equal(fixed(x), built("orthogonal", kind, seed=1)(x))
    names = {name for name, p in trained.named_parameters() if p.requires_grad}
    assert names - {name for name, p in fixed.named_parameters() if p.requires_grad}
    assert all(p.requires_grad for p in trained.parameters())


def test_zeros_and_identity():
    x = torch.randn(2, 4, 5, 3)
    assert torch.equal(built("identity")(x)[:, :2], x[:, :2])
    assert not built("zeros")(x)[:, :2].any()
    assert torch.equal(built("zeros")(x)[:, 2:], built(None)(x)[:, 2:])
    assert torch.equal(built("identity", AMPLITUDES)(x), x)
    zeros = built("zeros", AMPLITUDES, (4, 6))(x)
    assert zeros.shape == (2, 6, 5, 3)
    assert not zeros.any()


def test_the_classical_control_is_the_package_s_own_convolution():
    conv = built("classical", channels=(4, 6))
    assert type(conv) is WSConv2d
    assert conv.weight.shape == (6, 4, 3, 3)
    assert count(network("classical").parameters()) == count(UNet(**SMALL).parameters())


def test_channels_without_a_group_are_controlled_too():
    conv = Hybrid("all", n_layers=1, control="zeros").conv(7, 7)
    assert not conv(torch.randn(1, 7, 4, 4)).any()


@pytest.mark.parametrize("control", thinned(sorted(CONTROLS), every=3))
@pytest.mark.parametrize("kind", [ANGLES, AMPLITUDES], ids=["angles", "amplitudes"])
def test_all_else_is_the_same_at_the_start(kind, control):
    """The parameters outside of the circuits, and the random numbers that are drawn next."""
    if kind is AMPLITUDES and control == "cosines":
        pytest.skip("refused")
    plain, other = network(None, kind), network(control, kind)
    own, drawn = dict(other.named_parameters()), torch.rand(1)
    network(None, kind)
    assert torch.equal(torch.rand(1), drawn)
    circuits = {id(p) for p in quantum_parameters(plain)}
    shared = [n for n, p in plain.named_parameters() if id(p) not in circuits and n in own]
    assert len(shared) > 40
    for name in shared:
        if not (control == "classical" and "conv_" in name):
            assert torch.equal(own[name], dict(plain.named_parameters())[name]), name


@pytest.mark.parametrize("control", sorted(CONTROLS))
def test_a_network_with_a_control_runs_in_both_backends(control, monkeypatch):
    unet = network(control)
    rebuilt = UNet.from_config(unet.config)
    assert rebuilt.config == unet.config
    assert unet.config["hybrid"]["encoder.0"]["control"] == control
    rebuilt.load_state_dict(unet.state_dict())
    x, t = torch.randn(3, 1, 4, 4), torch.rand(3)
    outputs = []
    for backend in ("torch", "compiled"):
        monkeypatch.setenv("HQDM_BACKEND", backend)
        outputs += [unet(x, t), rebuilt(x, t)]
    for out in outputs[1:]:
        torch.testing.assert_close(out, outputs[0], rtol=0, atol=1e-4)


def test_a_configuration_without_a_control_is_saved_as_before():
    assert "control" not in Hybrid().to_dict()
    assert "control" not in Hybrid.from_dict(AMPLITUDES).to_dict()
    assert Hybrid.from_dict({**AMPLITUDES, "control": "zeros"}).to_dict() == {
        **AMPLITUDES,
        "control": "zeros",
    }


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Hybrid(control="seperable"), "unknown control .*did you mean 'separable'"),
        (lambda: built("cosines", AMPLITUDES), "inputs of QuantumConv2d are amplitudes"),
        (lambda: built("identity", AMPLITUDES, (4, 6)), "as many channels out as in, got 4 -> 6"),
        (
            lambda: controlled(separable_layer("Basic", "auto"), "linear", 1, 1),
            "QuantumLayer does not tell: use classical or frozen",
        ),
        (lambda: controlled(WSConv2d(2, 2), "frozen", 2, 2), "WSConv2d has none"),
        (lambda: MatchedConv2d(4, 4, 1, 11), "12 parameters or more, the circuits have 11"),
    ],
)
def test_what_has_no_meaning_is_refused(build, message):
    with pytest.raises(HQDMError, match=message) as error:
        build()
    assert "\n" not in str(error.value)


ADAPTIVE = {**ANGLES, "shift": 0.5, "input_scale": True, "angle_std": 0.3}


def test_the_closed_form_of_scaled_and_shifted_inputs_on_overlapping_patches():
    """The wires in the middle only; at equal factors the separable circuit has the same values."""
    options = {**ADAPTIVE, "ansatz": "StronglyEntangling", "kernel_size": 3}
    circuits, closed = (built(c, options).double().quantum for c in ("separable", "cosines"))
    layer, product = circuits.layer, closed.layer
    with torch.no_grad():
        layer.scale.normal_()
        product.scale.copy_(layer.scale[:, 4:5])
        at = torch.tensor([0, math.pi / 2], dtype=torch.float64)
        cosine, sine = layer(at[:, None, None].expand(2, 2, 9) / layer.scale)
        b = torch.atan2(-sine, cosine)
        product.theta.copy_(torch.stack([torch.hypot(cosine, sine).acos(), b]) / (2 * math.pi))
    x = torch.randn(2, 2, 4, 3, dtype=torch.float64)
    torch.testing.assert_close(closed(x), circuits(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("control", sorted({*CONTROLS} - {"cosines"}))
def test_controls_of_circuits_with_all_options(control):
    """Only the angles are frozen; a match counts the factors and observables."""
    options = {**ADAPTIVE, "observable": 2, "repeats": 2}
    conv = built(control, options)
    out = conv(torch.randn(2, 4, 4, 4))
    assert out.shape == (2, 4, 4, 4)
    fixed = {name for name, p in conv.named_parameters() if not p.requires_grad}
    assert fixed == {
        "frozen": {"quantum.layer.theta"},
        "orthogonal": {"quantum.layer.weight"},
    }.get(control, set())
    if control == "matched":
        assert count(conv.parameters()) == count(built(None, options).parameters())
    with pytest.raises(HQDMError, match="leave out repeats and observable"):
        built("cosines", options)
