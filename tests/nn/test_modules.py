"""The U-Net by kernels against the U-Net by torch."""

import copy
from functools import partial

import pytest
import torch
from marks import thinned
from torch import nn

from hqdm.nn import FullQVUNet, QuanvUNet, QVUNet, UNet
from hqdm.nn.compiled.choice import VARIABLE
from hqdm.nn.quantum_conv import Hybrid
from hqdm.simulators.compiled.lanes import n_lanes
from hqdm.utils.errors import HQDMError

SMALL = {"channels": 2, "size": 8, "dim": 6, "mults": (1, 2), "heads": 2, "head_dim": 5}
FOUR = Hybrid(groups=1, channels_per_group=1, ansatz="HQConv", n_layers=1)
CLOSED = Hybrid(convolution="QuantumConv2d", options={"n_layers": 1})
NETWORKS = {
    "UNet": lambda: UNet(**SMALL),
    "labels": lambda: UNet(**SMALL, n_classes=3),
    "odd size": lambda: UNet(1, 14, 4, (1, 1, 2), heads=1, head_dim=3),
    "published": lambda: UNet(**SMALL, attention_norm="positions", gelu="tanh", norm_eps=1e-6),
    "QVUNet": lambda: QVUNet(FOUR, **SMALL),
    "FullQVUNet": lambda: FullQVUNet(Hybrid(ansatz="HQConv", n_layers=1), **SMALL),
    "QuanvUNet": lambda: QuanvUNet(FOUR, level=0, **SMALL),
    "all quantum": lambda: UNet(**SMALL, hybrid={"all": Hybrid("all", 1, "HQConv", 1)}),
    "QuantumConv2d": lambda: UNet(**SMALL, hybrid={"all": CLOSED, "encoder.1": FOUR}),
}
# Relative error of sums in another order through some forty layers, in float64.
TOLERANCE = {"rtol": 1e-8, "atol": 1e-11}


def inputs(network, n):
    x = torch.randn(n, *network.sample_shape, dtype=next(network.parameters()).dtype)
    t = torch.rand(n, dtype=x.dtype)
    y = None if network.n_classes is None else torch.arange(n) % (network.n_classes + 1)
    return x, t, y


@pytest.fixture
def by(monkeypatch):
    """Evaluates a network by a backend."""

    def evaluate(backend, network, *inputs):
        monkeypatch.setenv(VARIABLE, backend)
        return network(*inputs)

    return evaluate


def assert_same(by, network, *batch):
    """Compare both backends: outputs, and gradients of all parameters and of the samples."""
    results = []
    for backend in ("torch", "compiled"):
        x = batch[0].detach().requires_grad_()
        out = by(backend, network, x, *batch[1:])
        grad = torch.autograd.grad(
            out.square().sum(), [x, *network.parameters()], allow_unused=True
        )
        results.append((out, *grad))
    for theirs, ours in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, **TOLERANCE)


@pytest.mark.parametrize("name", thinned(NETWORKS, every=4))
@pytest.mark.parametrize("n", [3, n_lanes(8) + 1])
def test_both_backends_compute_the_same(by, name, n):
    network = NETWORKS[name]().double()
    assert_same(by, network, *inputs(network, n))


def test_kernels_are_used(by, monkeypatch):
    """The backend is what the names say: torch's convolution is not called by kernels."""
    network = UNet(**SMALL)
    batch = inputs(network, 3)

    def refuse(*_, **__):
        raise AssertionError

    monkeypatch.setattr("hqdm.nn.modules.convolution", refuse)
    by("torch", network, *batch)
    with pytest.raises(AssertionError):
        by("compiled", network, *batch)


@pytest.mark.parametrize(
    "place",
    [
        "stem",
        "encoder.0",
        "encoder.0.block_1",
        "encoder.0.block_1.norm_1",
        "encoder.0.block_2.conv_1",
        "encoder.0.block_1.scale_shift",
        "encoder.1.attention",
        "encoder.1.attention.norm",
        "vertex",
        "decoder.0.resize",
        "decoder.1.attention.project.1",
        "head.conv",
    ],
)
def test_hooks_see_the_usual_layout(by, place):
    network = UNet(**SMALL).double()
    batch = inputs(network, 3)
    seen = {}
    for backend in ("torch", "compiled"):

        def keep(module, args, out, backend=backend):
            seen[backend] = out.detach()
            return 2 * out

        handle = network.get_submodule(place).register_forward_hook(keep)
        seen[backend, "out"] = by(backend, network, *batch)
        handle.remove()
    torch.testing.assert_close(seen["compiled"], seen["torch"], **TOLERANCE)
    torch.testing.assert_close(seen["compiled", "out"], seen["torch", "out"], **TOLERANCE)


class Scaled(nn.Module):
    """A layer of a user."""

    def __init__(self, inner, factor=0.5):
        super().__init__()
        self.inner = inner
        self.factor = factor

    def forward(self, *args):
        return self.factor * self.inner(*args)


@pytest.mark.parametrize(
    "place", ["encoder.0", "encoder.1.block_1", "encoder.0.block_1.conv_2", "vertex", "stem"]
)
def test_modules_of_users(by, place):
    network = UNet(**SMALL).double()
    parent, _, name = place.rpartition(".")
    inner = network.get_submodule(place)
    setattr(network.get_submodule(parent), name, Scaled(inner))
    assert_same(by, network, *inputs(network, 3))


def test_parametrised_weights(by):
    network = UNet(**SMALL).double()
    nn.utils.parametrizations.weight_norm(network.encoder[0].block_1.conv_1)
    nn.utils.parametrizations.spectral_norm(network.head["conv"]).eval()
    network.eval()
    assert_same(by, network, *inputs(network, 3))


