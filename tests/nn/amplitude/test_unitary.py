"""USS against PennyLane in float64, its loss, labels, Kraus operators and configurations."""

import math

import numpy as np
import pennylane as qml
import pytest
import torch

from hqdm.diffusion.denoiser import Denoiser
from hqdm.diffusion.objective import StepBack, Uniform
from hqdm.diffusion.schedule import MixingSchedule
from hqdm.evaluation.ablation import quantum_effect
from hqdm.nn.amplitude.procrustes import BestUnitary
from hqdm.nn.amplitude.unitary import USS
from hqdm.nn.network import build_network, network_config
from hqdm.nn.parts import count, quantum_parameters
from hqdm.utils.errors import HQDMError

KINDS = {
    "plain": {},
    "padded": {"channels": 1, "size": 3},
    "ancilla": {"ancilla": True},
    "labels": {"n_classes": 3, "uploads": 2},
}
kinds = pytest.mark.parametrize("kind", KINDS)


def network(kind="plain", **options):
    """Eight pixels unless padded: three qubits, and the ancilla."""
    return USS(**{"channels": 2, "size": 2, "n_layers": 3, **KINDS[kind], **options}).double()


def batch(net, n=4):
    x = 2 * torch.rand(n, *net.sample_shape, dtype=torch.float64) - 1
    y = None if net.n_classes is None else torch.arange(n) % net.n_classes
    return x, torch.full((n,), 0.5, dtype=torch.float64), y


def by_pennylane(net, pixels, angles, y):
    """The amplitudes of one image by a QNode, those of outcome 0 of the ancilla."""
    n = net.n_qubits
    wires = range(n + net.has_ancilla)

    @qml.qnode(qml.device("default.qubit", wires=wires), interface="torch")
    def node():
        qml.StatePrep(pixels / pixels.norm(), wires=range(n), pad_with=0.0)
        layers = net.config["n_layers"]
        parts = np.array_split(np.arange(layers), net.config["uploads"])
        for part in parts:
            if y is not None:
                qml.RX(2 * math.pi * int(y) / net.n_classes, wires=n)
            qml.StronglyEntanglingLayers(angles[part], wires=wires)
        return qml.state()

    state = node()
    return pixels.norm() * (state[::2] if net.has_ancilla else state)


@kinds
def test_values_and_gradients_are_those_of_pennylane(kind):
    net = network(kind)
    x, t, y = batch(net)
    target = torch.rand(len(x), net.n_pixels, dtype=torch.float64)
    theta = net.circuit.theta.detach().clone().requires_grad_()
    rows = [
        by_pennylane(
            net, (image.flatten() + 1) / 2, math.pi * theta[0].tanh(), None if y is None else y[i]
        )[: net.n_pixels]
        for i, image in enumerate(x)
    ]
    expected = (2 * torch.stack(rows) - 1).view(x.shape)
    found = net(x, t, y)
    assert found.dtype == torch.complex128
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
    for out in (found, expected):
        (out.flatten(1) - target).abs().square().mean().backward()
    assert theta.grad.abs().max() > 1e-3
    torch.testing.assert_close(net.circuit.theta.grad, theta.grad, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("options", "n_angles"),
    [
        ({"n_layers": 56}, 1_008),
        ({"n_layers": 55}, 990),
        ({"n_layers": 47, "n_classes": 2}, 987),
        ({"n_layers": 476, "ancilla": True}, 9_996),
        ({"n_layers": 66, "size": 32}, 1_980),
        ({"n_layers": 133, "size": 32}, 3_990),
    ],
)
def test_parameters_are_those_of_the_paper(options, n_angles):
    net = USS(**options)
    assert count(net.parameters()) == count(quantum_parameters(net)) == n_angles


def test_the_loss_is_that_of_the_paper():
    """Squared: 4 ((Re a - p_s)^2 + (Im a)^2); absolute: 2 |a - p_s|, with p = (x + 1) / 2."""
    net = network()
    x0, t, _ = batch(net)
    t = 0.1 * torch.arange(1, len(x0) + 1, dtype=torch.float64)
    eps = torch.randn_like(x0)
    w, v = ((s**3)[:, None, None, None] for s in (t, t - 0.1))
    x_t, x_s = ((1 - u) * x0 + 0.4 * u * eps for u in (w, v))
    a = (net(x_t, t) + 1) / 2
    p = (x_s + 1) / 2
    expected = {
        "mse": 4 * ((a.real - p) ** 2 + a.imag**2).mean(),
        "l1": 2 * (a - p).abs().mean(),
    }
    for loss, value in expected.items():
        denoiser = Denoiser(net, MixingSchedule(), StepBack(loss=loss, weight=Uniform()))
        torch.testing.assert_close(denoiser.loss(x0, t=t, eps=eps), value, rtol=1e-12, atol=0)
        denoiser.loss(x0, t=t, eps=eps).backward()
        assert net.circuit.theta.grad.isfinite().all()


