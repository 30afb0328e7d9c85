r"""QU-Net: a U-Net of quantum convolutions (Koelle et al., arXiv 2401.07049).

    encoder block i:    convolution, batch normalisation; max pooling in between
    decoder block i:    bilinear upsampling, 1x1 convolution, the skip connection beside it,
                        convolution, batch normalisation
    head:               classical 1x1 convolution

The paper's network has one convolution per block. The larger one of its public code has two, with
ReLU after the normalisation at the end of every block and after the first one of the encoder, and a
quantum head. (In the decoder the first ReLU of that code acts on probabilities, without effect.)

Pixels are p = (x + 1) / 2. There is no input of times: one network is applied at all of them. A
label y is a mask on the pixels, as in the public code, p + 0.1 sin(y + i / 20) in row i, which
takes no parameters.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hqdm.nn.amplitude.controls import check_amplitude_control
from hqdm.nn.amplitude.masks import label_mask
from hqdm.nn.controls import controlled
from hqdm.nn.network import (
    check_images,
    check_labels,
    check_options,
    register_network,
)
from hqdm.utils.checks import whole
from hqdm.utils.errors import HQDMError

PARTS = ("encoder", "decoder", "head")


class DecoderBlock(nn.Module):
    """Upsampling, a 1x1 convolution, and the convolutions of a block on the result and a skip.

    Args:
        reduce: The 1x1 convolution.
        block: The convolutions, for twice the channels that `reduce` returns.
    """

    def __init__(self, reduce: nn.Module, block: nn.Module) -> None:
        super().__init__()
        self.reduce = reduce
        self.block = block

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """From `(B, C_in, h, w)` and a skip `(B, C, H, W)` to `(B, C, H, W)`.

        Zeros above and on the left make up for a row or column that pooling left out.
        """
        x = self.reduce(F.interpolate(x, scale_factor=2, mode="bilinear"))
        rows, columns = (skip.shape[axis] - x.shape[axis] for axis in (2, 3))
        return self.block(torch.cat([F.pad(x, (columns, 0, rows, 0)), skip], dim=1))


@register_network
class QUNet(nn.Module):
    """A U-Net of quantum convolutions, see `hqdm.nn.amplitude.convolution`.

    It has 904 parameters with widths (3, 6, 12) and 8 layers, 934 with (2, 4, 8) and 9 layers, on
    images of one channel.

    Args:
        channels: Image channels.
        size: Height and width of the images.
        widths: Channels of the levels; between levels the size is halved and rounded down.
        n_layers: Layers of every circuit.
        convolutions: Convolutions per block: 1, or 2 with ReLU and a quantum head.
        n_classes: Number of class labels, or None. Label `n_classes` means "no label".
        control: What takes the place of the quantum convolutions, see `hqdm.nn.controls`; None for
            nothing.

    Raises:
        HQDMError: If a number is out of range, the images cannot be halved that often, or the
            control has no meaning for one of the convolutions.
    """

    def __init__(
        self,
        channels: int = 1,
        size: int = 8,
        widths: Sequence[int] = (2, 4, 8),
        n_layers: int = 8,
        convolutions: Literal[1, 2] = 1,
        n_classes: int | None = None,
        control: str | None = None,
    ) -> None:
        super().__init__()
        if control is not None:
            check_amplitude_control(control, "SmallUNet")
        self.control = control
        self.channels, self.size = whole("channels", channels, 1), whole("size", size, 1)
        self.widths = tuple(whole("widths", width, 1) for width in widths)
        self.n_layers = whole("n_layers", n_layers, 1)
        self.convolutions = whole("convolutions", convolutions, 1, 2)
        self.n_classes = None if n_classes is None else whole("n_classes", n_classes, 1)
        if not self.widths:
            raise HQDMError("widths needs one number of channels per level, got none")
        if size >> (len(self.widths) - 1) < 1:
            raise HQDMError(
                f"images of size {size} cannot be halved {len(self.widths) - 1} times: use fewer "
                "widths"
            )
        ways = list(zip((channels, *self.widths), self.widths, strict=False))
        self.encoder = nn.ModuleList(self._block(c_in, c_out, inner=True) for c_in, c_out in ways)
        self.decoder = nn.ModuleList(
            DecoderBlock(self._quantum(wide, narrow, 1), self._block(2 * narrow, narrow))
            for narrow, wide in reversed(ways[1:])
        )
        first = self.widths[0]
        self.head = (
            nn.Conv2d(first, channels, 1)
            if convolutions == 1
            else self._quantum(first, channels, 1)
        )

    def _quantum(self, c_in: int, c_out: int, kernel_size: int) -> nn.Module:
        """A quantum convolution that keeps the size, or its control."""
        from hqdm.nn.amplitude.convolution import QuantumConv2d  # imports PennyLane

        padding, n_layers = kernel_size // 2, self.n_layers
        conv = QuantumConv2d(c_in, c_out, kernel_size, padding=padding, n_layers=n_layers)
        return conv if self.control is None else controlled(conv, self.control, c_in, c_out)

    def _block(self, c_in: int, c_out: int, inner: bool = False) -> nn.Sequential:
        """The convolutions of a block.

        Args:
            c_in: Number of input channels.
            c_out: Number of output channels.
            inner: Whether ReLU is between two convolutions.
        """
        layers = [self._quantum(c_in, c_out, 3), nn.BatchNorm2d(c_out)]
        if self.convolutions == 2:
            between = [nn.ReLU()] if inner else []
            last = [self._quantum(c_out, c_out, 3), nn.BatchNorm2d(c_out), nn.ReLU()]
            layers += between + last
        return nn.Sequential(*layers)

    def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        """Predict from noisy images.

        Args:
            x: Noisy images `(B, C, H, W)`.
            t: Times, which are not used.
            y: Class labels `(B,)`; None means "no label".

        Returns:
            The prediction `(B, C, H, W)`.

        Raises:
            HQDMError: If the images have another shape than the network was built for, or labels
                are not classes of the network, one per image.
        """
        check_images(x, self.sample_shape)
        check_labels(y, len(x), self.n_classes)
        x = (x + 1) / 2
        if y is not None and self.n_classes is not None:
            x = x + label_mask(y, self.n_classes, x)
        skips: list[Tensor] = []
        for block in self.encoder:
            x = block(F.max_pool2d(x, 2) if skips else x)
            skips.append(x)
        skips.pop()
        for block in self.decoder:
            x = block(x, skips.pop())
        return 2 * self.head(x) - 1

    @property
    def sample_shape(self) -> tuple[int, int, int]:
        """The shape of one image, `(C, H, W)`."""
        return self.channels, self.size, self.size

    @property
    def parts(self) -> dict[str, nn.Module]:
        """The parts by name."""
        return {name: self.get_submodule(name) for name in PARTS}

    @property
    def config(self) -> dict[str, Any]:
        """The plain configuration from which `QUNet.from_config` rebuilds the network."""
        return {
            "channels": self.channels,
            "size": self.size,
            "widths": list(self.widths),
            "n_layers": self.n_layers,
            "convolutions": self.convolutions,
            "n_classes": self.n_classes,
            **({} if self.control is None else {"control": self.control}),
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "QUNet":
        """Build the network that `config` describes.

        Raises:
            HQDMError: If an option is unknown, out of range or not of its type.
        """
        check_options(cls, config)
        return cls(**config)
