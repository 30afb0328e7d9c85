"""Nearest training images against all distances, computed by SciPy in float64."""

import numpy as np
import pytest
import scipy.linalg
import scipy.ndimage
import scipy.spatial
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hqdm.metrics import memorisation
from hqdm.metrics.memorisation import nearest_training
from hqdm.utils.errors import HQDMError
from hqdm.utils.pixels import to_float

SEEDS = st.integers(0, 2**31)


def levels(n, seed, shape=(1, 4, 4)):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, *shape), dtype=torch.uint8, generator=generator)


@settings(deadline=None, max_examples=10)
@given(SEEDS, st.integers(1, 12), st.integers(1, 30), st.integers(1, 12), st.integers(1, 200))
def test_nearest_training_agrees_with_all_distances(seed, n, m, k, at_once):
    fake, train, test = levels(n, seed), levels(m, seed + 1), levels(k, seed + 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memorisation, "_NUMBERS_AT_ONCE", at_once)
        came = nearest_training(fake, train, test)

    def distances(x):
        flat = [images.flatten(1).double().numpy() for images in (x, train)]
        return scipy.spatial.distance.cdist(*flat) / 4  # The square root of 16 pixels.

    shortest = distances(fake).min(1)
    chosen = distances(fake)[np.arange(n), came["nearest"]]
    # Single precision on distances of tens of levels: ties may be broken either way.
    assert chosen == pytest.approx(shortest, abs=1e-3)
    held_out = distances(test).min(1)
    assert came["threshold"] == pytest.approx(np.quantile(held_out, 0.01), abs=1e-3)
    assert (came["n"], came["held_out_n"], came["expected"]) == (n, k, 0.01 * n)
    clear = np.abs(shortest - came["threshold"]) > 1e-3
    flagged = np.isin(np.arange(n), came["memorised_indices"])
    assert np.array_equal(flagged[clear], shortest[clear] < came["threshold"])
    assert came["memorised"] == len(came["memorised_indices"])
    assert came["copies"] == len(came["copy_indices"])


def test_planted_copies_are_found():
    train, test = levels(200, 0), levels(100, 1)
    fake = to_float(levels(50, 2))
    fake[7] = to_float(train[123])
    # Two grey levels off at every pixel: still a copy; 8 levels off: near, but no copy.
    fake[9] = to_float(train[45].clamp(2, 253)) + 2 / 127.5
    fake[11] = to_float(train[67].clamp(8, 247)) + 8 / 127.5
    came = nearest_training(fake, train, test)
    assert [came["nearest"][i] for i in (7, 9, 11)] == [123, 45, 67]
    assert came["copy_indices"] == [7, 9]
    assert {7, 9, 11} <= set(came["memorised_indices"])
    # The rest are strangers, as the held-out images are: 1 % of 47, give or take.
    assert came["memorised"] <= 3 + 4
    assert abs(came["median"] - came["held_out_median"]) < 0.1 * came["held_out_median"]


def test_distances_of_copies_are_exact():
    train = levels(20, 0, (3, 32, 32))
    came = nearest_training(train[:1], train, train)
    assert came["median"] == 0
    assert came["threshold"] == 0
    # Nothing is nearer than held-out images that are copies themselves.
    assert (came["memorised"], came["copies"]) == (0, 1)


def test_nearest_training_keeps_to_its_bound(monkeypatch):
    sizes = []
    addmm = torch.addmm

    def recording(*args, **kwargs):
        out = addmm(*args, **kwargs)
        sizes.append(out.numel())
        return out

    monkeypatch.setattr(torch, "addmm", recording)
    came = nearest_training(levels(500, 0), levels(50_000, 1), levels(10, 2))
    # 500 x 50,000 distances are 25 million: more than the bound of 16.8 million.
    assert len(sizes) > 2
    assert max(sizes) <= 2**24
    assert sum(sizes) == 510 * 50_000
    assert max(came["nearest"]) > 40_000


def test_nearest_training_refuses():
    x = levels(3, 0)
    with pytest.raises(HQDMError, match=r"fake \(3, 1, 4, 4\), train \(0, 1, 4, 4\)"):
        nearest_training(x, x[:0], x)
    with pytest.raises(HQDMError, match=r"test \(3, 1, 4, 2\)"):
        nearest_training(x, x, x[..., :2])
