"""The U-Net: the papers' parameter counts, live weights, independence of samples."""

import copy
import pickle
from inspect import signature
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import yaml
from plain_unet import plain_unet
from safetensors.torch import load_file
from torch.nn import functional as F

from hqdm.cli.schema import NetworkConfig
from hqdm.nn.controls import CONTROLS
from hqdm.nn.parts import count, part, quantum_parameters
from hqdm.nn.quantum_conv import Hybrid, HybridConv
from hqdm.nn.unet import PARTS, FullQVUNet, QuanvUNet, QVUNet, UNet
from hqdm.storage.shipped import shipped
from hqdm.utils.errors import HQDMError

PAPER = {"channels": 1, "size": 28, "dim": 10, "mults": (1, 2, 3, 4)}
SMALL = {"channels": 1, "size": 8, "dim": 8, "mults": (1, 2, 2)}
PUBLISHED = {"attention_norm": "positions", "gelu": "tanh", "norm_eps": 1e-6}
FOUR = Hybrid(groups=1, channels_per_group=1, ansatz="HQConv", n_layers=2)


def small_presets():
    return {
        "UNet": UNet(**SMALL),
        "QVUNet": QVUNet(FOUR, **SMALL),
        "FullQVUNet": FullQVUNet(Hybrid(channels_per_group=3, ansatz="HQConv"), **SMALL),
        "QuanvUNet": QuanvUNet(FOUR, level=1, **SMALL),
    }


@pytest.mark.parametrize(
    ("network", "parameters"),
    [(UNet, 483_321), (QVUNet, 475_281), (FullQVUNet, 429_369), (QuanvUNet, 473_721)],
)
def test_parameter_counts_of_the_paper(network, parameters):
    assert count(network(**PAPER).parameters()) == parameters


def test_the_encoder_level_of_quanvunet():
    """By default the second, on 14x14 with ten channels; the third, on 7x7 with twenty."""
    assert set(QuanvUNet(**PAPER).hybrid) == {"vertex", "encoder.1"}
    third = QuanvUNet(level=2, **PAPER)
    assert set(third.hybrid) == {"vertex", "encoder.2"}
    assert count(third.parameters()) == 471_561


def test_the_configuration_of_quanvunet_is_the_preset():
    path = Path(__file__).parents[2] / "configs" / "mnist_quanvunet.yaml"
    options = yaml.safe_load(path.read_text())["model"]["network"]
    assert UNet.from_config(options).config == QuanvUNet().config


def test_quantum_parameters_of_the_paper():
    """Four convolutions of one 72-angle circuit; or of 13 of them and one of 16 angles."""
    assert count(quantum_parameters(UNet(**PAPER))) == 0
    assert count(quantum_parameters(QVUNet(**PAPER))) == 4 * 72
    assert count(quantum_parameters(FullQVUNet(**PAPER))) == 4 * (13 * 72 + 16)


def trained():
    """The shipped network with its weights."""
    weights = load_file(shipped("models") / "mnist_unet" / "model.safetensors")
    network = UNet(**PAPER)
    network.load_state_dict({name.removeprefix("network."): w for name, w in weights.items()})
    return network


