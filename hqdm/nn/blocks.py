r"""The blocks of the U-Net: embeddings of time and label, ResNet block, down- and upsampling.

A ResNet block is two convolutions with normalisation and an embedding in between,

    h = SiLU((1 + scale) GroupNorm(conv_1(x)) + shift),   (scale, shift) = Linear(SiLU(emb)),
    out = SiLU(GroupNorm(conv_2(h))) + skip(x).

The type of the convolutions is a parameter: a hybrid block is the same block with another `conv`.
"""

from collections.abc import Callable
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hqdm.nn.network import check_labels
from hqdm.utils.memory import to_device

ConvFactory = Callable[[int, int], nn.Module]
"""Returns a size-preserving convolution for given numbers of input and output channels."""

GELU_FORMS = {"exact": "none", "tanh": "tanh"}
"""Torch's names of x Phi(x) and of x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2."""


class Conditioning(nn.Module):
    """The conditioning of the blocks: a perceptron on sinusoidal time features, plus class labels.

    Args:
        dim: Number of sinusoidal features; even.
        out_dim: Size of the embedding.
        n_classes: Number of class labels, or None. Label `n_classes` means "no label".
        time_scale: Factor of t in [0, 1]; the papers have 1,000 discrete steps.
        gelu: Form of the activation, see `GELU_FORMS`.
    """

    def __init__(
        self,
        dim: int,
        out_dim: int,
        n_classes: int | None,
        time_scale: float = 1000.0,
        gelu: str = "exact",
    ) -> None:
        super().__init__()
        self.n_classes = n_classes
        self.time_scale = time_scale
        self.dim = dim
        activation = nn.GELU(GELU_FORMS[gelu])
        self.mlp = nn.Sequential(nn.Linear(dim, out_dim), activation, nn.Linear(out_dim, out_dim))
        self.labels = None if n_classes is None else nn.Embedding(n_classes + 1, out_dim)

    @cached_property
    def frequencies(self) -> list[float]:
        """The angular frequencies, from 1 to 1e-4.

        Numbers, since a buffer would be rounded with the parameters of a half-precision network.
        """
        half = self.dim // 2
        return [10_000.0 ** (-k / max(half - 1, 1)) for k in range(half)]

    def forward(self, t: Tensor, y: Tensor | None) -> Tensor:
        """From times `(B,)` in [0, 1] and labels `(B,)` or None to embeddings `(B, out_dim)`.

        Sine and cosine are computed in the dtype of `t`, the embedding in that of the parameters.

        Raises:
            HQDMError: If the labels are not classes of the network, one per time.
        """
        frequencies = to_device(torch.tensor(self.frequencies, dtype=t.dtype), t.device)
        phase = self.time_scale * t[:, None] * frequencies
        features = torch.cat([phase.sin(), phase.cos()], dim=1)
        emb = self.mlp(features.to(next(self.mlp.parameters()).dtype))
        check_labels(y, len(t), self.n_classes)
        if self.labels is None:
            return emb
        if y is None:
            y = torch.full(t.shape, self.labels.num_embeddings - 1, device=t.device)
        return emb + self.labels(y)


class ResnetBlock(nn.Module):
    """Two convolutions with group normalisation, an embedding and a skip connection.

    Args:
        in_channels: Number of input channels.
        out_channels: Number of output channels.
        emb_dim: Size of the time (and class) embedding.
        conv: Factory of the two convolutions.
        norm_groups: Groups of the normalisations; divides `out_channels`.
        norm_eps: Added to the variance of a group.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        emb_dim: int,
        conv: ConvFactory,
        norm_groups: int,
        norm_eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.conv_1 = conv(in_channels, out_channels)
        self.norm_1 = nn.GroupNorm(norm_groups, out_channels, norm_eps)
        self.scale_shift = nn.Linear(emb_dim, 2 * out_channels)
        self.conv_2 = conv(out_channels, out_channels)
        self.norm_2 = nn.GroupNorm(norm_groups, out_channels, norm_eps)
        same = in_channels == out_channels
        self.skip = nn.Identity() if same else nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        """From `(B, C_in, H, W)` and `(B, emb_dim)` to `(B, C_out, H, W)`."""
        scale, shift = self.scale_shift(F.silu(emb))[:, :, None, None].chunk(2, dim=1)
        h = F.silu(self.norm_1(self.conv_1(x)) * (1 + scale) + shift)
        return F.silu(self.norm_2(self.conv_2(h))) + self.skip(x)


class Vertex(nn.Module):
    """The bottleneck of the U-Net: ResNet block, full attention, ResNet block."""

    def __init__(self, block_1: ResnetBlock, attention: nn.Module, block_2: ResnetBlock) -> None:
        super().__init__()
        self.block_1 = block_1
        self.attention = attention
        self.block_2 = block_2

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        """Keep shape."""
        return self.block_2(self.attention(self.block_1(x, emb)), emb)


def downsample(in_channels: int, out_channels: int, size: int) -> tuple[nn.Module, int]:
    """The strided convolution for a feature map of a given size, and the size of its output.

    Even sizes are halved by a 4x4 kernel. Odd sizes use the papers' 7x7 kernel, which maps 7 to 2.
    Sizes 1 and 3 have no valid output size; the caller refuses them.
    """
    if size % 2 == 0:
        return nn.Conv2d(in_channels, out_channels, 4, stride=2, padding=1), size // 2
    return nn.Conv2d(in_channels, out_channels, 7, stride=2, padding=1), (size - 5) // 2 + 1


class Upsample(nn.Module):
    """Nearest-neighbour resize to a fixed size, then a 3x3 convolution."""

    def __init__(self, in_channels: int, out_channels: int, size: int) -> None:
        super().__init__()
        self.size = size
        self.conv = nn.Conv2d(in_channels, out_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """From `(B, C_in, h, w)` to `(B, C_out, size, size)`."""
        return self.conv(F.interpolate(x, size=(self.size, self.size), mode="nearest"))


class WSConv2d(nn.Conv2d):
    """A convolution with standardised weights.

    The kernel of every output channel has mean zero and variance one over (in, height, width)
    before it is used (Qiao et al., arXiv 1903.10520).

    Args:
        in_channels: Number of input channels.
        out_channels: Number of output channels.
        kernel_size: Side of the kernel.
        padding: Width of the zero padding.
        eps: Added to the (biased) variance.
        gain: Standard deviation of the kernels after standardisation.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        padding: int = 1,
        eps: float = 1e-5,
        gain: float = 1.0,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, padding=padding)
        self.eps = eps
        self.gain = gain

    def standardised(self) -> Tensor:
        """The kernels `(out_channels, in_channels, h, w)` that are used."""
        kernels = F.layer_norm(self.weight, self.weight.shape[1:], eps=self.eps)
        return kernels if self.gain == 1 else self.gain * kernels

    def forward(self, x: Tensor) -> Tensor:
        """Convolve `x` of shape `(B, in_channels, H, W)`."""
        return F.conv2d(x, self.standardised(), self.bias, padding=self.padding)