def test_a_method_of_one_module(by):
    network = UNet(**SMALL).double()
    block = network.decoder[0].block_2
    usual = block.forward
    block.forward = lambda x, emb: 3 * usual(x, emb)
    assert_same(by, network, *inputs(network, 3))


@pytest.mark.parametrize(
    "conv",
    [
        {"padding": 1, "padding_mode": "circular"},
        {"padding": 2, "dilation": 2},
        {"padding": "same"},
        {"padding": 1, "groups": 2},
    ],
    ids=str,
)
def test_other_convolutions(by, conv):
    network = UNet(**SMALL).double()
    network.encoder[0].block_1.conv_1 = nn.Conv2d(6, 6, 3, **conv).double()
    assert_same(by, network, *inputs(network, 3))


def test_padding_beyond_the_kernel(by):
    """The outermost outputs are the bias."""
    network = UNet(**SMALL).double()
    network.head["conv"] = nn.Conv2d(6, 2, 1, padding=2).double()
    assert_same(by, network, *inputs(network, 3))


def test_mixed_precision_does_not_change_kernels(by):
    network = UNet(**SMALL)
    batch = inputs(network, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours = by("compiled", network, *batch)
    assert ours.dtype == torch.float32
    assert torch.equal(ours, by("compiled", network, *batch))


def test_single_precision(by):
    """Both backends have the error of single precision: 40 layers of relative error 6e-8 each."""
    network = UNet(**SMALL)
    x, t, _ = inputs(network, 5)
    exact = by("torch", copy.deepcopy(network).double(), x.double(), t.double())
    for backend in ("torch", "compiled"):
        error = (by(backend, network, x, t) - exact).abs().max()
        assert error < 2e-5 * exact.abs().max()


def test_samples_are_independent(by):
    network = UNet(**SMALL).double()
    x, t, _ = inputs(network, n_lanes(8) + 2)
    together = by("compiled", network, x, t)
    torch.testing.assert_close(together[-3:], by("compiled", network, x[-3:], t[-3:]))
    x = x.clone()
    x[0] = torch.nan
    assert torch.equal(by("compiled", network, x, t)[1:], together[1:])


class Doubled(nn.GroupNorm):
    """A normalisation of a user."""

    def forward(self, x):
        return 2 * super().forward(x)


class Sum(nn.Module):
    """Without an attribute of a normalisation."""

    def forward(self, x):
        return x + 1


@pytest.mark.parametrize(
    ("place", "module"),
    [
        ("encoder.0.block_1.norm_1", Doubled(3, 6)),
        ("encoder.0.block_1.norm_2", Doubled(3, 6)),
        ("decoder.0.block_1.norm_1", nn.GroupNorm(3, 12, affine=False)),
        ("encoder.1.block_1.norm_1", nn.Identity()),
        ("encoder.0.attention.norm", Sum()),
        ("encoder.0.attention.norm", nn.GroupNorm(2, 6)),
        ("encoder.0.attention.project.1", Sum()),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_normalisations_of_users(by, place, module):
    network = UNet(**SMALL).double()
    parent, _, name = place.rpartition(".")
    network.get_submodule(parent)._modules[name] = copy.deepcopy(module).double()
    assert_same(by, network, *inputs(network, 3))


def _append(calls, module, *_):
    calls.append(module)


def test_global_hooks_are_called(by):
    network = UNet(**SMALL).double()
    batch, seen = inputs(network, 3), {}
    for backend in ("torch", "compiled"):
        calls = []
        handle = nn.modules.module.register_module_forward_hook(partial(_append, calls))
        by(backend, network, *batch)
        handle.remove()
        seen[backend] = len(calls)
    assert seen["torch"] == seen["compiled"] > 50


@pytest.mark.parametrize("backend", ["torch", "compiled"])
def test_times(by, backend):
    """One time for all images, or one per image; others are refused."""
    network = UNet(**SMALL).double()
    n = n_lanes(8) + 1
    x, t, _ = inputs(network, n)
    for one in (t[:1], t[0]):
        torch.testing.assert_close(
            by(backend, network, x, one), by(backend, network, x, t[:1].expand(n))
        )
    for wrong in (t[:2], t[:-1], torch.cat([t, t]), t[None]):
        with pytest.raises(HQDMError, match=f"times of shape .* for {n} images"):
            by(backend, network, x, wrong)


@pytest.mark.parametrize("backend", ["torch", "compiled"])
@pytest.mark.parametrize(
    ("place", "shape"),
    [
        ("encoder.0.block_1.conv_1.weight", (6, 7, 3, 3)),
        ("encoder.0.block_1.conv_1.weight", (5, 6, 3, 3)),
        ("encoder.0.block_1.conv_1.weight", (12, 6, 3, 3)),
        ("encoder.0.block_1.norm_1.weight", (1,)),
        ("encoder.0.block_1.norm_1.bias", (7,)),
        ("stem.bias", (1,)),
        ("encoder.0.attention.norm.gain", (1, 2, 1, 1)),
        ("encoder.0.attention.project.0.bias", (5,)),
    ],
    ids=str,
)
def test_parameters_of_other_shapes_are_errors(by, backend, place, shape):
    """As in torch, in place of numbers from beyond the ends of arrays."""
    network = UNet(**SMALL).double()
    parent, _, name = place.rpartition(".")
    setattr(network.get_submodule(parent), name, nn.Parameter(torch.ones(shape).double()))
    with pytest.raises(RuntimeError):
        by(backend, network, *inputs(network, 3))
