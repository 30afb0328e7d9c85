"""Controls of Q-Dense, QU-Net and USS: closed forms, counts, bits of frozen angles, refusals."""

import pennylane as qml
import pytest
import torch
from trainings import kept_by_training

from hqdm.diffusion.denoiser import Denoiser
from hqdm.diffusion.objective import StepBack
from hqdm.diffusion.schedule import CosineSchedule, MixingSchedule
from hqdm.evaluation.unitary_bound import unitary_bound
from hqdm.nn.amplitude.controls import DenseControl, MatchedDense, Multiple
from hqdm.nn.amplitude.dense import QDense
from hqdm.nn.amplitude.procrustes import fit_circuit
from hqdm.nn.amplitude.qunet import QUNet
from hqdm.nn.amplitude.unitary import USS
from hqdm.nn.controls import CONTROLS
from hqdm.nn.network import build_network, network_config, network_outline
from hqdm.nn.parts import count, quantum_parameters
from hqdm.samplers.recursive.unitary import UnitarySampling
from hqdm.utils.errors import HQDMError

MAPS = ("matched", "linear", "orthogonal", "identity", "zeros")
KEPT = ("frozen", "separable")
NETWORKS = {
    "QDense": (QDense, {"size": 4, "n_layers": 6, "n_classes": 2, "scale": "learned"}),
    "USS": (USS, {"size": 4, "n_layers": 6}),
    "QUNet": (QUNet, {"size": 4, "n_layers": 3, "widths": (2, 3)}),
}


def built(name, control, seed=0, **options):
    torch.manual_seed(seed)
    cls, own = NETWORKS[name]
    return cls(control=control, **{**own, **options})


def images(n=3, size=4):
    return 2 * torch.rand(n, 1, size, size, dtype=torch.float64) - 1


def schmidt(unitary, left):
    """The second singular value of a matrix across a cut of its qubits; 0 for a product."""
    right = len(unitary) // left
    rows = unitary.reshape(left, right, left, right).permute(0, 2, 1, 3).reshape(left**2, -1)
    return torch.linalg.svdvals(rows)[1].item()


@pytest.mark.parametrize("options", [{}, {"n_classes": 2, "uploads": 2}])
def test_a_separable_unitary_is_a_product(options):
    """For each label; the ancilla too, so that both Kraus operators are one matrix, times a number.

    Entangling gates leave more; the queued gates are those of the matrix.
    """
    for control, product in (("separable", True), ("frozen", False)):
        network = built("USS", control, **options).double()
        for y in (None, 0, 1) if options else (None,):
            kraus = network.kraus(y).detach()
            largest = max(kraus, key=lambda k: k.norm())
            for left in (2, 4, 8):
                assert (schmidt(largest / largest.norm(), left) < 1e-12) == product
            if product and options:
                cross = (kraus[0].conj() * kraus[1]).sum().abs()
                torch.testing.assert_close(cross, kraus[0].norm() * kraus[1].norm())
            wires = range(network.n_wires)
            unitary = torch.as_tensor(qml.matrix(network.queue, wire_order=wires)(y))
            block = unitary.reshape(16, -1, 16, unitary.shape[0] // 16)[..., 0].permute(1, 0, 2)
            torch.testing.assert_close(block, kraus, rtol=0, atol=1e-10)


@pytest.mark.parametrize("control", KEPT)
def test_a_circuit_that_is_kept_is_that_of_uss(control):
    """Q-Dense is N |U p|^2 / |p|^2, cut off at 1, with the matrix U of a USS of the same angles."""
    dense = built("QDense", control, n_classes=None, scale="pixels").double()
    uss = built("USS", control).double()
    uss.load_state_dict(dense.state_dict())
    x = images()
    pixels = (x.flatten(1) + 1) / 2
    amplitudes = pixels.to(torch.complex128) @ uss.kraus()[0].mT
    expected = 16 * amplitudes.abs().square() / pixels.square().sum(1, keepdim=True)
    out = dense(x, torch.rand(3))
    torch.testing.assert_close((out.flatten(1) + 1) / 2, expected.clamp(max=1), rtol=0, atol=1e-12)


def test_a_label_of_a_separable_circuit_changes_the_brightness_only():
    network = built("QDense", "separable").double()
    x = images(1).expand(2, -1, -1, -1)
    first, second = (network(x, torch.rand(2), torch.tensor([0, 1])) + 1) / 2
    shown = (first < 1) & (second < 1)
    ratios = first[shown] / second[shown]
    assert shown.sum() > 4
    assert ratios.max() - ratios.min() < 1e-9
    assert (ratios - 1).abs().min() > 1e-3


@pytest.mark.parametrize("name", NETWORKS)
def test_frozen_angles_do_not_move_by_a_bit(name):
    """In a training with weight decay and an average of the weights; all other weights move."""
    for control, moves in (("frozen", False), ("separable", True)):
        network = built(name, control)
        quantum = {id(p) for p in quantum_parameters(network)}
        assert quantum
        model = Denoiser(network, CosineSchedule(), "x0")
        kept = kept_by_training(model, lambda: torch.rand(4, 1, 4, 4))
        for key, p in network.named_parameters():
            same = not moves and id(p) in quantum
            assert kept[key] == (same, same), key


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("QDense", {}),
        ("QDense", {"n_classes": None, "scale": "pixels"}),
        ("QDense", {"n_layers": 7, "n_classes": 3, "uploads": 2}),
        ("USS", {}),
        ("USS", {"n_layers": 30, "size": 3, "n_classes": 2}),
        ("QUNet", {}),
        ("QUNet", {"convolutions": 2, "n_layers": 5}),
    ],
)
def test_a_match_has_as_many_parameters(name, options):
    plain, other = built(name, None, **options), built(name, "matched", **options)
    assert count(other.parameters()) == count(plain.parameters())
    assert not list(quantum_parameters(other))
    size = other.sample_shape[-1]
    y = torch.arange(64) % 2 if other.n_classes else None
    out = other(images(64, size).float(), torch.rand(64), y)
    out.square().sum().backward()
    assert all((p.grad != 0).any() for p in other.parameters())


