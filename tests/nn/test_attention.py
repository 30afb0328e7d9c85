"""Attention against its definition, written out position by position in float64."""

import pytest
import torch

from hqdm.nn.attention import Attention, ChannelNorm, LinearAttention, PositionNormAttention


def heads_of(module, x):
    """Queries, keys and values as `(B, heads, positions, features)`."""
    b, _, h, w = x.shape
    qkv = torch.einsum("oc,bchw->bohw", module.qkv.weight[:, :, 0, 0], module.norm(x))
    return (
        part.reshape(b, module.heads, -1, h * w).transpose(2, 3) for part in qkv.chunk(3, dim=1)
    )


@pytest.mark.parametrize(("cls", "axis"), [(Attention, 3), (PositionNormAttention, 2)])
def test_full_attention(cls, axis):
    """Norms over features, or over positions."""
    module = cls(6, heads=2, head_dim=5).double()
    x = torch.randn(2, 6, 3, 4, dtype=torch.float64)
    q, k, v = heads_of(module, x)
    q, k = (part / part.square().sum(axis, keepdim=True).sqrt() for part in (q, k))
    out = torch.empty_like(v)
    for i in range(12):
        weights = torch.exp(10 * (q[:, :, i, None] * k).sum(-1))
        weights = weights / weights.sum(-1, keepdim=True)
        out[:, :, i] = (weights[..., None] * v).sum(-2)
    out = out.transpose(2, 3).reshape(2, -1, 3, 4)
    torch.testing.assert_close(module(x), x + module.project(out), rtol=1e-12, atol=1e-12)


def test_linear_attention():
    """q over sqrt(32) after its softmax, v over the number of positions (papers' table)."""
    module = LinearAttention(6, heads=2, head_dim=32).double()
    x = torch.randn(2, 6, 3, 4, dtype=torch.float64)
    q, k, v = heads_of(module, x)
    q, k, v = q.softmax(dim=-1) / 32**0.5, k.softmax(dim=-2), v / 12
    context = torch.einsum("bhnd,bhne->bhde", k, v)
    out = torch.einsum("bhde,bhnd->bhne", context, q).transpose(2, 3).reshape(2, -1, 3, 4)
    torch.testing.assert_close(module(x), x + module.project(out), rtol=1e-12, atol=1e-12)


def test_channel_norm():
    x = torch.randn(2, 7, 3, 3, dtype=torch.float64) * 3 + 1
    norm = ChannelNorm(7, eps=0.0).double()
    out = norm(x)
    torch.testing.assert_close(out.mean(1), torch.zeros(2, 3, 3, dtype=torch.float64))
    torch.testing.assert_close(out.var(1, correction=0), torch.ones(2, 3, 3, dtype=torch.float64))
