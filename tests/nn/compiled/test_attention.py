"""Linear attention in the layout of the lanes against torch."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_checks import LANES, assert_independent_of_threads, assert_is_its_reference, random

from hqdm.nn.compiled.attention import POSITIONS, Pool, Query

HEADS = {"n_heads": st.integers(1, 3), "dim": st.integers(1, 7)}


@given(**HEADS, channels=st.integers(1, 12), n=st.sampled_from([1, 5, POSITIONS, POSITIONS + 9]))
@settings(max_examples=20, deadline=None)
def test_the_pool_and_its_derivatives(n_heads, dim, channels, n):
    x, weight = random(2, channels, n, LANES), random(n_heads * dim, channels)
    assert_is_its_reference(Pool(n_heads), x, weight)


@given(
    **HEADS,
    channels=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    n=st.sampled_from([1, 5, POSITIONS, POSITIONS + 9]),
)
@settings(max_examples=20, deadline=None)
def test_the_query_and_its_derivatives(n_heads, dim, channels, n):
    features = n_heads * dim
    x, weight = random(2, channels[0], n, LANES), random(features, channels[0])
    mix, bias = random(2, channels[1], features, LANES), random(channels[1])
    assert_is_its_reference(Query(n_heads), x, weight, mix, bias)


def test_large_logits():
    """Softmaxes of logits of magnitude 1,000 neither overflow nor lose their largest term."""
    x, weight = 30 * random(1, 4, 11, LANES).detach(), 30 * random(6, 4).detach()
    for operation, further in ((Pool(2), ()), (Query(2), (random(1, 3, 6, LANES), random(3)))):
        ours = operation.forward(x, weight, *further)[0]
        assert torch.isfinite(ours).all()
        torch.testing.assert_close(ours, operation.reference(x, weight, *further))


def test_results_do_not_depend_on_the_number_of_threads():
    x, weight = random(3, 5, POSITIONS + 3, LANES), random(6, 5)
    assert_independent_of_threads(Pool(2), x, weight)
    assert_independent_of_threads(Query(2), x, weight, random(3, 4, 6, LANES), random(4))
