r"""The classical U-Net of Koelle et al. (arXiv 2401.07049), without attention and time.

    block    (conv 3x3, batch norm, relu) twice, in the decoder the first pair as conv, relu, norm
    encoder  a block per width, 2x2 max pooling between them
    decoder  bilinear upsampling by 2, conv 1x1, skip connection (zero-padded to its size), a block
    head     conv 1x1

With the widths (3, 6), (2, 4, 8) and (4, 8, 16) it has 934, 1,843 and 7,077 parameters, as in the
paper: these are counts of two convolutions per block. One per block, as in the paper's QU-Net,
would give 847 for (2, 4, 8).
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from hqdm.nn.amplitude.masks import label_mask
from hqdm.nn.baselines.baseline import Baseline
from hqdm.nn.network import register_network
from hqdm.utils.errors import HQDMError


def encoder_block(n_in: int, n_out: int) -> nn.Sequential:
    """Two 3x3 convolutions, each with batch normalisation and ReLU."""
    return nn.Sequential(
        *(nn.Conv2d(n_in, n_out, 3, padding=1), nn.BatchNorm2d(n_out), nn.ReLU()),
        *(nn.Conv2d(n_out, n_out, 3, padding=1), nn.BatchNorm2d(n_out), nn.ReLU()),
    )


class DecoderBlock(nn.Module):
    """Upsampling, a skip connection, and two 3x3 convolutions.

    Args:
        n_in: Channels of the coarser level.
        n_out: Channels of the skip connection and of the output.
    """

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.up = nn.Sequential(
            nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(n_in, n_out, 1)
        )
        self.block = nn.Sequential(
            *(nn.Conv2d(2 * n_out, n_out, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(n_out)),
            *(nn.Conv2d(n_out, n_out, 3, padding=1), nn.BatchNorm2d(n_out), nn.ReLU()),
        )

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """From the coarser level and the skip connection `(B, n_out, H, W)` to the same shape."""
        x = self.up(x)
        rows, columns = (skip.shape[axis] - x.shape[axis] for axis in (2, 3))  # 0 or 1
        return self.block(torch.cat([functional.pad(x, (columns, 0, rows, 0)), skip], dim=1))


@register_network
class SmallUNet(Baseline):
    """The U-Net of the head of this module; candidates of a match have two levels.

    The widths of a candidate are (w, 2 w) or (w, 2 w + 1). The default is (3, 6).

    Args:
        channels: Image channels C.
        size: Height and width of the images.
        widths: The channels of each level, from fine to coarse.
        n_classes: Number of class labels, or None; a label adds `label_mask` to the pixels.
        parameters: The number of parameters to match, in place of `widths`.

    Raises:
        HQDMError: As `Baseline`, or if the images cannot be halved as often.
    """

    default_widths = (3, 6)

    def build(self) -> None:
        """See `Baseline.build`."""
        levels = len(self.widths)
        if self.size >> (levels - 1) == 0:
            raise HQDMError(f"{levels} levels need images of {2 ** (levels - 1)} pixels or more")
        self.encoder = nn.ModuleList(
            encoder_block(n_in, n_out) for n_in, n_out in pairwise((self.channels, *self.widths))
        )
        self.pool = nn.MaxPool2d(2)
        self.decoder = nn.ModuleList(
            DecoderBlock(n_in, n_out) for n_in, n_out in pairwise(reversed(self.widths))
        )
        self.head = nn.Conv2d(self.widths[0], self.channels, 1)

    @property
    def parts(self) -> Mapping[str, nn.Module]:
        """The encoder, the decoder and the last convolution."""
        return {"encoder": self.encoder, "decoder": self.decoder, "head": self.head}

    @classmethod
    def candidate(cls, k: int) -> tuple[int, ...]:
        """A coarse level of k + 1 channels, and half of them at the fine level."""
        return (k + 1) // 2, k + 1

    @classmethod
    def count(
        cls, widths: Sequence[int], channels: int = 1, size: int = 8, n_classes: int | None = None
    ) -> int:
        """See `Baseline.count`."""
        encoder = sum(_in_block(n_in, n_out) for n_in, n_out in pairwise((channels, *widths)))
        decoder = sum(
            (wide + 1) * narrow + _in_block(2 * narrow, narrow) for narrow, wide in pairwise(widths)
        )
        return encoder + decoder + (widths[0] + 1) * channels

    def pixels(self, p: Tensor, y: Tensor | None) -> Tensor:
        """See `Baseline.pixels`."""
        h = p if y is None or self.n_classes is None else p + label_mask(y, self.n_classes, p)
        skips = []
        for level, block in enumerate(self.encoder):
            h = block(h if level == 0 else self.pool(h))
            skips.append(h)
        h = skips.pop()
        for block in self.decoder:
            h = block(h, skips.pop())
        return self.head(h)


def _in_block(n_in: int, n_out: int) -> int:
    """The parameters of two 3x3 convolutions and two batch normalisations."""
    return (9 * n_in + 1) * n_out + (9 * n_out + 1) * n_out + 4 * n_out
