"""The published U-Net written out, layer after layer, for comparison with `hqdm.nn.unet`.

From De Falco et al. (arXiv 2402.16147) and what they build on: sinusoidal time features, ResNet
blocks with standardised kernels, linear attention at every level and full cosine attention at the
vertex. Nothing is shared with the package but the names of the weights.
"""

import math

import torch
import torch.nn.functional as F


def plain_unet(w, x, t, y=None, *, levels, heads, groups):
    """The output of the network.

    Args:
        w: Weights by name.
        x: Noisy images `(B, C, H, W)`.
        t: Times `(B,)`.
        y: Labels `(B,)`, or None.
        levels: Number of levels.
        heads: Attention heads.
        groups: Groups of the group normalisations.
    """

    def linear(name, h):
        return h @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def conv(name, h, **options):
        return F.conv2d(h, w[f"{name}.weight"], w.get(f"{name}.bias"), **options)

    def standardised_conv(name, h):
        kernel = w[f"{name}.weight"].flatten(1)
        kernel = kernel - kernel.mean(1, keepdim=True)
        kernel = kernel / (kernel.square().mean(1, keepdim=True) + 1e-5).sqrt()
        kernel = kernel.view_as(w[f"{name}.weight"])
        return F.conv2d(h, kernel, w[f"{name}.bias"], padding=1)

    def silu(h):
        return h / (1 + torch.exp(-h))

    def gelu(h):
        return h * (1 + torch.erf(h / math.sqrt(2))) / 2

    def group_norm(name, h):
        parts = h.reshape(len(h), groups, -1)
        parts = parts - parts.mean(2, keepdim=True)
        parts = parts / (parts.square().mean(2, keepdim=True) + 1e-5).sqrt()
        gain, shift = w[f"{name}.weight"], w[f"{name}.bias"]
        return parts.view_as(h) * gain[:, None, None] + shift[:, None, None]

    def channel_norm(name, h):
        h = h - h.mean(1, keepdim=True)
        return h / (h.square().mean(1, keepdim=True) + 1e-5).sqrt() * w[f"{name}.gain"]

    def block(name, h):
        scale_shift = linear(f"{name}.scale_shift", silu(emb))[:, :, None, None]
        scale, shift = scale_shift.chunk(2, dim=1)
        skip = conv(f"{name}.skip", h) if f"{name}.skip.weight" in w else h
        h = group_norm(f"{name}.norm_1", standardised_conv(f"{name}.conv_1", h))
        h = silu((1 + scale) * h + shift)
        return silu(group_norm(f"{name}.norm_2", standardised_conv(f"{name}.conv_2", h))) + skip

    def queries_keys_values(name, h):
        qkv = conv(f"{name}.qkv", channel_norm(f"{name}.norm", h))
        return qkv.reshape(len(h), 3, heads, -1, h.shape[2] * h.shape[3]).unbind(1)

    def linear_attention(name, h):
        q, k, v = queries_keys_values(name, h)
        q, k, v = q.softmax(2) / math.sqrt(q.shape[2]), k.softmax(3), v / v.shape[3]
        context = torch.einsum("bhdn,bhen->bhde", k, v)
        out = torch.einsum("bhde,bhdn->bhen", context, q).reshape(len(h), -1, *h.shape[2:])
        return h + channel_norm(f"{name}.project.1", conv(f"{name}.project.0", out))

    def full_attention(name, h):
        q, k, v = queries_keys_values(name, h)
        q, k = (part / part.square().sum(2, keepdim=True).sqrt() for part in (q, k))
        weights = (10 * torch.einsum("bhdi,bhdj->bhij", q, k)).softmax(3)
        out = torch.einsum("bhij,bhdj->bhdi", weights, v).reshape(len(h), -1, *h.shape[2:])
        return h + conv(f"{name}.project", out)

    def down(name, h, last):
        if last:
            return conv(name, h, padding=1)
        assert w[f"{name}.weight"].shape[-1] == (4 if h.shape[-1] % 2 == 0 else 7)
        return conv(name, h, stride=2, padding=1)

    def up(name, h, last):
        if last:
            return conv(name, h, padding=1)
        size = skips[-1].shape[-1]
        nearest = [i * h.shape[-1] // size for i in range(size)]
        return conv(f"{name}.conv", h[:, :, nearest][:, :, :, nearest], padding=1)

    half = w["embedding.mlp.0.weight"].shape[1] // 2
    frequencies = 10_000.0 ** (-torch.arange(half).to(t) / (half - 1))
    angles = 1000 * t[:, None] * frequencies
    features = torch.cat([angles.sin(), angles.cos()], 1)
    emb = linear("embedding.mlp.2", gelu(linear("embedding.mlp.0", features)))
    if y is not None:
        emb = emb + w["embedding.labels.weight"][y]

    h = conv("stem", x, padding=3)
    skips = [h]
    for i in range(levels):
        h = block(f"encoder.{i}.block_1", h)
        skips.append(h)
        h = linear_attention(f"encoder.{i}.attention", block(f"encoder.{i}.block_2", h))
        skips.append(h)
        h = down(f"encoder.{i}.resize", h, last=i == levels - 1)
    h = block("vertex.block_1", h)
    h = block("vertex.block_2", full_attention("vertex.attention", h))
    for i in range(levels):
        h = block(f"decoder.{i}.block_1", torch.cat([h, skips.pop()], 1))
        h = block(f"decoder.{i}.block_2", torch.cat([h, skips.pop()], 1))
        h = linear_attention(f"decoder.{i}.attention", h)
        h = up(f"decoder.{i}.resize", h, last=i == levels - 1)
    return conv("head.conv", block("head.block", torch.cat([h, skips.pop()], 1)))
