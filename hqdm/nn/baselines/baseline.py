r"""Classical networks with a given number of parameters (Koelle et al., arXiv 2401.07049).

    p = (x + 1) / 2,     network(x, t, y) = 2 f(p, y) - 1

As the amplitude-embedded denoisers they act on pixels p in [0, 1] and have no input for the time.
A kind of network has a sequence of widths w_1, w_2, ... with increasing numbers of parameters
n(w_1) < n(w_2) < ...; the network that matches a number n has the widths

    argmin_k |n(w_k) - n|,     of two equally near ones the smaller.
"""

from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self, get_type_hints

from torch import Tensor, nn

from hqdm.nn.network import NETWORKS, check_images, check_labels
from hqdm.utils.checks import check_types, whole
from hqdm.utils.errors import HQDMError, unknown


class Baseline(nn.Module, ABC):
    """A classical network on images, of hidden widths.

    Args:
        channels: Image channels C.
        size: Height and width of the images.
        widths: The hidden widths; None takes `default_widths`, or those that match `parameters`.
        n_classes: Number of class labels, or None. Label `n_classes` means "no label".
        parameters: The number of parameters to match, see `matched`; excludes `widths`.

    Raises:
        HQDMError: If a number is not a whole number from 1, `widths` is empty, or both `widths` and
            `parameters` are given.
    """

    default_widths: ClassVar[tuple[int, ...]]

    def __init__(
        self,
        channels: int = 1,
        size: int = 8,
        widths: Sequence[int] | None = None,
        n_classes: int | None = None,
        parameters: int | None = None,
    ) -> None:
        super().__init__()
        given = {"channels": channels, "size": size, "widths": widths, "n_classes": n_classes}
        check_types(given, get_type_hints(Baseline.__init__), "network.")
        whole("channels", channels, 1)
        whole("size", size, 1)
        if n_classes is not None:
            whole("n_classes", n_classes, 1)
        if parameters is not None:
            if widths is not None:
                raise HQDMError("widths and parameters are both given: leave one of them out")
            widths = self.matching(parameters, channels, size, n_classes)
        self.widths = tuple(self.default_widths if widths is None else widths)
        for width in self.widths:
            whole("widths", width, 1)
        if not self.widths:
            raise HQDMError("widths needs one number or more, got []")
        self.channels, self.size, self.n_classes = channels, size, n_classes
        self.build()

    @abstractmethod
    def build(self) -> None:
        """Make the layers, from the sizes that the constructor has set."""

    @classmethod
    @abstractmethod
    def candidate(cls, k: int) -> tuple[int, ...]:
        """The widths w_k of a match, for k = 1, 2, ..."""

    @classmethod
    @abstractmethod
    def count(
        cls, widths: Sequence[int], channels: int = 1, size: int = 8, n_classes: int | None = None
    ) -> int:
        """The number of parameters of a network."""

    @classmethod
    def matching(
        cls, parameters: int, channels: int = 1, size: int = 8, n_classes: int | None = None
    ) -> tuple[int, ...]:
        """The widths of the candidate whose number of parameters is nearest to a given one.

        Args:
            parameters: The number of parameters to match.
            channels: Image channels.
            size: Height and width of the images.
            n_classes: Number of class labels, or None.

        Raises:
            HQDMError: If the number is not a whole number from 1.
        """
        whole("parameters", parameters, 1)

        def number(k: int) -> int:
            return cls.count(cls.candidate(k), channels, size, n_classes)

        end = 1
        while number(end) < parameters:
            end *= 2
        above = bisect_left(range(1, end), parameters, key=number) + 1
        nearest = min(max(1, above - 1), above, key=lambda k: abs(number(k) - parameters))
        return cls.candidate(nearest)

    @property
    def config(self) -> dict[str, Any]:
        """See `hqdm.nn.network.Network`."""
        labels = {} if self.n_classes is None else {"n_classes": self.n_classes}
        shape = {"channels": self.channels, "size": self.size}
        return {**shape, "widths": list(self.widths), **labels}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """See `hqdm.nn.network.Network`."""
        return cls(**config)

    @property
    def sample_shape(self) -> tuple[int, int, int]:
        """The shape of an image, `(C, H, W)`."""
        return self.channels, self.size, self.size

    @property
    @abstractmethod
    def parts(self) -> Mapping[str, nn.Module]:
        """See `hqdm.nn.network.Network`."""

    @abstractmethod
    def pixels(self, p: Tensor, y: Tensor | None) -> Tensor:
        """The output f(p, y) of pixels p in [0, 1], `(B, C, H, W)`, and labels `(B,)` or None."""

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
        return 2 * self.pixels((x + 1) / 2, y) - 1


def matched(
    kind: str,
    parameters: int,
    channels: int = 1,
    size: int = 8,
    n_classes: int | None = None,
) -> dict[str, Any]:
    """The configuration of the network of a kind that matches a number of parameters.

    The rule is that of the head of this module. `network: {name: KIND, options: {parameters: N}}`
    in a configuration builds the same network.

    Args:
        kind: The name of a `Baseline`.
        parameters: The number of parameters to match.
        channels: Image channels.
        size: Height and width of the images.
        n_classes: Number of class labels, or None.

    Returns:
        The configuration for `hqdm.nn.network.build_network`.

    Raises:
        HQDMError: If there is no such baseline, or a number is not a whole number from 1.
    """
    kinds = {name: cls for name, cls in NETWORKS.items() if issubclass(cls, Baseline)}
    if kind not in kinds:
        raise unknown("baseline", kind, kinds)
    return {"name": kind, **kinds[kind](channels, size, None, n_classes, parameters).config}