@kinds
def test_kraus_operators_are_the_step(kind):
    """K_0 acts on pixels as `forward` does, on complex images, too; sum_k K_k^H K_k = 1."""
    net = network(kind)
    x, t, y = batch(net)
    x = x + 0.3j * torch.randn_like(x)
    for i in range(len(x)):
        kraus = net.kraus(None if y is None else int(y[i]))
        assert len(kraus) == 1 + net.has_ancilla
        out = net.images(net.pixels(x[i : i + 1]) @ kraus[0].mT)
        one = None if y is None else y[i : i + 1]
        torch.testing.assert_close(net(x[i : i + 1], t[:1], one), out, rtol=0, atol=1e-12)
        whole = sum(k.mH @ k for k in kraus)
        eye = torch.eye(net.dim, dtype=whole.dtype)
        torch.testing.assert_close(whole, eye, rtol=0, atol=1e-12)


@kinds
def test_queued_gates_are_the_kraus_operators(kind):
    net = network(kind)
    for y in (None,) if net.n_classes is None else (None, 0, 2):
        matrix = torch.as_tensor(qml.matrix(net.queue, wire_order=range(net.n_wires))(y))
        kraus = net.kraus(y).detach()
        blocks = matrix.view(net.dim, len(kraus), net.dim, len(kraus))[:, :, :, 0]
        torch.testing.assert_close(blocks.transpose(0, 1), kraus, rtol=0, atol=1e-12)


def test_labels_have_circuits_of_their_own_and_none_is_the_last():
    net = network("labels")
    operators = [net.kraus(y) for y in (0, 1, 2, 3)]
    for i, one in enumerate(operators):
        for other in operators[:i]:
            assert (one - other).abs().max() > 0.1
    torch.testing.assert_close(net.kraus(None), operators[3], rtol=0, atol=0)


def test_a_black_image_stays_black_and_has_finite_gradients():
    net = network()
    x = -torch.ones(2, *net.sample_shape, dtype=torch.float64)
    out = net(x, torch.ones(2))
    torch.testing.assert_close(out, x.to(out.dtype), rtol=0, atol=0)
    out.abs().sum().backward()
    assert net.circuit.theta.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_other_precisions(dtype):
    """The error of bfloat16 is that of inputs and angles with 8 bits, 4e-3 of up to 2 pi each."""
    net = network("labels")
    x, t, y = batch(net)
    exact = Denoiser(net, MixingSchedule(), "step")(x, t, y).x0
    found = Denoiser(net.to(dtype), MixingSchedule(), "step")(x.to(dtype), t.to(dtype), y).x0
    assert found.dtype == dtype
    size = exact.abs().max()
    limit = 0.5 if dtype == torch.bfloat16 else 1e-5
    assert (found.double() - exact).abs().max() < limit * size


@kinds
def test_configurations_rebuild_the_network(kind):
    net = network(kind)
    again = build_network(network_config(net)).double()
    assert network_config(again) == network_config(net)
    again.load_state_dict(net.state_dict())
    x, t, y = batch(net)
    torch.testing.assert_close(again(x, t, y), net(x, t, y), rtol=0, atol=0)


def test_the_ablation_finds_the_circuit():
    """Of a network that was trained for the identity: the step of the data to itself."""
    net = USS(channels=1, size=2, n_layers=2)
    denoiser = Denoiser(net, MixingSchedule(), StepBack(weight=Uniform()))
    x0 = 2 * torch.rand(64, *net.sample_shape) - 1
    optimizer = torch.optim.Adam(net.parameters(), 0.05)
    for _ in range(60):
        optimizer.zero_grad()
        denoiser.loss(x0).backward()
        optimizer.step()
    effect = quantum_effect(denoiser, x0)
    assert effect.loss < 0.5 * effect.random_angles
    assert effect.loss < 0.5 * effect.mean_output


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"n_layers": 0}, "network.n_layers needs a whole number from 1, got 0"),
        ({"uploads": 2}, "uploads=2 without labels: set n_classes"),
        ({"uploads": 4, "n_classes": 2, "n_layers": 3}, "network.uploads needs a whole number up"),
        ({"size": 0}, "size needs a whole number from 1, got 0"),
        ({"n_classes": 0}, "network.n_classes needs a whole number from 1"),
    ],
)
def test_what_cannot_be_built_is_refused(options, said):
    with pytest.raises(HQDMError, match=said):
        USS(**options)


def test_other_types_images_and_labels_are_refused():
    with pytest.raises(HQDMError, match="network.ancilla: expected true or false, got 1"):
        build_network({"name": "USS", "ancilla": 1})
    network, t = USS(size=4, n_layers=1), torch.zeros(2)
    for net in (network, BestUnitary(size=4)):
        for shape in [(2, 1, 2, 8), (2, 1, 5, 5), (2, 16)]:
            with pytest.raises(HQDMError, match=r"needs images of shape \(B, 1, 4, 4\), got"):
                net(torch.zeros(shape), t)
    with pytest.raises(HQDMError, match="no class labels"):
        network(torch.zeros(2, 1, 4, 4), t, torch.zeros(2, dtype=torch.long))
    with pytest.raises(HQDMError, match="a label needs a whole number up to 2, got 3"):
        USS(size=2, n_layers=1, n_classes=2).queue(3)
