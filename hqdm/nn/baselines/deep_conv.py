r"""A chain of 3x3 convolutions, "DCN" of Koelle et al. (arXiv 2401.07049).

    h_0 = p + mask(y),     h_(i+1) = relu(conv_i(h_i)),     f = sigmoid(conv(h))

The paper writes (1, 10, 10, 1) for `widths=(10, 10)` of grey images. The published code has a ReLU
before the sigmoid, so that no output is below 1/2.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from hqdm.nn.amplitude.masks import label_mask
from hqdm.nn.baselines.baseline import Baseline
from hqdm.nn.network import register_network


@register_network
class DeepConv(Baseline):
    """3x3 convolutions of given widths; candidates of a match have two hidden layers.

    The widths of a candidate are equal, or the second is larger by one. The default, (10, 10), has
    1,101 parameters for grey images of any size.

    Args:
        channels: Image channels C.
        size: Height and width of the images.
        widths: The channels of the hidden layers.
        n_classes: Number of class labels, or None; a label adds `label_mask` to the pixels.
        parameters: The number of parameters to match, in place of `widths`.

    Raises:
        HQDMError: As `Baseline`.
    """

    default_widths = (10, 10)

    def build(self) -> None:
        """See `Baseline.build`."""
        layers: list[nn.Module] = []
        for n_in, n_out in pairwise((self.channels, *self.widths)):
            layers += [nn.Conv2d(n_in, n_out, 3, padding=1), nn.ReLU()]
        self.hidden = nn.Sequential(*layers)
        self.out = nn.Conv2d(self.widths[-1], self.channels, 3, padding=1)

    @property
    def parts(self) -> Mapping[str, nn.Module]:
        """The hidden layers and the last layer."""
        return {"hidden": self.hidden, "out": self.out}

    @classmethod
    def candidate(cls, k: int) -> tuple[int, ...]:
        """Two hidden layers with k + 1 channels together."""
        return (k + 1) // 2, (k + 2) // 2

    @classmethod
    def count(
        cls, widths: Sequence[int], channels: int = 1, size: int = 8, n_classes: int | None = None
    ) -> int:
        """See `Baseline.count`."""
        return sum(
            (9 * n_in + 1) * n_out for n_in, n_out in pairwise((channels, *widths, channels))
        )

    def pixels(self, p: Tensor, y: Tensor | None) -> Tensor:
        """See `Baseline.pixels`."""
        if y is not None and self.n_classes is not None:
            p = p + label_mask(y, self.n_classes, p)
        return torch.sigmoid(self.out(self.hidden(p)))
