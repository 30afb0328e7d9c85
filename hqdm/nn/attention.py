r"""Attention over the positions of a feature map, as in the papers on hybrid U-Nets.

Linear attention (Shen et al. 2021) costs O(H W); full attention with l2-normalised queries and
keys (Henry et al. 2020) costs O((H W)^2) and is used at the vertex only:

    linear:  out = softmax_d(q) / sqrt(d) (softmax_n(k) v^T / n)
    full:    out = softmax_n(10 q^T k / (|q| |k|)) v

The norms |q| and |k| are those of the features at a position, or in `PositionNormAttention` those
of a feature over all positions.
"""

from typing import ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ChannelNorm(nn.Module):
    """Layer normalisation over the channels of `(B, C, H, W)`, with a gain and no bias."""

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(1, channels, 1, 1))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each position to mean 0 and variance 1 over channels."""
        var, mean = torch.var_mean(x, dim=1, correction=0, keepdim=True)
        return (x - mean) * (var + self.eps).rsqrt() * self.gain


class Attention(nn.Module):
    """Residual full attention with cosine similarity: `x + project(attend(norm(x)))`.

    Args:
        channels: Channels of the feature map.
        heads: Number of heads.
        head_dim: Features per head.
    """

    similarity_scale: ClassVar[float] = 10.0
    norm_axis: ClassVar[int] = 2  # of (B, heads, head_dim, n)

    def __init__(self, channels: int, heads: int = 4, head_dim: int = 32) -> None:
        super().__init__()
        self.heads = heads
        self.head_dim = head_dim
        self.norm = ChannelNorm(channels)
        self.qkv = nn.Conv2d(channels, 3 * heads * head_dim, 1, bias=False)
        self.project = self._projection(heads * head_dim, channels)

    def _projection(self, hidden: int, channels: int) -> nn.Module:
        return nn.Conv2d(hidden, channels, 1)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """From queries, keys and values `(B, heads, head_dim, n)` to values of that shape."""
        q, k = F.normalize(q, dim=self.norm_axis), F.normalize(k, dim=self.norm_axis)
        weights = (self.similarity_scale * q.transpose(2, 3) @ k).softmax(dim=-1)
        return v @ weights.transpose(2, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Attend over all positions of `(B, C, H, W)`."""
        b, _, h, w = x.shape
        qkv = self.qkv(self.norm(x)).view(b, 3, self.heads, self.head_dim, h * w)
        out = self._attend(*qkv.unbind(dim=1))
        return x + self.project(out.flatten(1, 2).unflatten(2, (h, w)))


class PositionNormAttention(Attention):
    """Full attention whose queries and keys are normalised over positions, feature by feature.

    The similarity is no cosine then. The public code of De Falco et al. has this form.
    """

    norm_axis: ClassVar[int] = 3


class LinearAttention(Attention):
    r"""Residual linear attention; its projection ends in a channel normalisation.

    Values and outputs, with 128 channels, are never formed: both are linear maps of C channels.
    With x the normalised input, P the projection, and K and Q after their softmaxes,

        P (K V^T)^T Q = [P W_v (K x^T)^T] Q,

    where the bracket is one small matrix per sample.
    """

    def _projection(self, hidden: int, channels: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(hidden, channels, 1), ChannelNorm(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Attend over all positions of `(B, C, H, W)`."""
        b, c, h, w = x.shape
        normed = self.norm(x).flatten(2)
        to_q, to_k, _ = self.qkv.weight.view(3, -1, c)
        # torch.bmm, since `@` would transpose and copy the larger operand.
        q = torch.bmm(to_q.expand(b, -1, -1), normed).view(b, self.heads, self.head_dim, h * w)
        q = q.softmax(dim=2).flatten(1, 2)
        k = torch.bmm(to_k.expand(b, -1, -1), normed).softmax(dim=2)
        projection, final_norm = self.project.children()
        assert isinstance(projection, nn.Conv2d)
        assert projection.bias is not None
        pooled = (k @ normed.transpose(1, 2)).view(b, self.heads, self.head_dim, c)
        mix = torch.einsum("bhdi,hoi->bohd", pooled, self.value_maps() / (h * w))
        out = (mix.flatten(2) @ q).view(b, c, h, w) + projection.bias[:, None, None]
        return x + final_norm(out)

    def value_maps(self) -> Tensor:
        """The product of values and projection for each head, over sqrt(d), `(heads, C, C)`."""
        weight = cast(nn.Conv2d, next(self.project.children())).weight
        projection = weight.view(-1, self.heads, self.head_dim)
        values = self.qkv.weight.view(3, self.heads, self.head_dim, -1)[2]
        return torch.einsum("hei,ohe->hoi", values, projection) * self.head_dim**-0.5
