"""Baselines as networks: numbers of parameters, the match, labels, and what is refused."""

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn

from hqdm.nn.baselines import DeepConv, FullyConnected, SmallUNet, matched
from hqdm.nn.network import NETWORKS, build_network, check_network, network_config
from hqdm.utils.errors import HQDMError

KINDS = (FullyConnected, DeepConv, SmallUNet)
CHANNELS, SIZES, CLASSES = (
    st.sampled_from([1, 3]),
    st.integers(4, 12),
    st.sampled_from([None, 2, 5]),
)


def true_count(network):
    return sum(parameter.numel() for parameter in network.parameters())


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(KINDS), st.lists(st.integers(1, 9), min_size=1, max_size=3), CHANNELS, SIZES)
def test_the_count_is_that_of_the_module(kind, widths, channels, size):
    for n_classes in (None, 3):
        network = kind(channels, size, widths, n_classes)
        assert kind.count(widths, channels, size, n_classes) == true_count(network)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(KINDS), st.integers(1, 6000), CHANNELS, SIZES, CLASSES)
@example(FullyConnected, 1, 1, 8, None)
@example(DeepConv, 987, 1, 8, None)
def test_the_match_is_the_nearest_candidate(kind, parameters, channels, size, n_classes):
    """Among all candidates up to the first one with more than twice the parameters."""
    counts, k = {}, 0
    while not counts or counts[k] <= 2 * parameters + 1:
        k += 1
        counts[k] = kind.count(kind.candidate(k), channels, size, n_classes)
    values = list(counts.values())
    assert values == sorted(set(values))  # so that bisection finds the nearest one
    nearest = min(counts, key=lambda k: (abs(counts[k] - parameters), counts[k]))
    config = matched(kind.__name__, parameters, channels, size, n_classes)
    assert config.pop("widths") == list(kind.candidate(nearest))
    labels = {} if n_classes is None else {"n_classes": n_classes}
    assert config == {"name": kind.__name__, "channels": channels, "size": size, **labels}


@pytest.mark.parametrize(
    ("kind", "parameters", "n_classes", "found"),
    [
        (FullyConnected, 987, 2, 974),  # 65-7-64, the next is 1,104
        (FullyConnected, 3993, None, 3934),  # 64-30-64, the next is 4,063
        (DeepConv, 987, None, 1001),  # (1, 9, 10, 1)
        (DeepConv, 1001, None, 1001),
        (SmallUNet, 987, None, 934),  # (3, 6)
        (SmallUNet, 3993, None, 3814),  # (6, 13)
    ],
)
def test_matches_of_the_circuits(kind, parameters, n_classes, found):
    network = build_network(matched(kind.__name__, parameters, n_classes=n_classes))
    assert true_count(network) == found
    again = build_network({"name": kind.__name__, "parameters": parameters, "n_classes": n_classes})
    assert network_config(again) == network_config(network)


def test_a_tie_takes_the_smaller():
    low, high = (FullyConnected.count((width,), 1, 1) for width in (3, 4))
    assert high - low == 3  # an odd difference has no middle
    low, high = (FullyConnected.count((width,), 1, 1, 2) for width in (3, 4))
    assert FullyConnected.matching((low + high) // 2, 1, 1, 2) == (3,)


@pytest.mark.parametrize("kind", KINDS)
def test_they_are_networks(kind):
    network = kind(channels=3, size=6, n_classes=4)
    check_network(network)
    assert NETWORKS[kind.__name__] is kind
    rebuilt = build_network(network_config(network))
    assert [p.shape for p in rebuilt.parameters()] == [p.shape for p in network.parameters()]
    inside = {id(p) for part in network.parts.values() for p in part.parameters()}
    assert inside == {id(p) for p in network.parameters()}
    x, t = torch.randn(5, 3, 6, 6), torch.rand(5)
    assert network(x, t, torch.arange(5)).shape == x.shape


@pytest.mark.parametrize("kind", KINDS)
def test_labels_and_no_label(kind):
    """The label after the last one is that of no labels; other labels give other images."""
    network = kind(n_classes=3).double().eval()
    x, t = torch.randn(2, 1, 8, 8, dtype=torch.float64), torch.ones(2)
    none = network(x, t)
    assert torch.equal(network(x, t, torch.full((2,), 3)), none)
    found = [none, *(network(x, t, torch.full((2,), label)) for label in range(3))]
    for i, one in enumerate(found):
        for other in found[:i]:
            assert (one - other).abs().max() > 1e-6
    mixed = network(x, t, torch.tensor([3, 1]))
    assert torch.allclose(mixed, torch.stack([none[0], found[2][1]]), atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_every_weight_is_alive(kind):
    network = kind(n_classes=2).double()
    x, y = torch.randn(16, 1, 8, 8, dtype=torch.float64), torch.arange(16) % 2
    network(x, torch.ones(16), y).pow(3).sum().backward()
    before_norm = {
        id(a.bias)
        for block in network.modules()
        if isinstance(block, nn.Sequential)
        for a, b in zip(block, list(block)[1:], strict=False)
        if isinstance(b, nn.BatchNorm2d) and isinstance(a, nn.Conv2d)
    }
    for name, parameter in network.named_parameters():
        if id(parameter) not in before_norm:  # a bias that the normalisation removes
            assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"widths": [3], "parameters": 9}, "widths and parameters are both given"),
        ({"widths": []}, "widths needs one number or more"),
        ({"widths": [3, 0]}, "widths needs a whole number from 1, got 0"),
        ({"widths": 3}, "network.widths: expected a list of whole numbers or null, got 3"),
        ({"parameters": 0}, "parameters needs a whole number from 1, got 0"),
        ({"parameters": 1.5}, "parameters needs a whole number from 1, got 1.5"),
        ({"channels": 0}, "channels needs a whole number from 1"),
        ({"n_classes": 0}, "n_classes needs a whole number from 1"),
        ({"width": 3}, "unexpected keyword argument 'width'"),
    ],
)
def test_options_that_are_refused(options, said):
    with pytest.raises(HQDMError, match=said):
        build_network({"name": "FullyConnected", **options})


def test_inputs_that_are_refused():
    network = DeepConv()
    with pytest.raises(HQDMError, match=r"images of shape \(B, 1, 8, 8\), got \(2, 1, 8, 9\)"):
        network(torch.zeros(2, 1, 8, 9), torch.ones(2))
    with pytest.raises(HQDMError, match="no class labels"):
        network(torch.zeros(2, 1, 8, 8), torch.ones(2), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(HQDMError, match="unknown baseline 'UNet'"):
        matched("UNet", 1000)
