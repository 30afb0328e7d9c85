r"""A network of fully connected layers, "Dense" of Koelle et al. (arXiv 2401.07049).

    h_0 = (p, c),     h_(i+1) = relu(W_i h_i + b_i),     f = sigmoid(W h + b)

The label is one more input, c = y / (n_classes - 1) in [0, 1], as in the published code; "no label"
is c = -1. The published code has ReLU in place of the sigmoid.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from hqdm.nn.amplitude.masks import label_number
from hqdm.nn.baselines.baseline import Baseline
from hqdm.nn.network import register_network


@register_network
class FullyConnected(Baseline):
    """Fully connected layers of given widths; candidates of a match have one hidden layer.

    The default, 7, has 967 parameters for 8x8 images, 974 with labels.

    Args:
        channels: Image channels C.
        size: Height and width of the images.
        widths: The widths of the hidden layers.
        n_classes: Number of class labels, or None.
        parameters: The number of parameters to match, in place of `widths`.

    Raises:
        HQDMError: As `Baseline`.
    """

    default_widths = (7,)

    def build(self) -> None:
        """See `Baseline.build`."""
        n_pixels = self.channels * self.size**2
        inputs = n_pixels + (self.n_classes is not None)
        layers: list[nn.Module] = []
        for n_in, n_out in pairwise((inputs, *self.widths)):
            layers += [nn.Linear(n_in, n_out), nn.ReLU()]
        self.hidden = nn.Sequential(*layers)
        self.out = nn.Linear(self.widths[-1], n_pixels)

    @property
    def parts(self) -> Mapping[str, nn.Module]:
        """The hidden layers and the last layer."""
        return {"hidden": self.hidden, "out": self.out}

    @classmethod
    def candidate(cls, k: int) -> tuple[int, ...]:
        """One hidden layer of width k."""
        return (k,)

    @classmethod
    def count(
        cls, widths: Sequence[int], channels: int = 1, size: int = 8, n_classes: int | None = None
    ) -> int:
        """See `Baseline.count`."""
        n_pixels = channels * size**2
        inputs = n_pixels + (n_classes is not None)
        return sum((n_in + 1) * n_out for n_in, n_out in pairwise((inputs, *widths, n_pixels)))

    def pixels(self, p: Tensor, y: Tensor | None) -> Tensor:
        """See `Baseline.pixels`."""
        inputs = p.flatten(1)
        if self.n_classes is not None:
            inputs = torch.cat([inputs, label_number(y, self.n_classes, inputs)], dim=1)
        return torch.sigmoid(self.out(self.hidden(inputs))).view_as(p)
