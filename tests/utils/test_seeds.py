"""Random streams keyed by what they are for, and noise that belongs to each image."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hqdm.utils.errors import HQDMError
from hqdm.utils.seeds import ImageNoise, ReplayedNoise, generator

keys = st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=3)


def draw(*key):
    return torch.rand(4, generator=generator(*key))


@settings(deadline=None, max_examples=50)
@given(keys)
def test_key_decides_the_stream(key):
    torch.manual_seed(1)
    assert torch.equal(draw(*key), draw(*key))


@settings(deadline=None, max_examples=50)
@given(keys, st.integers(0, 2))
def test_neighbouring_keys_are_unrelated(key, place):
    other = list(key)
    other[place % len(key)] += 1
    assert not torch.equal(draw(*key), draw(*other))


def test_streams_leave_the_global_one_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    draw(1, 2)
    assert torch.equal(torch.get_rng_state(), before)


def test_seeds_and_images_have_streams_of_their_own():
    a, b = ImageNoise(0, 3).draw((4,)), ImageNoise(1, 3).draw((4,))
    assert len({tuple(row.tolist()) for row in torch.cat([a, b])}) == 6
    assert torch.equal(ImageNoise(0, 3).draw((4,)), a)


def test_noise_of_an_image_depends_on_its_index_alone():
    whole, part = ImageNoise(4, 6), ImageNoise(4, 2, first=3)
    for _ in range(2):  # the second draw goes on where the first stopped
        assert torch.equal(part.draw((2, 3)), whole.draw((2, 3))[3:5])
    like = torch.empty(2, 1, 3, 3, dtype=torch.float64)
    drawn = ImageNoise(4, 2).draw_like(like)
    assert drawn.dtype == torch.float64
    assert torch.equal(drawn, ImageNoise(4, 2).draw((1, 3, 3)).double())
    assert ImageNoise(4, 0).draw_like(like[:0]).shape == (0, 1, 3, 3)


def test_replayed_noise_is_the_same_from_the_last_draw_to_the_first():
    noise, again = ImageNoise(4, 2, first=3), ImageNoise(4, 2, first=3)
    like = torch.empty(2, 1, 3, 3, dtype=torch.float64)
    again.draw((5,))  # what comes before is not replayed
    noise.draw((5,))
    forward = [noise.draw_like(like) for _ in range(3)]
    replayed = ReplayedNoise(again, (1, 3, 3), 3)
    for expected in reversed(forward):
        found = replayed.draw_like(like)
        assert found.dtype == torch.float64
        assert torch.equal(found, expected)


def test_replayed_noise_that_does_not_fit_is_refused_before_it_is_drawn():
    with pytest.raises(HQDMError, match="the noise of 1000000 steps.*: encode fewer images"):
        ReplayedNoise(ImageNoise(0, 100), (3, 512, 512), 10**6)
