"""Normalisations in the layout of the lanes against torch."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_checks import LANES, assert_independent_of_threads, assert_is_its_reference, random

from hqdm.nn.compiled.layout import from_lanes, to_lanes
from hqdm.nn.compiled.normalization import (
    ChannelNormalization,
    NormSiLU,
    channel_norm_of,
    norm_silu_of,
)

SIZES = {"n_groups": st.integers(1, 4), "size": st.tuples(st.integers(1, 4), st.integers(1, 5))}


@given(**SIZES, per_group=st.integers(1, 4))
@settings(max_examples=20, deadline=None)
def test_group_normalisation(n_groups, per_group, size):
    channels = n_groups * per_group
    factors = random(2, channels, LANES), random(2, channels, LANES, seed=1)
    assert_is_its_reference(NormSiLU(n_groups, 1e-5), random(2, channels, *size, LANES), *factors)


@given(channels=st.integers(1, 9), size=SIZES["size"])
@settings(max_examples=20, deadline=None)
def test_channel_normalisation(channels, size):
    x = random(2, channels, *size, LANES)
    assert_is_its_reference(ChannelNormalization(1e-5), x, random(channels))


def test_they_are_those_of_torch():
    x, gain, bias = random(LANES, 6, 4, 4), random(6), random(6, seed=1)
    norm = torch.nn.functional.group_norm(x, 3, gain, bias, eps=1e-3)
    factors = (f[:, None].expand(1, 6, LANES) for f in (gain, bias))
    ours = from_lanes(norm_silu_of(to_lanes(x), *factors, 3, 1e-3), LANES)
    torch.testing.assert_close(ours, torch.nn.functional.silu(norm))
    norm = torch.nn.functional.layer_norm(x.movedim(1, -1), [6], gain, eps=1e-3).movedim(-1, 1)
    torch.testing.assert_close(from_lanes(channel_norm_of(to_lanes(x), gain, 1e-3), LANES), norm)


def test_a_large_mean_does_not_cancel():
    """The variance is that of the deviations, not a difference of two large numbers."""
    x = 1e8 + random(1, 4, 3, 3, LANES).detach()
    one = torch.ones(1, 4, LANES, dtype=x.dtype)
    ours = norm_silu_of(x, one, 0 * one, 2, 1e-5)
    torch.testing.assert_close(
        ours, NormSiLU(2, 1e-5).reference(x, one, 0 * one), rtol=0, atol=1e-7
    )


def test_results_do_not_depend_on_the_number_of_threads():
    x, gain = random(3, 6, 3, 3, LANES), random(3, 6, LANES)
    assert_independent_of_threads(NormSiLU(2, 1e-5), x, gain, random(3, 6, LANES, seed=1))
    assert_independent_of_threads(ChannelNormalization(1e-5), x, random(6))
