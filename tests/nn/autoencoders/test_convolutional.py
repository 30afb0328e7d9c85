"""The convolutional autoencoder: shapes, normalised latents, noise in training only."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hqdm.diffusion.denoiser import Denoiser
from hqdm.diffusion.schedule import CosineSchedule
from hqdm.nn.autoencoders import ConvAutoencoder
from hqdm.nn.network import build_network, network_config
from hqdm.utils.errors import HQDMError


@given(size=st.integers(4, 13), channels=st.integers(1, 3), dim=st.integers(2, 5))
def test_images_of_any_size_come_back_in_it(size, channels, dim):
    network = ConvAutoencoder(channels, size, dim, width=2).eval()
    x = torch.rand(3, channels, size, size)
    assert network.encode(x).shape == (3, dim)
    assert network(x, torch.zeros(3)).shape == x.shape


def test_latents_have_mean_0_and_variance_1_over_a_batch_in_training():
    torch.manual_seed(0)
    network = ConvAutoencoder(size=8, dim=3).double()
    x = torch.randn(400, 1, 8, 8, dtype=torch.float64)
    before = network.encoder[:-1](x).var(0, correction=0)
    z = network.encode(x)
    torch.testing.assert_close(z.mean(0), torch.zeros(3).double(), atol=1e-12, rtol=0)
    # the normalisation adds 1e-5 to the variance that it divides by
    expected = before / (before + 1e-5)
    torch.testing.assert_close(z.var(0, correction=0), expected, atol=1e-12, rtol=0)
    assert expected.min() > 0.9


def test_noise_is_added_to_latents_in_training_only():
    """The decoder is the identity here, so that the output is the latents with noise."""
    torch.manual_seed(0)
    network = ConvAutoencoder(size=8, dim=64, noise=0.3)
    network.encoder = network.decoder = torch.nn.Flatten()
    x, t = torch.zeros(2000, 1, 8, 8), torch.zeros(2000)
    network.decoder = torch.nn.Unflatten(1, (1, 8, 8))
    noise = network.train()(x, t)
    # 128,000 normal numbers: the standard error of the deviation is 0.3 / sqrt(256,000) = 6e-4
    assert noise.std().item() == pytest.approx(0.3, abs=3e-3)
    assert (network.eval()(x, t) == 0).all()


def test_it_is_rebuilt_from_its_configuration():
    network = ConvAutoencoder(size=8, dim=3, width=4, noise=0.2, n_classes=10)
    again = build_network(network_config(network))
    again.load_state_dict(network.state_dict())
    x = torch.rand(2, 1, 8, 8)
    assert (again.eval().encode(x) == network.eval().encode(x)).all()
    assert (again.noise, again.n_classes) == (0.2, 10)
    assert "n_classes" not in ConvAutoencoder(size=8).config
    assert set(network.parts) == {"encoder", "decoder"}


@pytest.mark.slow
def test_training_on_few_images_reconstructs_them():
    """The loss falls far below the variance of the images, which a constant would leave."""
    torch.manual_seed(0)
    x = torch.rand(16, 1, 8, 8) * 2 - 1
    denoiser = Denoiser(
        ConvAutoencoder(size=8, dim=8, noise=0.0), CosineSchedule(), "reconstruction"
    )
    optimizer = torch.optim.Adam(denoiser.parameters(), 5e-3)
    for _ in range(150):
        optimizer.zero_grad()
        loss = denoiser.loss(x)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1 * x.var().item()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"size": 3}, r"network\.size needs a whole number from 4, got 3"),
        ({"dim": 1}, r"network\.dim needs a whole number from 2, got 1"),
        ({"width": 0}, r"network\.width needs a whole number from 1, got 0"),
        ({"noise": -0.1}, r"network\.noise needs a number from 0, got -0\.1"),
        ({"noise": float("nan")}, r"network\.noise"),
        ({"n_classes": 0}, "n_classes needs a whole number from 1"),
    ],
)
def test_options_out_of_range_are_refused(options, said):
    with pytest.raises(HQDMError, match=said):
        ConvAutoencoder(**options)


def test_images_of_another_size_are_refused():
    with pytest.raises(HQDMError, match="needs images of shape"):
        ConvAutoencoder(size=8).encode(torch.zeros(1, 1, 9, 9))
