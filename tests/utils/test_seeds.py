"""Random streams derived from a seed and a purpose."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hqdm.utils.seeds import generator

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
