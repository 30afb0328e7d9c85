r"""The hybrid U-Net of De Falco et al. (arXiv 2402.16147), classical or with quantum blocks.

    stem -> encoder levels -> vertex -> decoder levels -> head

Each ResNet block may use a `HybridConv`, or another quantum convolution, in place of its
weight-standardised convolutions; nothing else changes. The 28x28x1 network of width 10 has
483,321 parameters, 475,281 with one quantum channel group at the vertex (FQConv, 3 layers), 473,721
with one more at the second encoder level and 429,369 with the whole vertex quantum.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal, get_type_hints

import torch
from torch import Tensor, nn

from hqdm.nn.attention import Attention, LinearAttention, PositionNormAttention
from hqdm.nn.blocks import (
    Conditioning,
    ConvFactory,
    ResnetBlock,
    Upsample,
    Vertex,
    WSConv2d,
    downsample,
)
from hqdm.nn.compiled.choice import TORCH, Modules, is_plain, uses_kernels
from hqdm.nn.network import check_images, check_options, register_network
from hqdm.nn.quantum_conv import Hybrid
from hqdm.utils.checks import check_types, finite
from hqdm.utils.errors import HQDMError

PARTS = ("stem", "embedding", "encoder", "vertex", "decoder", "head")
"""The parts of a U-Net, as `inspect` counts them and `--freeze` names them."""

ATTENTION = {"features": Attention, "positions": PositionNormAttention}
"""The attention of the vertex by the axis over which it normalises queries and keys."""

LATER_OPTIONS = {"attention_norm": "features", "gelu": "exact", "norm_eps": 1e-5}
"""Options that earlier versions do not know, which read a configuration without them."""


class ResolutionLevel(nn.Module):
    """Two ResNet blocks, linear attention after the second, and a change of resolution."""

    def __init__(
        self, block_1: ResnetBlock, block_2: ResnetBlock, attention: nn.Module, resize: nn.Module
    ) -> None:
        super().__init__()
        self.block_1 = block_1
        self.block_2 = block_2
        self.attention = attention
        self.resize = resize


class EncoderLevel(ResolutionLevel):
    """An encoder level: stores a skip connection after each block."""

    def forward(
        self, x: Tensor, emb: Tensor, skips: list[Tensor], apply: Modules = TORCH
    ) -> Tensor:
        """Push two skips at this resolution and return the next resolution."""
        x = apply(self.block_1, x, emb)
        skips.append(x)
        x = apply(self.attention, apply(self.block_2, x, emb))
        skips.append(x)
        return apply(self.resize, x)


class DecoderLevel(ResolutionLevel):
    """A decoder level: each block takes a skip connection, last stored first."""

    def forward(
        self, x: Tensor, emb: Tensor, skips: list[Tensor], apply: Modules = TORCH
    ) -> Tensor:
        """Pop two skips at this resolution and return the next resolution."""
        x = apply(self.block_1, torch.cat([x, skips.pop()], dim=1), emb)
        x = apply(self.block_2, torch.cat([x, skips.pop()], dim=1), emb)
        return apply(self.resize, apply(self.attention, x))


def _ws_conv(in_channels: int, out_channels: int) -> nn.Module:
    return WSConv2d(in_channels, out_channels)


@register_network
class UNet(nn.Module):
    """A noise (or v, or x0) prediction network on square images.

    Args:
        channels: Image channels, 1 or 3 (any number works).
        size: Height and width of the images.
        dim: Width of the first level.
        mults: Width multipliers, one per level; the last level keeps its resolution.
        hybrid: Configurations of the quantum convolutions by part: `"vertex"`, `"head"`,
            `"encoder"` or one level of it, `"encoder.0"`, `"encoder.1"`, ..., likewise `"decoder"`,
            whose level 0 follows the vertex, or `"all"`. For a block that several of them name,
            the level takes precedence over the part, and the part over `"all"`.
        n_classes: Number of class labels, or None for an unconditional network. Label
            `n_classes` means "no label".
        heads: Attention heads.
        head_dim: Features of one attention head.
        attention_norm: The axis over which the attention of the vertex normalises queries and keys:
            "features", which gives a cosine similarity, or "positions", as in the published code.
        gelu: GELU in the embedding of times: "exact", or "tanh" as in the published code.
        norm_eps: Added to the variance in group normalisations; 1e-6 in the published code.

    Raises:
        HQDMError: If the size cannot be downsampled that often, a part does not exist, there are
            fewer channels than the quantum groups take, or an option is out of range.
    """

    precise_times: ClassVar[bool] = True

    def __init__(
        self,
        channels: int = 1,
        size: int = 28,
        dim: int = 10,
        mults: Sequence[int] = (1, 2, 3, 4),
        hybrid: Mapping[str, Hybrid] | None = None,
        n_classes: int | None = None,
        heads: int = 4,
        head_dim: int = 32,
        attention_norm: Literal["features", "positions"] = "features",
        gelu: Literal["exact", "tanh"] = "exact",
        norm_eps: float = 1e-5,
    ) -> None:
        super().__init__()
        _check_positive(channels=channels, size=size, dim=dim, heads=heads, head_dim=head_dim)
        if not mults or min(mults) < 1:
            raise HQDMError(f"mults needs one positive multiplier a level, got {list(mults)}")
        if dim % 2:
            raise HQDMError(f"dim needs an even number (sine and cosine features), got {dim}")
        if n_classes is not None and n_classes < 1:
            raise HQDMError(f"n_classes needs a positive number or null, got {n_classes}")
        typed = {"attention_norm": attention_norm, "gelu": gelu, "hybrid": hybrid}
        check_types(typed, get_type_hints(UNet.__init__))
        if finite("norm_eps", norm_eps) <= 0:
            raise HQDMError(f"norm_eps needs a positive number, got {norm_eps}")
        self.channels = channels
        self.size = size
        self.dim = dim
        self.mults = tuple(mults)
        self.hybrid = dict(hybrid or {})
        self.n_classes = n_classes
        self.heads = heads
        self.head_dim = head_dim
        self.attention_norm = attention_norm
        self.gelu = gelu
        self.norm_eps = norm_eps
        self._check_hybrid_keys()

        emb_dim = 4 * dim
        norm_groups = max(g for g in range(1, 11) if dim % g == 0)
        widths = [dim, *(dim * m for m in self.mults)]
        sizes = _level_sizes(size, len(self.mults))

        def block(part: str, c_in: int, c_out: int) -> ResnetBlock:
            conv = self._conv_for(part)
            return ResnetBlock(c_in, c_out, emb_dim, conv, norm_groups, norm_eps)

        def linear_attention(c: int) -> LinearAttention:
            return LinearAttention(c, heads, head_dim)

        self.stem = nn.Conv2d(channels, dim, 7, padding=3)
        self.embedding = Conditioning(dim, emb_dim, n_classes, gelu=gelu)
        self.encoder = nn.ModuleList(
            EncoderLevel(
                block(f"encoder.{i}", widths[i], widths[i]),
                block(f"encoder.{i}", widths[i], widths[i]),
                linear_attention(widths[i]),
                self._down(i, widths, sizes),
            )
            for i in range(len(self.mults))
        )
        c = widths[-1]
        attention = ATTENTION[attention_norm](c, heads, head_dim)
        self.vertex = Vertex(block("vertex", c, c), attention, block("vertex", c, c))
        self.decoder = nn.ModuleList(
            DecoderLevel(
                block(f"decoder.{level}", widths[i + 1] + widths[i], widths[i + 1]),
                block(f"decoder.{level}", widths[i + 1] + widths[i], widths[i + 1]),
                linear_attention(widths[i + 1]),
                self._up(i, widths, sizes),
            )
            for level, i in enumerate(reversed(range(len(self.mults))))
        )
        self.head = nn.ModuleDict(
            {"block": block("head", 2 * dim, dim), "conv": nn.Conv2d(dim, channels, 1)}
        )

    def _check_hybrid_keys(self) -> None:
        levels = (f"{p}.{i}" for p in ("encoder", "decoder") for i in range(len(self.mults)))
        known = ["vertex", "encoder", "decoder", "head", "all", *levels]
        for part in self.hybrid:
            if part not in known:
                raise HQDMError(
                    f"no part {part!r} can be hybrid: expected one of {', '.join(known)}"
                )
            if not isinstance(self.hybrid[part], Hybrid):
                raise HQDMError(f"hybrid: expected a Hybrid for {part}, got {self.hybrid[part]!r}")

    def _conv_for(self, part: str) -> ConvFactory:
        """The convolutions of a part or level; those of the most specific key."""
        keys = (key for key in (part, part.partition(".")[0], "all") if key in self.hybrid)
        key = next(keys, None)
        return _ws_conv if key is None else self.hybrid[key].conv

    @staticmethod
    def _down(i: int, widths: list[int], sizes: list[int]) -> nn.Module:
        if i == len(sizes) - 1:
            return nn.Conv2d(widths[i], widths[i + 1], 3, padding=1)
        return downsample(widths[i], widths[i + 1], sizes[i])[0]

    @staticmethod
    def _up(i: int, widths: list[int], sizes: list[int]) -> nn.Module:
        if i == 0:
            return nn.Conv2d(widths[1], widths[0], 3, padding=1)
        return Upsample(widths[i + 1], widths[i], sizes[i - 1])

    def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        """Predict from noisy images.

        Args:
            x: Noisy images `(B, C, H, W)`.
            t: Times `(B,)` in [0, 1], or one for all.
            y: Class labels `(B,)`; None means "no label".

        Returns:
            The prediction `(B, C, H, W)`.

        Raises:
            HQDMError: If the images have another shape than the network was built for, there are
                neither one time nor as many as images, or labels come to an unconditional network.
        """
        check_images(x, self.sample_shape)
        if t.shape != x.shape[:1]:
            if t.numel() != 1:
                raise HQDMError(f"times of shape {tuple(t.shape)} for {len(x)} images")
            t = t.reshape(1).expand(len(x))
        apply = self._application(x, t)
        with apply.precision():
            return apply.leave(self._predict(apply.enter(x), self.embedding(t, y), apply))

    def _application(self, x: Tensor, t: Tensor) -> Modules:
        """The application of the modules: by kernels, if they can be, and are faster."""
        levels = [*self.encoder, *self.decoder]
        usual = all(type(level) in (EncoderLevel, DecoderLevel) for level in levels)
        if usual and is_plain(*levels) and uses_kernels(self, self.dim, x, t):
            from hqdm.nn.modules import LaneModules  # loads Numba

            return LaneModules(len(x))
        return TORCH

    def _predict(self, x: Tensor, emb: Tensor, apply: Modules) -> Tensor:
        """The prediction in the layout of `apply`."""
        x = apply(self.stem, x)
        skips = [x]
        for encoder_level in self.encoder:
            x = apply.level(encoder_level, x, emb, skips)
        x = apply(self.vertex, x, emb)
        for decoder_level in self.decoder:
            x = apply.level(decoder_level, x, emb, skips)
        x = apply(self.head["block"], torch.cat([x, skips.pop()], dim=1), emb)
        return apply(self.head["conv"], x)

    @property
    def sample_shape(self) -> tuple[int, int, int]:
        """The shape of one image, `(C, H, W)`."""
        return self.channels, self.size, self.size

    @property
    def parts(self) -> dict[str, nn.Module]:
        """The parts by name, see `PARTS`."""
        return {name: self.get_submodule(name) for name in PARTS}

    @property
    def config(self) -> dict[str, Any]:
        """The plain configuration from which `UNet.from_config` rebuilds the network."""
        later = {key: getattr(self, key) for key in LATER_OPTIONS}
        return {
            "channels": self.channels,
            "size": self.size,
            "dim": self.dim,
            "mults": list(self.mults),
            "hybrid": {part: hybrid.to_dict() for part, hybrid in self.hybrid.items()},
            "n_classes": self.n_classes,
            "heads": self.heads,
            "head_dim": self.head_dim,
            **{key: value for key, value in later.items() if value != LATER_OPTIONS[key]},
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "UNet":
        """Build the network that `config` describes.

        Raises:
            HQDMError: If an option is unknown, out of range or not of its type.
        """
        check_options(cls, config)
        hybrid = {
            part: Hybrid.from_dict(options, f"network.hybrid.{part}.")
            for part, options in (config.get("hybrid") or {}).items()
        }
        return cls(**{**config, "hybrid": hybrid})


def _check_positive(**numbers: int) -> None:
    for name, number in numbers.items():
        if number < 1:
            raise HQDMError(f"{name} needs a positive number, got {number}")


def _level_sizes(size: int, levels: int) -> list[int]:
    """The feature-map size of each level; every level but the last is downsampled."""
    sizes = [size]
    for _ in range(levels - 1):
        current = sizes[-1]
        if current in (1, 3):
            raise HQDMError(
                f"images of size {size} cannot be downsampled {levels - 1} times "
                f"(sizes {' -> '.join(map(str, sizes))} -> ?): use fewer mults"
            )
        sizes.append(downsample(1, 1, current)[1])
    return sizes


def QVUNet(hybrid: Hybrid | None = None, **options: Any) -> UNet:
    """The preset with quantum channel groups at the vertex (QVU-Net); by default one FQConv."""
    return UNet(hybrid={"vertex": hybrid or Hybrid()}, **options)


def FullQVUNet(hybrid: Hybrid | None = None, **options: Any) -> UNet:
    """The preset whose vertex is all quantum (FullQVU-Net)."""
    return UNet(hybrid={"vertex": replace(hybrid or Hybrid(), groups="all")}, **options)


def QuanvUNet(hybrid: Hybrid | None = None, level: int = 1, **options: Any) -> UNet:
    """The preset with quantum groups at the vertex and at one encoder level (QuanvU-Net).

    Args:
        hybrid: The quantum convolutions; by default one FQConv.
        level: The encoder level, counted from 0; by default the second, as published.
        **options: Options of `UNet`.
    """
    hybrid = hybrid or Hybrid()
    return UNet(hybrid={"vertex": hybrid, f"encoder.{level}": hybrid}, **options)
