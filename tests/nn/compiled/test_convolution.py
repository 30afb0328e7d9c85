"""Convolutions in the layout of the lanes against torch."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_checks import (
    LANES,
    assert_gradient_of,
    assert_independent_of_threads,
    assert_is_its_reference,
    random,
)

from hqdm.nn.compiled.convolution import Convolution

# (stride, padding, kernel, size): all kinds of the U-Net, an even image and an odd one
KINDS = [(1, 1, 3, 5), (1, 0, 1, 4), (1, 3, 7, 6), (2, 1, 4, 6), (2, 1, 7, 7)]


@pytest.mark.parametrize(("stride", "padding", "kernel", "size"), KINDS)
def test_convolutions_and_their_derivatives(stride, padding, kernel, size):
    x, weight = random(2, 5, size, size + 2, LANES), random(11, 5, kernel, kernel)
    assert_is_its_reference(Convolution(stride, padding), x, weight, random(11))


@given(
    channels=st.tuples(st.integers(1, 12), st.integers(1, 23)),
    size=st.tuples(st.integers(4, 9), st.integers(4, 9)),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.integers(1, 3),
    padding=st.integers(0, 3),
)
@settings(max_examples=25, deadline=None)
def test_any_sizes(channels, size, kernel, stride, padding):
    padding = min(padding, min(kernel) - 1)
    x, weight = random(1, channels[0], *size, LANES), random(*reversed(channels), *kernel)
    assert_is_its_reference(Convolution(stride, padding), x, weight, random(channels[1]))


@pytest.mark.parametrize("which", [0, 1, 2])
def test_the_gradient_with_respect_to_one_argument(which):
    tensors = random(1, 3, 4, 4, LANES), random(5, 3, 3, 3), random(5)
    assert_gradient_of(Convolution(1, 1), which, *tensors)


def test_results_do_not_depend_on_the_number_of_threads():
    tensors = random(3, 9, 6, 7, LANES), random(5, 9, 3, 3), random(5)
    assert_independent_of_threads(Convolution(1, 1), *tensors)
