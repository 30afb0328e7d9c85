"""Q-Dense against PennyLane in every variant; its counts, scales and labels; it trains."""

import math

import numpy as np
import pennylane as qml
import pytest
import torch
from marks import thinned

from hqdm.diffusion.denoiser import Denoiser
from hqdm.diffusion.schedule import CosineSchedule
from hqdm.guidance.classifier_free import ClassifierFreeGuidance
from hqdm.nn.amplitude.dense import QDense
from hqdm.nn.network import build_network, network_outline
from hqdm.nn.outline import forward_bytes
from hqdm.nn.parts import count, quantum_parameters
from hqdm.samplers import DDIM
from hqdm.utils.errors import HQDMError
from hqdm.utils.seeds import ImageNoise


def by_pennylane(network, x, labels):
    """Q-Dense written with PennyLane's gates, one image after the other.

    The ancilla is the last wire: probabilities of its outcome 0 are every second one.
    """
    config, n = network.config, network.n_pixels
    data = max(1, math.ceil(math.log2(n)))
    ancilla = config["ancilla"] or config["n_classes"] is not None
    wires = range(data + ancilla)

    @qml.qnode(qml.device("default.qubit", wires=len(wires)), diff_method="backprop")
    def circuit(state, angles, label):
        qml.StatePrep(state, wires=wires[:data], validate_norm=False)
        for part in np.array_split(np.arange(config["n_layers"]), config["uploads"]):
            if label == config["n_classes"] and label is not None:
                qml.RY(np.pi / 2, wires=wires[-1])
            elif label is not None:
                qml.RX(2 * np.pi * label / config["n_classes"], wires=wires[-1])
            qml.StronglyEntanglingLayers(angles[part], wires=wires)
        return qml.probs(wires=wires)

    angles = math.pi * torch.tanh(network.circuit.theta[0])
    images = []
    for image, label in zip(x, labels, strict=True):
        pixels = torch.nn.functional.pad((image.flatten() + 1) / 2, (0, 2**data - n))
        probabilities = circuit(pixels / pixels.norm(), angles, label)
        probabilities = (probabilities[::2] if ancilla else probabilities)[:n]
        scale = {
            "pixels": n,
            "norm": pixels.norm(),
            "learned": network.log_scale.exp() if config["scale"] == "learned" else None,
        }[config["scale"]]
        images.append((2 * (scale * probabilities).clamp(0, 1) - 1).view_as(image))
    return torch.stack(images)


VARIANTS = {
    "unguided": {},
    "idle ancilla": {"ancilla": True},
    "guided": {"n_classes": 3},
    "re-uploads": {"n_classes": 3, "uploads": 3},
    "as many re-uploads as layers": {"n_classes": 2, "uploads": 4},
    "norm": {"scale": "norm", "allow_fading": True},
    "learned": {"scale": "learned", "n_classes": 2},
    "padded": {"size": 3},
    "padded, three channels, guided": {"size": 3, "channels": 3, "n_classes": 2},
    "one pixel": {"size": 1, "n_classes": 2},
}


@pytest.mark.parametrize("simulator", ["auto", "unitary"])
@pytest.mark.parametrize("name", thinned(VARIANTS, every=5))
def test_values_and_gradients_are_those_of_pennylane(name, simulator):
    """In float64; errors of some 1e-13 are expected from about a hundred gates."""
    options = {"size": 4, "n_layers": 4, "simulator": simulator, **VARIANTS[name]}
    network = QDense(**options).double()
    labels = [None] * 4 if network.n_classes is None else [1, network.n_classes, 0, 1]
    x = (2 * torch.rand(4, *network.sample_shape, dtype=torch.float64) - 1).requires_grad_()
    y = None if network.n_classes is None else torch.tensor(labels)
    ours, theirs = network(x, torch.rand(4), y), by_pennylane(network, x, labels)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)
    weight = torch.rand_like(ours)
    leaves = (x, *network.parameters())
    found, expected = (torch.autograd.grad((weight * out).sum(), leaves) for out in (ours, theirs))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)
    if options["size"] > 1:
        assert min(float(gradient.abs().max()) for gradient in found) > 1e-3


