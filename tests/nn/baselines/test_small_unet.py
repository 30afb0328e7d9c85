"""The small U-Net against layers written out, and the paper's numbers of parameters."""

import pytest
import torch
from torch.nn import functional as F

from hqdm.nn.baselines import SmallUNet
from hqdm.utils.errors import HQDMError


@pytest.mark.parametrize(
    ("widths", "count"), [((3, 6), 934), ((2, 4, 8), 1843), ((4, 8, 16), 7077)]
)
def test_the_paper_s_networks(widths, count):
    assert sum(p.numel() for p in SmallUNet(widths=widths).parameters()) == count


def written_out(network, p):
    """Three levels on pixels, from the state of the network, in evaluation mode."""
    state = network.state_dict()

    def conv(h, name, padding=1):
        return F.conv2d(h, state[f"{name}.weight"], state[f"{name}.bias"], padding=padding)

    def norm(h, name):
        mean, var, scale, shift = (
            state[f"{name}.{key}"].view(1, -1, 1, 1)
            for key in ("running_mean", "running_var", "weight", "bias")
        )
        return (h - mean) / (var + 1e-5).sqrt() * scale + shift

    def down(h, i):
        h = norm(conv(h, f"encoder.{i}.0"), f"encoder.{i}.1").relu()
        return norm(conv(h, f"encoder.{i}.3"), f"encoder.{i}.4").relu()

    def up(h, skip, i):
        rows, columns = skip.shape[2:]
        doubled = F.interpolate(h, scale_factor=2, mode="bilinear", align_corners=False)
        h = conv(doubled, f"decoder.{i}.up.1", padding=0)
        framed = h.new_zeros(*h.shape[:2], rows, columns)
        framed[..., rows - h.shape[2] :, columns - h.shape[3] :] = h
        h = torch.cat([framed, skip], 1)
        h = norm(conv(h, f"decoder.{i}.block.0").relu(), f"decoder.{i}.block.2")
        return norm(conv(h, f"decoder.{i}.block.3"), f"decoder.{i}.block.4").relu()

    fine = down(p, 0)
    middle = down(F.max_pool2d(fine, 2), 1)
    coarse = down(F.max_pool2d(middle, 2), 2)
    return conv(up(up(coarse, middle, 0), fine, 1), "head", padding=0)


@pytest.mark.parametrize("size", [8, 7])
def test_three_levels_equal_layers_written_out(size):
    network = SmallUNet(channels=3, size=size, widths=(2, 3, 5)).double()
    x = torch.randn(4, 3, size, size, dtype=torch.float64)
    with torch.no_grad():
        for _ in range(3):  # statistics of the normalisation other than 0 and 1
            network(2 * x + 1, torch.ones(4))
        network.eval()
        output = network(x, torch.ones(4))
        expected = 2 * written_out(network, (x + 1) / 2) - 1
    assert torch.allclose(output, expected, atol=1e-10)


def test_more_levels_than_the_image_has():
    SmallUNet(size=4, widths=(1, 2, 3))
    with pytest.raises(HQDMError, match="3 levels need images of 4 pixels or more"):
        SmallUNet(size=3, widths=(1, 2, 3))
