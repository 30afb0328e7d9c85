"""Pixels as floats and as uint8: exact both ways, clamped, rounded to the nearest."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hqdm.utils.pixels import to_float, to_uint8


def test_round_trip_of_every_grey_level_is_exact():
    levels = torch.arange(256, dtype=torch.uint8)
    x = to_float(levels)
    assert x.dtype == torch.float32
    # The definition in float64; float32 rounds twice, by half an ulp of at most 1 each.
    expected = levels.double() / 127.5 - 1
    assert torch.allclose(x.double(), expected, atol=2**-23, rtol=0)
    assert (x[0], x[-1]) == (-1, 1)
    assert torch.equal(to_uint8(x), levels)
    assert torch.equal(to_uint8(x.double()), levels)


@settings(deadline=None, max_examples=50)
@given(hnp.arrays(np.float32, (7,), elements=st.floats(-3, 3, width=32)))
def test_to_uint8_clamps_and_rounds_to_the_nearest_level(x):
    y = to_uint8(torch.from_numpy(x)).double()
    exact = (torch.from_numpy(x).double().clamp(-1, 1) + 1) * 127.5
    # Half a level, and what float32 loses on numbers up to 255.
    assert (y - exact).abs().max() <= 0.5 + 255 * 2**-23


def test_pixels_in_half_precision_are_converted_in_float32():
    """Every grey level survives float16, whose spacing below 1 is at most 2^-11."""
    levels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_uint8(to_float(levels).half()), levels)
    x = torch.linspace(-1, 1, 1001).bfloat16()
    assert torch.equal(to_uint8(x), to_uint8(x.float()))
