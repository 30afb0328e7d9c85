"""Known pixels are kept to the bit, and leave the others to the sampler."""

import pytest
import torch
from gaussian_images import FIXED, IMAGE, MASK, NETWORK, SHAPE, gaussian, noisy
from marks import thinned

from hqdm.diffusion.schedule import CosineSchedule, LinearSchedule
from hqdm.guidance.replacement import Replacement
from hqdm.samplers import DDIM
from hqdm.samplers.registry import build_sampler
from hqdm.utils.errors import HQDMError


@pytest.mark.parametrize("schedule", [CosineSchedule(), LinearSchedule()], ids=["cosine", "linear"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", thinned(NETWORK, every=4))
def test_known_pixels_are_drawn_bit_for_bit(name, dtype, schedule):
    sampler = build_sampler(name, steps=4 if name in FIXED else None)
    known = Replacement(gaussian(dtype, schedule), IMAGE.to(dtype), MASK)
    drawn = sampler(known, noisy().to(dtype))
    assert torch.equal(drawn[..., MASK], IMAGE.to(dtype)[..., MASK].expand(3, -1, -1))
    assert (drawn[..., ~MASK] - IMAGE[..., ~MASK]).abs().min() > 0


def test_replacement_keeps_the_sum_and_the_other_pixels():
    x_t, t = noisy(), torch.tensor([0.2, 0.7, 1.0]).double()
    plain, known = gaussian()(x_t, t), Replacement(gaussian(), IMAGE.double(), MASK)
    x0, eps = known(x_t, t)
    assert torch.equal(x0[..., ~MASK], plain.x0[..., ~MASK])
    torch.testing.assert_close(eps[..., ~MASK], plain.eps[..., ~MASK])
    alpha, sigma = (level.view(-1, 1, 1, 1) for level in known.schedule(t))
    torch.testing.assert_close(alpha * x0 + sigma * eps, x_t)


def test_every_image_of_a_batch_may_have_its_own_known_part():
    images = noisy(3, seed=4)
    masks = torch.rand(3, 1, 5, 4) > 0.5
    drawn = DDIM(3)(Replacement(gaussian(), images, masks), noisy())
    for image, mask, x0 in zip(images, masks, drawn, strict=True):
        alone = DDIM(3)(Replacement(gaussian(), images, mask), noisy())
        expected = DDIM(3)(Replacement(gaussian(), image, mask), noisy())
        assert torch.equal(x0[mask.expand(SHAPE)], image[mask.expand(SHAPE)])
        assert not torch.equal(alone, expected)


@pytest.mark.parametrize(
    "mask", [torch.ones(4, 4), torch.ones(3, 5, 4), torch.ones(2, 2, 5, 4), torch.ones(5, 4, 1)]
)
def test_a_mask_of_another_size_is_refused(mask):
    with pytest.raises(HQDMError, match="the mask is .*, the image 2 x 5x4: use a mask of that"):
        Replacement(gaussian(), IMAGE, mask)


def test_an_image_of_another_size_is_refused():
    known = Replacement(gaussian(), IMAGE, MASK)
    with pytest.raises(HQDMError, match="known image is 2 x 5x4, the model generates 2 x 5x5: use"):
        known(torch.zeros(1, 2, 5, 5).double(), torch.tensor(0.5))