def test_a_matched_layer_in_closed_form():
    """Two hidden units of 3 inputs and 2 outputs, and four direct numbers."""
    layer = MatchedDense(3, 2, 2 + 2 * 6 + 4).double()
    layer.direct.data = torch.tensor([1.0, 10.0, 100.0, 1000.0], dtype=torch.float64)
    x = torch.randn(5, 3, dtype=torch.float64)
    hidden = (x @ layer.hidden.weight.T + layer.hidden.bias).clamp(min=0)
    expected = hidden @ layer.out.weight.T + layer.out.bias
    expected[:, 0] += x[:, 0] + 100 * x[:, 2]
    expected[:, 1] += 10 * x[:, 1] + 1000 * x[:, 0]
    torch.testing.assert_close(layer(x), expected)
    assert count(layer.parameters()) == 18


@pytest.mark.parametrize("name", ["QDense", "USS"])
def test_linear_maps(name):
    """2 W (p, c) - 1, c = 0, 1 and -1 for the labels of two classes; orthonormal at the start."""
    fixed, trained = (built(name, c, n_classes=2).double() for c in ("orthogonal", "linear"))
    x, y = images(), torch.tensor([0, 1, 2])
    weight = trained.circuit.map.weight
    torch.testing.assert_close(
        weight @ weight.T, torch.eye(16, dtype=torch.float64), rtol=0, atol=1e-5
    )
    number = torch.tensor([[0.0], [1.0], [-1.0]], dtype=torch.float64)
    inputs = torch.cat([(x.flatten(1) + 1) / 2, number], 1)
    expected = (2 * inputs @ weight.T - 1).view_as(x)
    for network in (fixed, trained):
        torch.testing.assert_close(network(x, torch.rand(3), y), expected, rtol=0, atol=1e-12)
    none = fixed(x, torch.rand(3))
    torch.testing.assert_close(none[2], expected[2], rtol=0, atol=1e-12)
    assert not any(p.requires_grad for p in fixed.parameters())
    trained(x, torch.rand(3), y).square().sum().backward()
    assert (weight.grad != 0).all()
    assert not torch.equal(weight, built(name, "linear", seed=1, n_classes=2).circuit.map.weight)


def test_padding_is_seen_by_maps_of_uss_only():
    assert built("USS", "linear", size=3).circuit.map.weight.shape == (16, 16)
    assert built("QDense", "linear", size=3, n_classes=None).circuit.map.weight.shape == (9, 9)
    x = images(2, 3)
    torch.testing.assert_close(built("USS", "identity", size=3).double()(x, torch.rand(2)), x)