@pytest.mark.parametrize(
    ("options", "n_qubits", "n_angles"),
    [
        ({"n_layers": 47, "n_classes": 2}, 7, 987),
        ({"n_layers": 47, "ancilla": True}, 7, 987),
        ({"n_layers": 55}, 6, 990),
        ({"n_layers": 56}, 6, 1_008),
        ({"n_layers": 60, "n_classes": 2, "size": 28}, 11, 1_980),
        ({"n_layers": 121, "n_classes": 2, "size": 28}, 11, 3_993),
        ({"n_layers": 133, "size": 32}, 10, 3_990),
        ({"n_layers": 47, "n_classes": 10, "uploads": 7}, 7, 987),
    ],
)
def test_counts_of_the_paper(options, n_qubits, n_angles):
    network = network_outline({"name": "QDense", **options})
    assert network.circuit.circuit.n_wires == n_qubits
    assert count(network.parameters()) == count(quantum_parameters(network)) == n_angles


def test_the_norm_shrinks_in_every_step():
    """|out|_2 = |p|_2 sqrt(sum P^2) in pixels, so that images fade to black."""
    network = QDense(size=4, n_layers=3, scale="norm", allow_fading=True).double()
    x = 2 * torch.rand(5, 1, 4, 4, dtype=torch.float64) - 1
    norms = [((x + 1) / 2).flatten(1).norm(dim=1)]
    with torch.no_grad():
        for _ in range(30):
            p = network.circuit(((x + 1) / 2).flatten(1)[:, None])[:, 0]
            x = network(x, torch.ones(5))
            norms.append(((x + 1) / 2).flatten(1).norm(dim=1))
            expected = norms[-2] * p.square().sum(1).sqrt()
            torch.testing.assert_close(norms[-1], expected, rtol=1e-12, atol=1e-15)
            assert (norms[-1] < norms[-2]).all()
    assert (norms[-1] < 1e-3).all()


def test_the_norm_is_not_trained_unless_it_is_asked_for():
    network = QDense(size=2, n_layers=1, scale="norm")
    x, t = torch.zeros(2, 1, 2, 2), torch.ones(2)
    with pytest.raises(HQDMError, match="darkens images in every step.*allow_fading"):
        network(x, t)
    with torch.no_grad():
        assert network(x, t).isfinite().all()
    assert network.eval()(x, t).isfinite().all()
    assert QDense(size=2, n_layers=1, scale="norm", allow_fading=True)(x, t).isfinite().all()


def test_a_learned_scale_starts_as_the_number_of_pixels():
    learned, fixed = (QDense(size=4, n_layers=2, scale=scale) for scale in ("learned", "pixels"))
    fixed.load_state_dict(learned.state_dict(), strict=False)
    x, t = 2 * torch.rand(3, 1, 4, 4) - 1, torch.ones(3)
    torch.testing.assert_close(learned(x, t), fixed(x, t), rtol=1e-6, atol=1e-6)
    assert "log_scale" not in dict(fixed.named_parameters())
    assert list(quantum_parameters(learned)) == [learned.circuit.theta]


@pytest.mark.parametrize("scale", ["pixels", "norm", "learned"])
@pytest.mark.parametrize("n_classes", [None, 2])
def test_black_images(scale, n_classes):
    """Amplitudes of zero cannot be normalised: the state is |0...0>."""
    network = QDense(size=3, n_layers=2, scale=scale, n_classes=n_classes, allow_fading=True)
    x = torch.full((2, 1, 3, 3), -1.0, requires_grad=True)
    out = network(x, torch.ones(2))
    out.sum().backward()
    assert out.isfinite().all()
    assert x.grad.isfinite().all()
    assert network.circuit.theta.grad.isfinite().all()
    if scale == "norm":
        assert (out == -1).all()


def test_labels_change_the_image_and_none_is_its_own_class():
    network = QDense(size=4, n_layers=4, n_classes=2)
    x, t = (2 * torch.rand(1, 1, 4, 4) - 1).expand(3, -1, -1, -1), torch.ones(3)
    with torch.no_grad():
        images = network(x, t, torch.tensor([0, 1, 2]))
        for i, j in ((0, 1), (0, 2), (1, 2)):
            assert (images[i] - images[j]).abs().max() > 1e-2
        assert torch.equal(network(x, t)[0], images[2])


