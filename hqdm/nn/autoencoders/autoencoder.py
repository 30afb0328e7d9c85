r"""The interface of an autoencoder: latents of images, and images from latents.

    z = E(x) in R^d,        x ~ D(z)

An autoencoder is a `hqdm.nn.network.Network` whose output D(E(x)) has the objective
`reconstruction`. Its latents and the images from them are deterministic outside of training.
"""

from typing import Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class Autoencoder(Protocol):
    """A network with latents.

    Attributes:
        dim: The number d of latents.
    """

    dim: int

    def encode(self, x: Tensor) -> Tensor:
        """The latents `(B, d)` of images `(B, C, H, W)`."""
        ...

    def decode(self, z: Tensor) -> Tensor:
        """The images `(B, C, H, W)` of latents `(B, d)`."""
        ...
