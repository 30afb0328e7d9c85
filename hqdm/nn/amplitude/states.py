r"""Networks that act linearly on images held in the amplitudes of a state.

    p = (x + 1) / 2  in [0, 1], padded with zeros to d = 2^n amplitudes,     x' = 2 (A p)_image - 1.

An image p is the state p / |p| with its norm kept aside, so that the linear map A acts on p itself.
A is unitary, or the block of a larger unitary U for an ancilla that starts in |0> and is found in
outcome 0. With its outcome dropped, the map of states is a channel with the Kraus operators

    K_k = <k| U |0>,     rho -> sum_k K_k rho K_k^H,     sum_k K_k^H K_k = 1.

The amplitudes are complex in general; the package's images in [-1, 1] are x' with amplitudes of
imaginary part zero. Source: Koelle et al., arXiv 2401.07049, unitary single sampling.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Self, get_type_hints

import torch
from torch import Tensor, nn

from hqdm.nn.network import check_images
from hqdm.utils.checks import check_types, whole


class StateNetwork(nn.Module, ABC):
    """A network `x_t -> x_s` that is a linear map of amplitudes.

    Args:
        channels: Channels of the images.
        size: Height and width of the images.

    Attributes:
        sample_shape: `(channels, size, size)`.
        n_qubits: Number n of qubits that hold an image, 1 or more.
        n_classes: Number of class labels, or None.
        is_quantum: False if a control stands in place of the circuit: such a network has neither
            Kraus operators nor gates.

    Raises:
        HQDMError: If a size is not a whole number from 1.
    """

    n_classes: int | None = None
    is_quantum = True

    def __init__(self, channels: int, size: int) -> None:
        super().__init__()
        whole("channels", channels, 1)
        whole("size", size, 1)
        self.sample_shape = (channels, size, size)
        self.n_pixels = math.prod(self.sample_shape)
        self.n_qubits = max(1, (self.n_pixels - 1).bit_length())

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Build the network that `config` describes, with fresh weights.

        Raises:
            HQDMError: If an option has another type than its argument.
        """
        check_types(config, get_type_hints(cls.__init__), "network.")
        return cls(**config)

    @property
    def dim(self) -> int:
        """Number d = 2^n of amplitudes."""
        return 2**self.n_qubits

    @property
    @abstractmethod
    def n_wires(self) -> int:
        """Number of qubits of the circuit: those of the image, then the ancilla if there is one."""

    @property
    def has_ancilla(self) -> bool:
        """True if the circuit has an ancilla, its last wire."""
        return self.n_wires > self.n_qubits

    @abstractmethod
    def kraus(self, y: int | None = None) -> Tensor:
        """The Kraus operators of one step, differentiable in the parameters.

        Args:
            y: The class label, or None.

        Returns:
            `(K, d, d)`, complex, with K = 1 without an ancilla and K = 2 with one; the first
            belongs to outcome 0.
        """

    @abstractmethod
    def queue(self, y: int | None = None) -> None:
        """Queue the PennyLane gates of one step on the wires `0..n_wires-1`, in float64.

        Args:
            y: The class label, or None.
        """

    def pixels(self, x: Tensor) -> Tensor:
        """Images `(B, C, H, W)` in [-1, 1] as vectors of pixels in [0, 1], padded, `(B, d)`.

        They are in float32 at least, also for images in half precision.

        Raises:
            HQDMError: If the images have another shape than the network was built for.
        """
        check_images(x, self.sample_shape)
        pixels = (x.flatten(1).to(torch.promote_types(x.dtype, torch.float32)) + 1) / 2
        return nn.functional.pad(pixels, (0, self.dim - self.n_pixels))

    def images(self, amplitudes: Tensor) -> Tensor:
        """The inverse of `pixels`: `(B, d)`, real or complex, to `(B, C, H, W)`."""
        return (2 * amplitudes[:, : self.n_pixels] - 1).unflatten(1, self.sample_shape)


def rows_by_label(y: Tensor | None, n: int) -> list[tuple[int | None, Tensor]]:
    """The labels of n images in increasing order, each with the rows that have it, on the CPU.

    Args:
        y: Labels `(n,)`, or None, which is one group.
        n: Number of images.
    """
    if y is None:
        return [(None, torch.arange(n))]
    labels = y.cpu()
    return [(label, (labels == label).nonzero().flatten()) for label in labels.unique().tolist()]


def norms_of(vectors: Tensor) -> Tensor:
    """The Euclidean norms of vectors `(B, d)`, `(B, 1)`."""
    return torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)


def normalised(vectors: Tensor) -> Tensor:
    """Vectors `(B, d)` divided by their norms; those of zeros are left."""
    norms = norms_of(vectors)
    return vectors / torch.where(norms == 0, 1, norms)
