"""Energy distance and pixel FID against closed forms, SciPy, and the definitions."""

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from hqdm.metrics import pixel_distances
from hqdm.metrics.pixel_distances import (
    energy_distance,
    gaussian_distance,
    pixel_scores,
    vectors,
)
from hqdm.utils.errors import HQDMError

# Of means of distances of up to 10 in float64.
ROUNDING = 1e-12


def drawn(n, d, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(n, d)))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 100))
def test_one_dimension_is_scipy_s_squared(n, m, seed):
    x, y = drawn(n, 1, seed), 0.3 + 2 * drawn(m, 1, seed + 1000)
    expected = scipy.stats.energy_distance(x[:, 0].numpy(), y[:, 0].numpy()) ** 2
    assert energy_distance(x, y) == pytest.approx(expected, abs=ROUNDING)


def test_pairs_one_by_one(monkeypatch):
    """In parts of one vector, too."""
    x, y = drawn(7, 5), drawn(4, 5, 1) + 1

    def mean(a, b):
        return np.mean([[np.linalg.norm(u - v) for v in b.numpy()] for u in a.numpy()])

    expected = 2 * mean(x, y) - mean(x, x) - mean(y, y)
    assert energy_distance(x, y) == pytest.approx(expected, abs=ROUNDING)
    monkeypatch.setattr(pixel_distances, "NUMBERS_AT_ONCE", 1)
    assert energy_distance(x, y) == pytest.approx(expected, abs=ROUNDING)


def test_distances_of_many_near_vectors_are_exact():
    """Pairs at 1e-6 among vectors of norm 10, of which products of vectors have the error 1e-7."""
    x = 1e-6 * drawn(60, 4) + torch.tensor([-10.0, 10.0]).repeat(30)[:, None]
    y = x.flip(0) + 1e-6

    def mean(a, b):
        return float((a[:, None] - b).square().sum(-1).sqrt().mean())

    expected = 2 * mean(x, y) - mean(x, x) - mean(y, y)
    assert expected > 1e-7
    assert energy_distance(x, y) == pytest.approx(expected, abs=ROUNDING)


def test_two_points():
    """|a - b| = 5 for all pairs, so that E = 2 * 5; of two sets {0, 1} in equal parts 0."""
    assert energy_distance(torch.zeros(3, 2), torch.tensor([[3.0, 4.0]])) == pytest.approx(10)
    ones = torch.tensor([[0.0], [1.0]])
    assert energy_distance(ones, ones.repeat(4, 1)) == pytest.approx(0, abs=1e-12)


def test_normal_distributions_of_one_dimension():
    """E = 2 E|X - Y| - 2 E|X - X'| = 2 (f(m) - 2 / sqrt(pi)), with the mean f of |N(m, 2)|.

    The standard error of the means over pairs of n = 4,000 is below 2 / sqrt(n), and the diagonal
    adds 2 / sqrt(pi) / n for each set.
    """
    m, n = 1.5, 4000
    expected = 2 * (scipy.stats.foldnorm.mean(m / 2**0.5, scale=2**0.5) - 2 / np.pi**0.5)
    found = energy_distance(drawn(n, 1), m + drawn(n, 1, 1))
    assert found == pytest.approx(expected, abs=2 / n**0.5)


def with_moments(mean, covariance, n):
    """Vectors with exactly these moments."""
    z = drawn(n, len(mean))
    z = z - z.mean(0)
    factor = torch.linalg.cholesky(z.T @ z / (n - 1))
    white = torch.linalg.solve_triangular(factor, z.T, upper=False).T
    return mean + white @ torch.linalg.cholesky(covariance).T


