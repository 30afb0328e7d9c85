"""The interface: what has latents, and what has none."""

from networks import Toy

from hqdm.nn.autoencoders import Autoencoder, ConvAutoencoder


def test_an_autoencoder_is_told_from_other_networks():
    assert isinstance(ConvAutoencoder(size=8), Autoencoder)
    assert not isinstance(Toy(), Autoencoder)