@pytest.mark.parametrize("name", ["QDense", "USS"])
def test_zeros_and_identity(name):
    x, y = images(), torch.tensor([0, 1, 2])
    labels = y if name == "QDense" else None
    torch.testing.assert_close(built(name, "identity").double()(x, torch.rand(3), labels), x)
    assert (built(name, "zeros").double()(x, torch.rand(3), labels) == -1).all()


def test_a_blind_qunet_gives_a_constant():
    out = built("QUNet", "zeros").eval()(images().float(), torch.rand(3))
    assert (out == out[0, 0, 0, 0]).all()


@pytest.mark.parametrize("control", [*MAPS, *KEPT])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_network_of_a_control(name, control):
    """The same start outside of the circuits, the same random numbers next; files give it back."""
    if (name, control) == ("QUNet", "identity"):
        pytest.skip("refused")
    network, drawn = built(name, control), torch.rand(1)
    plain = built(name, None)
    assert torch.equal(torch.rand(1), drawn)
    circuits = {id(p) for p in quantum_parameters(plain)}
    own = dict(network.named_parameters())
    for key, p in plain.named_parameters():
        if id(p) not in circuits and key in own:
            assert torch.equal(own[key], p), key
    config = network_config(network)
    assert config["control"] == control
    assert "control" not in network_config(plain)
    rebuilt = build_network(config)
    rebuilt.load_state_dict(network.state_dict())
    shapes = {key: p.shape for key, p in network_outline(config).state_dict().items()}
    assert shapes == {key: p.shape for key, p in network.state_dict().items()}
    x, t = images().float(), torch.rand(3)
    network.eval(), rebuilt.eval()
    assert torch.equal(network(x, t), rebuilt(x, t))
    assert network.half()(x.half(), t).isfinite().all()


@pytest.mark.parametrize("control", MAPS)
def test_a_map_has_no_steps_at_once(control):
    network = built("USS", control, n_classes=None)
    denoiser = Denoiser(network, MixingSchedule(), StepBack())
    assert unitary_bound(denoiser, images().float()) is None
    for forbidden, message in (
        (lambda: UnitarySampling(2)(denoiser, images().float()), f"control {control} stands"),
        (network.kraus, "no matrix and no gates"),
        (network.queue, "no matrix and no gates"),
        (lambda: fit_circuit(network, torch.eye(16)), "no matrix and no gates"),
        (lambda: network(images() * 1j, torch.rand(3)), "real images"),
    ):
        with pytest.raises(HQDMError, match=message) as error:
            forbidden()
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("control", KEPT)
def test_a_circuit_that_is_kept_has_all_steps_at_once(control):
    denoiser = Denoiser(built("USS", control), MixingSchedule(), StepBack())
    assert UnitarySampling(2)(denoiser, images().float()).isfinite().all()
    assert unitary_bound(denoiser, images().float()) is not None


@pytest.mark.parametrize(
    ("name", "control", "options", "message"),
    [
        ("QDense", "classical", {}, "no meaning .* use matched, or the network FullyConnected"),
        ("USS", "cosines", {}, "no meaning .* use matched, or the network FullyConnected"),
        ("QUNet", "classical", {}, "no meaning .* use matched, or the network SmallUNet"),
        ("QUNet", "cosines", {}, "no meaning for circuits on amplitudes"),
        ("QUNet", "identity", {}, "as many channels out as in, got 1 -> 2"),
        ("QDense", "seperable", {}, "unknown control .*did you mean 'separable'"),
        ("USS", "matched", {"n_layers": 3}, "49 parameters or more, the circuits have 36"),
    ],
)
def test_what_has_no_meaning_is_refused(name, control, options, message):
    with pytest.raises(HQDMError, match=message) as error:
        built(name, control, **options)
    assert "\n" not in str(error.value)


def test_all_controls_are_known_here():
    assert {*MAPS, *KEPT, "classical", "cosines"} == set(CONTROLS)


def test_a_map_has_the_precision_of_its_parameters():
    control = DenseControl(Multiple(2.0).half(), None)
    out = control(torch.ones(2, 3, dtype=torch.float64))
    assert out.dtype == torch.float16
    assert (out == 2).all()
