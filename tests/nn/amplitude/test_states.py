"""Images as amplitudes and back: a network whose linear map is known."""

import pytest
import torch

from hqdm.nn.amplitude.states import StateNetwork
from hqdm.utils.errors import HQDMError


class Reversal(StateNetwork):
    """The permutation of d amplitudes in reverse order."""

    @property
    def n_wires(self):
        return self.n_qubits

    def kraus(self, y=None):
        return torch.eye(self.dim, dtype=torch.complex128).flip(0)[None]

    def queue(self, y=None):
        raise NotImplementedError


def test_pixels_and_images_are_inverse_up_to_padding():
    """27 numbers in 32 amplitudes: x = 2 p - 1, five zeros behind them."""
    network = Reversal(3, 3)
    assert (network.n_pixels, network.n_qubits, network.dim) == (27, 5, 32)
    assert not network.has_ancilla
    x = 2 * torch.rand(4, 3, 3, 3, dtype=torch.float64) - 1
    pixels = network.pixels(x)
    assert pixels.shape == (4, 32)
    assert not pixels[:, 27:].any()
    torch.testing.assert_close(pixels[:, :27], (x.flatten(1) + 1) / 2, rtol=0, atol=0)
    torch.testing.assert_close(network.images(pixels).real, x, rtol=0, atol=1e-15)


def test_one_pixel_takes_one_qubit():
    assert (Reversal(1, 1).n_qubits, Reversal(1, 1).dim) == (1, 2)


def test_half_precision_is_not_kept():
    """Pixels in bfloat16 would have two digits."""
    assert (
        Reversal(1, 2).pixels(torch.zeros(1, 1, 2, 2, dtype=torch.bfloat16)).dtype == torch.float32
    )


@pytest.mark.parametrize("shape", [(1, 1, 2, 4), (1, 2, 2, 2), (1, 4)], ids=str)
def test_images_of_other_shapes_are_refused(shape):
    with pytest.raises(HQDMError, match=r"\(B, 1, 2, 2\)"):
        Reversal(1, 2).pixels(torch.zeros(shape))


@pytest.mark.parametrize("sizes", [(0, 2), (1, 0), (1, 2.5)], ids=str)
def test_sizes_out_of_range_are_refused(sizes):
    with pytest.raises(HQDMError):
        Reversal(*sizes)