def test_gaussians_of_given_moments():
    """|m|^2 + sum (s_i - r_i)^2 if the covariances commute; otherwise with SciPy's matrix root."""
    mean = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    s, r = torch.tensor([1.0, 2.0, 3.0]).double(), torch.tensor([2.0, 0.5, 1.0]).double()
    x = with_moments(torch.zeros(3).double(), torch.diag(s**2), 50)
    y = with_moments(mean, torch.diag(r**2), 20)
    expected = float(mean.square().sum() + (s - r).square().sum())
    assert gaussian_distance(x, y) == pytest.approx(expected, rel=1e-10)
    mix = drawn(3, 3, 3)
    y = with_moments(mean, mix @ mix.T, 20)
    root = scipy.linalg.sqrtm((torch.diag(s**2) @ mix @ mix.T).numpy()).real
    expected = float(mean.square().sum() + s.square().sum() + mix.square().sum())
    assert gaussian_distance(x, y) == pytest.approx(expected - 2 * np.trace(root), rel=1e-10)


@pytest.mark.parametrize(("n", "m"), [(4, 6), (4, 40), (40, 5)])
def test_fewer_vectors_than_dimensions(n, m):
    """The singular covariances, from the eigenvalues of S_x^(1/2) S_y S_x^(1/2).

    Of a zero eigenvalue an error of 1e-16 leaves a root of 1e-8, 20 of them 1e-6.
    """
    x, y = drawn(n, 20), 0.5 + drawn(m, 20, 1)
    s, r = np.cov(x.T), np.cov(y.T)
    values, basis = np.linalg.eigh(s)
    half = basis * values.clip(0) ** 0.5 @ basis.T
    root = np.sqrt(np.linalg.eigvalsh(half @ r @ half).clip(0)).sum()
    means = float((x.mean(0) - y.mean(0)).square().sum())
    expected = means + np.trace(s) + np.trace(r) - 2 * root
    assert gaussian_distance(x, y) == pytest.approx(expected, abs=1e-5)


def test_equal_sets_have_distance_zero():
    x = drawn(5, 30)
    assert gaussian_distance(x, x.flip(0)) == pytest.approx(0, abs=1e-12)
    assert gaussian_distance(x, x + 2) == pytest.approx(4 * 30, rel=1e-12)


def test_pixels_are_counted_from_0_to_1():
    images = torch.tensor([-1.0, 0.0, 1.0, 7.0]).view(4, 1, 1, 1)
    assert vectors(images).flatten().tolist() == [0, 0.5, 1, 1]
    as_bytes = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1)
    assert pixel_scores(as_bytes, images[:2]) == {
        "energy_distance": pytest.approx(2 * 0.5 - 0.5 - 0.25),
        "pixel_fid": pytest.approx(0.25**2 + (0.5**0.5 - 0.125**0.5) ** 2),
    }


def test_zeros_and_ones_of_the_digits():
    """The first 80 against the other 280: between real images of different writers 0.186."""
    digits = load_digits(n_class=2)
    pixels = torch.from_numpy(digits.images / 16)[:, None]
    found = pixel_scores(2 * pixels[:80] - 1, 2 * pixels[80:] - 1)
    assert found["energy_distance"] == pytest.approx(0.186, abs=5e-4)
    noise = 2 * (0.5 + 0.2 * drawn(280, 64)).view(280, 1, 8, 8) - 1
    assert pixel_scores(noise, 2 * pixels[80:] - 1)["energy_distance"] == pytest.approx(
        2.5, abs=0.05
    )


@pytest.mark.parametrize("score", [energy_distance, gaussian_distance])
@pytest.mark.parametrize(
    ("x", "y"), [((0, 2), (3, 2)), ((3, 2), (3, 4)), ((3, 2, 1), (3, 2)), ((4,), (4,))]
)
def test_sets_that_cannot_be_compared(score, x, y):
    with pytest.raises(HQDMError, match="or more vectors in each, of one length"):
        score(torch.zeros(x), torch.zeros(y))


def test_one_vector_has_no_covariance():
    with pytest.raises(HQDMError, match="expected 2 or more"):
        gaussian_distance(torch.zeros(1, 2), torch.zeros(3, 2))
