"""Autoencoders, in whose latents a diffusion can run; importing the room registers them."""

from hqdm.nn.autoencoders.autoencoder import Autoencoder
from hqdm.nn.autoencoders.convolutional import ConvAutoencoder

__all__ = ["Autoencoder", "ConvAutoencoder"]
