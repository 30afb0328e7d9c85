r"""A convolutional autoencoder of few latents.

    E:  two 3x3 convolutions of stride 2, a linear map to d numbers, normalisation over the batch
    D:  two linear maps, two transposed 4x4 convolutions of stride 2, a 3x3 convolution, tanh

In training D receives z + s n, n ~ N(0, I). The normalisation gives every latent the mean 0 and the
variance 1, so that it carries at most log(1 + 1 / s^2) / 2 nats: s takes the place of the weight of
the KL term of a variational autoencoder with a constant posterior variance.
"""

from collections.abc import Mapping
from typing import Any, Self, get_type_hints

import torch
from torch import Tensor, nn

from hqdm.nn.network import check_images, register_network
from hqdm.utils.checks import check_types, finite, whole
from hqdm.utils.errors import HQDMError

HIDDEN = 256  # between the linear maps of the decoder


@register_network
class ConvAutoencoder(nn.Module):
    """A convolutional autoencoder, see the module.

    Args:
        channels: Image channels C.
        size: Height and width of the images, 4 or more.
        dim: The number d of latents.
        width: Channels of the first convolution; the second one has twice as many.
        noise: The standard deviation s of the noise of the latents in training, 0 or more.
        n_classes: Number of class labels, or None. The network ignores labels; with them, `hqdm
            carleman fit` fits the latents of each class.

    Raises:
        HQDMError: If an option is out of range.
    """

    def __init__(
        self,
        channels: int = 1,
        size: int = 28,
        dim: int = 12,
        width: int = 16,
        noise: float = 0.1,
        n_classes: int | None = None,
    ) -> None:
        super().__init__()
        given = {"channels": channels, "size": size, "dim": dim, "width": width, "noise": noise}
        check_types(given, get_type_hints(ConvAutoencoder.__init__), "network.")
        for name, value, least in (
            ("channels", channels, 1),
            ("size", size, 4),
            ("dim", dim, 2),
            ("width", width, 1),
        ):
            whole(f"network.{name}", value, least)
        if finite("network.noise", noise) < 0:
            raise HQDMError(f"network.noise needs a number from 0, got {noise}")
        if n_classes is not None:
            whole("network.n_classes", n_classes, 1)
        self.channels, self.size, self.dim = channels, size, dim
        self.width, self.noise = width, noise
        self.n_classes = n_classes
        small = -(-size // 4)
        self.encoder = nn.Sequential(
            nn.Conv2d(channels, width, 3, 2, 1),
            nn.SiLU(),
            nn.Conv2d(width, 2 * width, 3, 2, 1),
            nn.SiLU(),
            nn.Flatten(),
            nn.Linear(2 * width * small**2, dim),
            nn.BatchNorm1d(dim, affine=False),
        )
        self.decoder = nn.Sequential(
            nn.Linear(dim, HIDDEN),
            nn.SiLU(),
            nn.Linear(HIDDEN, 2 * width * small**2),
            nn.SiLU(),
            nn.Unflatten(1, (2 * width, small, small)),
            nn.ConvTranspose2d(2 * width, 2 * width, 4, 2, 1),
            nn.SiLU(),
            nn.ConvTranspose2d(2 * width, width, 4, 2, 1),
            nn.SiLU(),
            nn.Conv2d(width, channels, 3, padding=1),
            nn.Tanh(),
        )

    @property
    def config(self) -> dict[str, Any]:
        """See `hqdm.nn.network.Network`."""
        names = ("channels", "size", "dim", "width", "noise")
        labels = {} if self.n_classes is None else {"n_classes": self.n_classes}
        return {**{name: getattr(self, name) for name in names}, **labels}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """See `hqdm.nn.network.Network`."""
        return cls(**config)

    @property
    def sample_shape(self) -> tuple[int, int, int]:
        """The shape of an image, `(C, H, W)`."""
        return self.channels, self.size, self.size

    @property
    def parts(self) -> Mapping[str, nn.Module]:
        """The encoder and the decoder."""
        return {"encoder": self.encoder, "decoder": self.decoder}

    def encode(self, x: Tensor) -> Tensor:
        """The latents `(B, d)` of images `(B, C, H, W)`.

        Raises:
            HQDMError: If the images have another shape than the network was built for.
        """
        check_images(x, self.sample_shape)
        latents: Tensor = self.encoder(x)
        return latents

    def decode(self, z: Tensor) -> Tensor:
        """The images `(B, C, H, W)` in [-1, 1] of latents `(B, d)`."""
        images: Tensor = self.decoder(z)
        return images[..., : self.size, : self.size]

    def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        """Reconstruct images from their latents, in training with noise.

        Args:
            x: Images `(B, C, H, W)`.
            t: Times, which are not used.
            y: Labels, which are not used.
        """
        z = self.encode(x)
        if self.training and self.noise:
            z = z + self.noise * torch.randn_like(z)
        return self.decode(z)
