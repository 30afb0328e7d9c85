"""The blocks against their formulas."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from hqdm.nn.blocks import Conditioning, ResnetBlock, Upsample, WSConv2d, downsample


def plain_conv(in_channels, out_channels):
    return nn.Conv2d(in_channels, out_channels, 3, padding=1)


@pytest.mark.parametrize("eps", [1e-5, 1e-6, 0.3])
def test_resnet_block_is_its_formula(eps):
    block = ResnetBlock(4, 6, emb_dim=5, conv=plain_conv, norm_groups=2, norm_eps=eps).double()
    x = torch.randn(2, 4, 5, 5, dtype=torch.float64)
    emb = torch.randn(2, 5, dtype=torch.float64)
    scale, shift = (
        emb * emb.sigmoid() @ block.scale_shift.weight.T + block.scale_shift.bias
    ).split(6, dim=1)

    def group_norm(h):
        grouped = h.reshape(2, 2, -1)
        centred = grouped - grouped.mean(-1, keepdim=True)
        return (centred / (grouped.var(-1, correction=0, keepdim=True) + eps).sqrt()).view_as(h)

    h = group_norm(block.conv_1(x)) * (1 + scale[..., None, None]) + shift[..., None, None]
    h = F.silu(group_norm(block.conv_2(F.silu(h))))
    torch.testing.assert_close(block(x, emb), h + block.skip(x), rtol=1e-10, atol=1e-10)


def test_the_constant_of_the_normalisation_matters_on_a_grey_image():
    """Variances of 1e-6: the normalised contrast is that over sqrt(1e-6 + eps)."""

    def pointwise(in_channels, out_channels):
        conv = nn.Conv2d(in_channels, out_channels, 1)
        nn.init.dirac_(conv.weight)
        nn.init.zeros_(conv.bias)
        return conv

    pattern = torch.tensor([[1.0, -1.0], [-1.0, 1.0]], dtype=torch.float64).expand(1, 1, 2, 2)
    for eps in (1e-5, 1e-6):
        block = ResnetBlock(1, 1, emb_dim=2, conv=pointwise, norm_groups=1, norm_eps=eps).double()
        out = block.norm_1(block.conv_1(0.5 + 1e-3 * pattern))
        expected = 1e-3 / math.sqrt(1e-6 + eps) * pattern  # 0.30 and 0.71
        torch.testing.assert_close(out, expected, rtol=1e-9, atol=0)
        assert block.norm_2.eps == eps


@pytest.mark.parametrize("form", ["exact", "tanh"])
def test_the_forms_of_gelu(form):
    embedding = Conditioning(4, 16, n_classes=None, gelu=form).double()
    t = torch.rand(8, dtype=torch.float64)
    angles = 1000 * t[:, None] * torch.tensor([1.0, 1e-4], dtype=torch.float64)
    first, _, last = embedding.mlp
    x = first(torch.cat([angles.sin(), angles.cos()], dim=1))
    cdf = {
        "exact": (1 + torch.erf(x / math.sqrt(2))) / 2,
        "tanh": (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2,
    }
    # The forms differ by about 1e-4 here.
    torch.testing.assert_close(embedding(t, None), last(x * cdf[form]), rtol=0, atol=1e-12)


def test_time_embedding_frequencies():
    """1,000 t times 10,000^(-i / (half - 1)): sines first, then cosines."""
    embedding = Conditioning(6, 8, n_classes=None).double()
    t = torch.tensor([0.25, 0.7], dtype=torch.float64)
    angles = 1000 * t[:, None] * torch.tensor([1.0, 1e-2, 1e-4], dtype=torch.float64)
    expected = embedding.mlp(torch.cat([angles.sin(), angles.cos()], dim=1))
    # Rounding of angles up to 700 in float64; frequencies in float32 would give 1e-5.
    torch.testing.assert_close(embedding(t, None), expected, rtol=0, atol=1e-12)


def test_time_embedding_in_half_precision():
    """Times in float32: 0.999 and 1.0, equal in bfloat16, are embedded as in float32."""
    embedding = Conditioning(6, 8, n_classes=None)
    t = torch.tensor([0.999, 1.0])
    expected = embedding(t, None)
    half = embedding.bfloat16()
    found = half(t, None)
    assert found.dtype == torch.bfloat16
    assert not torch.equal(*half(t, None))
    # Features, weights and sums of 8 are rounded to 8 bits: 2^-8 of numbers of about 1.
    torch.testing.assert_close(found.float(), expected, rtol=0, atol=0.02)


@pytest.mark.parametrize(
    ("size", "expected"), [(28, 14), (14, 7), (7, 2), (32, 16), (8, 4), (4, 2), (2, 1), (5, 1)]
)
def test_downsample_says_the_size_it_makes(size, expected):
    conv, said = downsample(2, 3, size)
    assert conv(torch.randn(1, 2, size, size)).shape == (1, 3, expected, expected)
    assert said == expected


def test_upsample_repeats_the_nearest():
    up = Upsample(1, 1, 7)
    nn.init.dirac_(up.conv.weight)
    nn.init.zeros_(up.conv.bias)
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).view(1, 1, 2, 2)
    row = [0, 0, 0, 0, 1, 1, 1]
    torch.testing.assert_close(up(x)[0, 0], x[0, 0][row][:, row])


def test_standardised_weights_by_definition():
    conv = WSConv2d(3, 4, kernel_size=5, padding=2).double()
    with torch.no_grad():
        conv.weight.mul_(7).add_(2)
    flat = conv.weight.detach().reshape(4, -1)
    deviation = ((flat - flat.mean(1, keepdim=True)) ** 2).mean(1, keepdim=True)
    kernel = (flat - flat.mean(1, keepdim=True)) / (deviation + 1e-5).sqrt()
    x = torch.randn(2, 3, 6, 7, dtype=torch.float64)
    expected = F.conv2d(x, kernel.reshape(4, 3, 5, 5), conv.bias, padding=2)
    torch.testing.assert_close(conv(x), expected, rtol=0, atol=1e-12)
    assert conv(x).shape == (2, 4, 6, 7)