@pytest.mark.parametrize(
    ("network", "y"),
    [(trained, None), (lambda: UNet(1, 10, 8, (1, 2, 2), n_classes=3, heads=2), [0, 2, 3])],
    ids=["28x28, trained", "10x10, labels"],
)
def test_the_network_is_the_published_one_written_out(network, y):
    """Stem, blocks, attentions, changes of size (28, 14, 7, 2 and 10, 5, 1), every skip."""
    network = network().double()
    x = torch.randn(3, *network.sample_shape, dtype=torch.float64)
    t = torch.tensor([1e-3, 0.4, 1.0], dtype=torch.float64)
    y = None if y is None else torch.tensor(y)
    groups = {10: 10, 8: 8}[network.dim]
    sizes = {"levels": len(network.mults), "heads": network.heads, "groups": groups}
    with torch.no_grad():
        expected = plain_unet(network.state_dict(), x, t, y, **sizes)
        # Outputs of about 1; each of some thirty layers multiplies rounding, 1e-16, a few times.
        torch.testing.assert_close(network(x, t, y), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("preset", ["UNet", "QVUNet", "FullQVUNet", "QuanvUNet"])
def test_every_weight_is_alive(preset):
    """A weight that no output depends on would be a gate that never runs."""
    network = small_presets()[preset]
    x, t = torch.randn(4, 1, 8, 8), torch.rand(4)
    network(x, t).pow(2).mean().backward()
    dead = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert dead == []
    for name, p in network.named_parameters():
        if name.endswith("theta"):
            assert (p.grad != 0).all(), f"some angles of {name} have no gradient"


@pytest.mark.parametrize("preset", ["QVUNet", "FullQVUNet", "QuanvUNet"])
def test_every_weight_of_the_paper_presets_is_alive(preset):
    network = {"QVUNet": QVUNet, "FullQVUNet": FullQVUNet, "QuanvUNet": QuanvUNet}[preset](**PAPER)
    network(torch.randn(2, 1, 28, 28), torch.rand(2)).pow(2).mean().backward()
    for name, p in network.named_parameters():
        assert p.grad is not None, name
        assert p.grad.any(), name
        if name.endswith("theta"):
            assert (p.grad != 0).all(), f"some angles of {name} have no gradient"


@pytest.mark.parametrize("preset", ["UNet", "QVUNet", "FullQVUNet", "QuanvUNet"])
def test_samples_do_not_see_each_other(preset):
    network = small_presets()[preset].double()
    x, t = torch.randn(5, 1, 8, 8, dtype=torch.float64), torch.rand(5, dtype=torch.float64)
    out = network(x, t)
    order = torch.tensor([3, 0, 4, 1, 2])
    # Batched kernels may sum in another order: a few roundings of float64.
    torch.testing.assert_close(network(x[order], t[order]), out[order], rtol=0, atol=1e-11)
    x[2] += 1
    changed = (network(x, t) - out).abs().amax(dim=(1, 2, 3))
    assert changed[2] > 1e-3
    assert changed[[0, 1, 3, 4]].max() < 1e-11


@pytest.mark.parametrize("size", [8, 28, 32])
@pytest.mark.parametrize("channels", [1, 3])
def test_image_sizes_and_channels(size, channels):
    mults = (1, 2, 2) if size == 8 else (1, 2, 3, 4)
    network = QVUNet(FOUR, channels=channels, size=size, dim=8, mults=mults)
    x = torch.randn(2, channels, size, size)
    assert network(x, torch.rand(2)).shape == x.shape


def test_feature_maps_of_the_paper():
    """28 -> 14 -> 7 -> 2, with 10, 10, 20, 30 channels in and 40 at the vertex."""
    network, seen = UNet(**PAPER), []
    for module in [*network.encoder, network.vertex]:
        module.register_forward_pre_hook(lambda m, args: seen.append(tuple(args[0].shape[1:])))
    network(torch.randn(1, 1, 28, 28), torch.rand(1))
    assert seen == [(10, 28, 28), (10, 14, 14), (20, 7, 7), (30, 2, 2), (40, 2, 2)]


def test_hybrid_parts_are_where_they_are_asked_for():
    network = QuanvUNet(FOUR, level=1, **SMALL)
    hybrid = {name for name, m in network.named_modules() if isinstance(m, HybridConv)}
    blocks = {name.rsplit(".", 1)[0] for name in hybrid}
    assert blocks == {"vertex.block_1", "vertex.block_2", "encoder.1.block_1", "encoder.1.block_2"}
    assert len(hybrid) == 8


@pytest.mark.parametrize("network", [{}, {"mults": (1, 2)}])
@pytest.mark.parametrize(
    ("keys", "quantum"),
    [
        (["vertex"], {"vertex"}),
        (["encoder"], {"encoder.*"}),
        (["decoder.1"], {"decoder.1"}),
        (["decoder", "head"], {"decoder.*", "head"}),
        (["all"], {"encoder.*", "vertex", "decoder.*", "head"}),
    ],
)
def test_parts_and_levels_can_be_hybrid(network, keys, quantum):
    """Two blocks of two convolutions per level and at the vertex, one block in the head."""
    options = {**SMALL, **network}
    built = UNet(**options, hybrid=dict.fromkeys(keys, Hybrid(1, 1, "HQConv", 1)))
    names = [name for name, m in built.named_modules() if isinstance(m, HybridConv)]
    levels = range(len(options["mults"]))
    expected = {
        f"{place.replace('*', str(level))}.{conv}"
        for place in quantum
        for level in levels
        for conv in (
            ("block.conv_1", "block.conv_2")
            if place == "head"
            else (f"block_{i}.conv_{j}" for i in (1, 2) for j in (1, 2))
        )
    }
    assert set(names) == expected
    assert len(names) == len(set(names))


@pytest.mark.parametrize("control", [None, *sorted(CONTROLS)])
def test_everything_can_be_quantum(control):
    """All places; skip connections are added to the channels beside them and reach the output."""
    options = {**SMALL, "mults": (1, 2)}
    every = Hybrid("all", 2, "HQConv", 1, control=control)
    network = UNet(**options, hybrid={"all": every}).double()
    convs = {name: m for name, m in network.named_modules() if isinstance(m, HybridConv)}
    assert len(convs) == (0 if control == "classical" else 22)
    x = torch.randn(2, 1, 8, 8, dtype=torch.float64)
    network(x, torch.rand(2)).square().sum().backward()
    assert network.stem.weight.grad.abs().max() > 0
    if control != "classical":
        conv = convs["decoder.0.block_1.conv_1"]
        inputs = torch.randn(1, 24, 4, 4, dtype=torch.float64)
        total = inputs[:, :16] + F.pad(inputs[:, 16:], (0, 0, 0, 0, 0, 8))
        torch.testing.assert_close(conv(inputs), conv.quantum(total))


def test_the_most_specific_key_is_taken():
    """A level before its part, a part before all of them."""
    of_layers = {"all": 1, "encoder": 2, "encoder.1": 3}
    network = UNet(**SMALL, hybrid={key: Hybrid(1, 1, "HQConv", n) for key, n in of_layers.items()})
    convs = {name: m for name, m in network.named_modules() if isinstance(m, HybridConv)}
    for name, conv in convs.items():
        expected = 3 if name.startswith("encoder.1") else 2 if name.startswith("encoder") else 1
        assert conv.quantum.layer.circuit.ansatz.n_layers == expected, name
    rebuilt = UNet.from_config(network.config)
    assert rebuilt.config == network.config
    rebuilt.load_state_dict(network.state_dict())


@pytest.mark.slow
def test_a_quantum_convolution_in_closed_form_everywhere():
    closed = Hybrid(convolution="QuantumConv2d", options={"n_layers": 1})
    network = UNet(**SMALL, hybrid={"all": closed})
    # 16 + 16 channels of 3x3 at decoder level 0: 288 numbers on 9 qubits.
    assert network.decoder[0].block_1.conv_1.theta.shape == (1, 1, 9, 3)
    x, t = torch.randn(2, 1, 8, 8), torch.rand(2)
    network(x, t).pow(2).mean().backward()
    dead = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert dead == []
    rebuilt = UNet.from_config(network.config)
    rebuilt.load_state_dict(network.state_dict())
    assert torch.equal(rebuilt(x, t), network(x, t))


def test_time_and_label_matter_and_dropping_the_label_is_the_null_label():
    network = UNet(**SMALL, n_classes=3)
    x, t = torch.randn(2, 1, 8, 8), torch.tensor([0.2, 0.9])
    by_label = [network(x, t, torch.full((2,), y)) for y in range(4)]
    assert torch.equal(network(x, t), by_label[3])
    assert (by_label[0] - by_label[1]).abs().max() > 1e-4
    assert (network(x, t) - network(x, t.flip(0))).abs().max() > 1e-4


def test_copies_and_round_trips():
    network = QuanvUNet(FOUR, level=1, n_classes=2, **SMALL)
    x, t, y = torch.randn(2, 1, 8, 8), torch.rand(2), torch.tensor([0, 1])
    out = network(x, t, y)
    rebuilt = UNet.from_config(network.config)
    rebuilt.load_state_dict(network.state_dict())
    for other in (copy.deepcopy(network), pickle.loads(pickle.dumps(network)), rebuilt):
        assert torch.equal(other(x, t, y), out)
    assert rebuilt.config == network.config


def test_parts_hold_every_parameter_once():
    network = QVUNet(FOUR, n_classes=2, **SMALL)
    total = sum(count(part(network, name).parameters()) for name in PARTS)
    assert total == count(network.parameters())


def test_the_configuration_has_the_arguments_of_the_network():
    defaults = {name: option.default for name, option in signature(UNet).parameters.items()}
    assert NetworkConfig().config == defaults | {"name": "UNet", "hybrid": {}}


def test_the_published_forms_are_the_network_with_its_parts_exchanged():
    network = UNet(**SMALL).double()
    published = UNet(**SMALL, **PUBLISHED).double()
    published.load_state_dict(network.state_dict())
    x = 0.5 + 1e-3 * torch.randn(2, 1, 8, 8, dtype=torch.float64)
    t = torch.rand(2, dtype=torch.float64)

    def attend(q, k, v):
        q, k = (part / part.square().sum(3, keepdim=True).sqrt() for part in (q, k))
        weights = torch.exp(10 * torch.einsum("bhdi,bhdj->bhij", q, k))
        return torch.einsum("bhij,bhdj->bhdi", weights / weights.sum(3, keepdim=True), v)

    outputs = [network(x, t)]
    network.vertex.attention._attend = attend
    outputs.append(network(x, t))
    network.embedding.mlp[1] = torch.nn.GELU("tanh")
    outputs.append(network(x, t))
    for module in network.modules():
        if isinstance(module, torch.nn.GroupNorm):
            module.eps = 1e-6
    outputs.append(network(x, t))
    for before, after in pairwise(outputs):
        assert (after - before).abs().max() > 1e-8
    torch.testing.assert_close(published(x, t), outputs[-1], rtol=0, atol=1e-11)


@pytest.mark.parametrize("preset", [UNet, QVUNet, FullQVUNet, QuanvUNet])
def test_the_published_forms_of_every_preset(preset):
    """The same tensors as before; the configuration states the options, and only then."""
    network, default = preset(**PAPER, **PUBLISHED), preset(**PAPER)
    shapes = {name: tensor.shape for name, tensor in default.state_dict().items()}
    assert {name: tensor.shape for name, tensor in network.state_dict().items()} == shapes
    assert network.config == default.config | PUBLISHED
    assert not set(PUBLISHED) & set(default.config)
    assert UNet.from_config(network.config).config == network.config


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 6, "mults": (1, 1, 1)}, "size 6 cannot be downsampled 2 times .*fewer mults"),
        ({"hybrid": {"vertx": FOUR}}, "no part 'vertx' can be hybrid: expected one of vertex, enc"),
        ({"hybrid": {"vertex": {"groups": 1}}}, "hybrid: expected a Hybrid for vertex, got {'gro"),
        ({"hybrid": "vertex"}, "hybrid: expected keys with values or null, got 'vertex'"),
        ({"dim": 9}, "dim needs an even number"),
        ({"dim": 0}, "dim needs a positive number"),
        ({"mults": ()}, "mults needs one positive multiplier"),
        ({"n_classes": 0}, "n_classes needs a positive number"),
        ({"attention_norm": "feature"}, "attention_norm: expected features or positions, got 'fea"),
        ({"gelu": ["tanh"]}, r"gelu: expected exact or tanh, got \['tanh'\]"),
        ({"norm_eps": 0.0}, "norm_eps needs a positive number, got 0"),
        ({"norm_eps": float("nan")}, "norm_eps needs a finite number"),
        ({"norm_eps": "1e-6"}, "norm_eps needs a finite number, got '1e-6'"),
        ({"dim": 2, "mults": (1, 1), "hybrid": {"vertex": Hybrid()}}, "channels"),
    ],
)
def test_bad_input(options, message):
    with pytest.raises(HQDMError, match=message):
        UNet(**{**SMALL, **options})


def test_bad_images_and_labels():
    network = UNet(**SMALL)
    with pytest.raises(HQDMError, match=r"\(B, 1, 8, 8\), got \(2, 1, 9, 9\)"):
        network(torch.randn(2, 1, 9, 9), torch.rand(2))
    with pytest.raises(HQDMError, match="no class labels"):
        network(torch.randn(2, 1, 8, 8), torch.rand(2), torch.tensor([0, 1]))


@pytest.mark.parametrize("preset", ["UNet", "QVUNet", "FullQVUNet", "QuanvUNet"])
def test_an_empty_batch(preset):
    network = small_presets()[preset]
    out = network(torch.empty(0, 1, 8, 8), torch.empty(0))
    assert out.shape == (0, 1, 8, 8)
    out.sum().backward()