def test_classifier_free_guidance_in_the_gaussian_diffusion():
    denoiser = Denoiser(QDense(size=4, n_layers=2, n_classes=2), CosineSchedule(), "x0").eval()
    x1, y = ImageNoise(0, 4).draw((1, 4, 4)), torch.arange(4) % 2
    plain = DDIM(3)(denoiser, x1, y)
    guided = DDIM(3)(ClassifierFreeGuidance(denoiser, 3.0), x1, y)
    assert guided.isfinite().all()
    assert (guided - plain).abs().max() > 1e-3


@pytest.mark.parametrize("predict", ["x0", "v", "eps"])
@pytest.mark.parametrize("options", [{}, {"n_classes": 2, "scale": "learned"}], ids=str)
def test_it_trains_in_the_gaussian_diffusion(predict, options):
    """The loss of one batch, with the same times and noise, falls in 30 steps of Adam."""
    denoiser = Denoiser(QDense(size=4, n_layers=6, **options), CosineSchedule(), predict)
    x0 = 2 * torch.eye(4).expand(16, 1, 4, 4) - 1
    t, eps = 1 - torch.rand(16), torch.randn(16, 1, 4, 4)
    y = torch.arange(16) % 2 if options else None
    optimizer = torch.optim.Adam(denoiser.parameters(), lr=0.02)
    losses = []
    for _ in range(30):
        loss = denoiser.loss(x0, y, t=t, eps=eps)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.97 * losses[0]


def test_configuration_and_outline_rebuild_the_network():
    options = {"size": 3, "channels": 3, "n_layers": 3, "n_classes": 4, "uploads": 2}
    network = QDense(**options)
    config = {"name": "QDense", **network.config}
    again = build_network(config)
    again.load_state_dict(network.state_dict())
    x, t, y = torch.rand(2, 3, 3, 3), torch.ones(2), torch.tensor([3, 4])
    assert torch.equal(again(x, t, y), network(x, t, y))
    inputs = tuple(tensor.to("meta") for tensor in (x, t))
    assert forward_bytes(network_outline(config), inputs, True) > 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_rounds_the_output(dtype):
    network = QDense(size=4, n_layers=3, n_classes=2).to(dtype).eval()
    x, t, y = torch.rand(3, 1, 4, 4).to(dtype), torch.ones(3), torch.tensor([0, 1, 2])
    with torch.no_grad():
        half, single = network(x, t, y), network.float()(x.float(), t, y)
    assert half.dtype == dtype
    # Probabilities and their multiples up to 2 are rounded to 2^-9 (bfloat16) a few times.
    torch.testing.assert_close(half.float(), single, rtol=0, atol=0.05)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"size": 0}, "network.size needs a whole number from 1"),
        ({"channels": 1.5}, "network.channels"),
        ({"n_layers": 0}, "network.n_layers"),
        ({"n_classes": 0}, "network.n_classes"),
        ({"uploads": 2}, "uploads=2 without labels"),
        ({"n_classes": 2, "n_layers": 3, "uploads": 4}, "network.uploads .* up to 3"),
        ({"scale": "pixel"}, "unknown scale of QDense 'pixel'.*did you mean 'pixels'"),
        ({"simulator": "fast"}, "unknown simulator"),
    ],
)
def test_options_out_of_range_are_refused(options, said):
    with pytest.raises(HQDMError, match=said):
        QDense(**options)


@pytest.mark.parametrize("options", [{"ancilla": 1}, {"allow_fading": "no"}])
def test_options_of_other_types_are_refused(options):
    (name,) = options
    with pytest.raises(HQDMError, match=f"network.{name}: expected true or false"):
        build_network({"name": "QDense", **options})


def test_other_images_and_labels_that_there_are_not_are_refused():
    network, t = QDense(size=4, n_layers=1), torch.zeros(2)
    for shape in [(2, 1, 2, 8), (2, 1, 3, 4), (2, 16)]:
        with pytest.raises(HQDMError, match=r"needs images of shape \(B, 1, 4, 4\), got"):
            network(torch.zeros(shape), t)
    with pytest.raises(HQDMError, match="no class labels"):
        network(torch.zeros(2, 1, 4, 4), t, torch.zeros(2, dtype=torch.long))
