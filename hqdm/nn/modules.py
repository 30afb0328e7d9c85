"""The U-Net by compiled kernels, module by module, in the layout of the lanes.

Modules of known types are computed by kernels from their present parameters. Any other module, and
one with hooks, gets its inputs in the usual layout, and so do quantum circuits, which have lanes of
their own.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hqdm.nn.attention import ChannelNorm, LinearAttention
from hqdm.nn.blocks import ResnetBlock, Upsample, Vertex, WSConv2d
from hqdm.nn.compiled.attention import pool_of, query_of
from hqdm.nn.compiled.choice import is_plain
from hqdm.nn.compiled.convolution import convolution
from hqdm.nn.compiled.layout import from_lanes, to_lanes
from hqdm.nn.compiled.normalization import channel_norm_of, norm_silu_of
from hqdm.nn.quantum_conv import HybridConv


class LaneModules:
    """Modules by kernels, in the layout of the lanes.

    Args:
        n: Number of samples.
    """

    def __init__(self, n: int) -> None:
        self.n = n
        self.of_type: dict[type[nn.Module], Callable[..., Tensor | None]] = {
            nn.Conv2d: self._conv,
            WSConv2d: self._ws_conv,
            nn.Identity: self._identity,
            ResnetBlock: self._block,
            LinearAttention: self._attention,
            Upsample: self._upsample,
            Vertex: self._vertex,
            HybridConv: self._hybrid,
        }

    def enter(self, x: Tensor) -> Tensor:
        """From the usual layout to `(G, C, H, W, L)`."""
        return to_lanes(x)

    def leave(self, x: Tensor) -> Tensor:
        """To the usual layout."""
        return from_lanes(x, self.n)

    def __call__(self, module: nn.Module, x: Tensor, *arguments: Tensor) -> Tensor:
        """Apply a module to `(G, C, H, W, L)`."""
        known = self.of_type.get(type(module))
        if known is not None and is_plain(module):
            out = known(module, x, *arguments)
            if out is not None:
                return out
        return to_lanes(module(from_lanes(x, self.n), *arguments))

    def precision(self) -> AbstractContextManager[None]:
        """That of the parameters: kernels are not mixed."""
        return torch.autocast("cpu", enabled=False)

    def level(self, level: nn.Module, x: Tensor, emb: Tensor, skips: list[Tensor]) -> Tensor:
        """Call the level with these modules."""
        return level(x, emb, skips, self)

    def _identity(self, module: nn.Module, x: Tensor) -> Tensor:
        return x

    def _conv(self, conv: nn.Conv2d, x: Tensor) -> Tensor | None:
        if not _is_computable(conv, x):
            return None
        return convolution(x, conv.weight, conv.bias, conv.stride[0], _padding(conv))

    def _ws_conv(self, conv: WSConv2d, x: Tensor) -> Tensor | None:
        if not _is_computable(conv, x):
            return None
        return convolution(x, conv.standardised(), conv.bias, padding=_padding(conv))

    def _upsample(self, module: Upsample, x: Tensor) -> Tensor:
        rows, columns = (
            torch.arange(module.size) * size // module.size for size in (x.shape[2], x.shape[3])
        )
        return self(module.conv, x.index_select(2, rows).index_select(3, columns))

    def _hybrid(self, module: HybridConv, x: Tensor) -> Tensor:
        x = module.added(x)
        quantum = module.quantum(from_lanes(x[:, : module.quantum_channels], self.n))
        out = to_lanes(quantum)
        if module.rest is None:
            return out
        return torch.cat([out, self(module.rest, x[:, module.quantum_channels :])], 1)

    def _block(self, block: ResnetBlock, x: Tensor, emb: Tensor) -> Tensor | None:
        norm_1, norm_2 = block.norm_1, block.norm_2
        if not (_is_group_norm(norm_1) and _is_group_norm(norm_2)):
            return None
        scale, shift = to_lanes(block.scale_shift(F.silu(emb))).chunk(2, dim=1)
        scale = 1 + scale
        gain, bias = norm_1.weight[:, None], norm_1.bias[:, None]
        h = self(block.conv_1, x)
        h = norm_silu_of(h, gain * scale, bias * scale + shift, norm_1.num_groups, norm_1.eps)
        gain, bias = (p[:, None].expand_as(scale) for p in (norm_2.weight, norm_2.bias))
        h = norm_silu_of(self(block.conv_2, h), gain, bias, norm_2.num_groups, norm_2.eps)
        return h + self(block.skip, x)

    def _vertex(self, vertex: Vertex, x: Tensor, emb: Tensor) -> Tensor:
        x = self(vertex.attention, self(vertex.block_1, x, emb))
        return self(vertex.block_2, x, emb)

    def _attention(self, attention: LinearAttention, x: Tensor) -> Tensor | None:
        projection, last = cast(tuple[nn.Conv2d, ChannelNorm], tuple(attention.project.children()))
        c, (h, w) = x.shape[1], x.shape[2:4]
        parts = attention.norm, last, attention.qkv, projection
        types = ChannelNorm, ChannelNorm, nn.Conv2d, nn.Conv2d
        if not is_plain(*parts, attention.project) or tuple(map(type, parts)) != types:
            return None
        if {attention.norm.gain.shape, last.gain.shape} != {(1, c, 1, 1)}:
            return None
        normed = channel_norm_of(x, attention.norm.gain.flatten(), attention.norm.eps).flatten(2, 3)
        to_q, to_k, _ = attention.qkv.weight.view(3, -1, c)
        pooled = pool_of(normed, to_k, attention.heads).unflatten(1, (attention.heads, -1))
        maps = attention.value_maps() / (h * w)
        mix = torch.einsum("hoc,ghdcl->gohdl", maps, pooled).flatten(2, 3)
        bias = cast(Tensor, projection.bias)
        out = query_of(normed, to_q, mix, bias, attention.heads)
        return x + channel_norm_of(out.unflatten(2, (h, w)), last.gain.flatten(), last.eps)


def _is_computable(conv: nn.Conv2d, x: Tensor) -> bool:
    """True if the kernels compute this convolution of these inputs."""
    padding, (c_out, c_in, *kernel) = conv.padding, conv.weight.shape
    return (
        conv.padding_mode == "zeros"
        and conv.groups == 1
        and set(conv.dilation) == {1}
        and not isinstance(padding, str)
        and len(set(conv.stride)) == len(set(padding)) == 1
        and padding[0] < min(kernel)
        and c_in == x.shape[1]
        and (conv.bias is None or conv.bias.shape == (c_out,))
    )


def _is_group_norm(module: nn.Module) -> bool:
    """True for a group normalisation with the parameters that the kernels need."""
    return (
        type(module) is nn.GroupNorm
        and is_plain(module)
        and module.affine
        and module.weight.shape == module.bias.shape == (module.num_channels,)
    )


def _padding(conv: nn.Conv2d) -> int:
    return int(conv.padding[0])
