r"""The polynomial approximation of the noise prediction of a diffusion model.

In half log signal-to-noise ratio lambda the probability-flow ODE of a variance-preserving process
x = alpha x_0 + sigma eps, alpha^2 = sigmoid(2 lambda), is

    dx/dlambda = sigma^2 x - sigma eps(x, lambda),        eps(x, lambda) = E(lambda) m_p(x),

with m_p(x) the monomials up to degree p. E is fitted at nodes in lambda by ridge regression of
noise on the monomials of noised samples,

    min_E  mean |eps - E m_p(x)|^2 + ridge |E T^{-1}|^2,

in the normalised Hermite polynomials T m_p, orthonormal under x ~ N(0, I), and interpolated by a
cubic spline. DPM-Solver-k approximates E by its Taylor polynomials in lambda, UniPC by its
interpolation polynomials through earlier times (finite differences).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import factorial

import numpy as np
from scipy.interpolate import BarycentricInterpolator, CubicSpline
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from scipy.special import expit

from hqdm.carleman.drift import Coefficients
from hqdm.carleman.magnus import Vector
from hqdm.carleman.monomials import Monomials, orthonormal_hermite
from hqdm.utils.checks import finite
from hqdm.utils.errors import HQDMError, unknown
from hqdm.utils.memory import check_memory

DEGREES = (1, 2, 3)
EXPANSIONS = ("dpm", "unipc")
HELD_OUT = 0.2


def levels(lam: float) -> tuple[float, float]:
    """The levels alpha and sigma at lambda."""
    return float(np.sqrt(expit(2 * lam))), float(np.sqrt(expit(-2 * lam)))


@dataclass(frozen=True)
class NoisePolynomial:
    """A polynomial noise prediction, interpolated between nodes by a cubic spline.

    Args:
        nodes: Values of lambda, increasing, `(L,)`.
        values: E at the nodes, `(L, d, C(d + p, p))`.
        degree: The degree p.
    """

    nodes: Vector
    values: Vector
    degree: int

    @property
    def dim(self) -> int:
        """Number of variables."""
        return self.values.shape[1]

    @cached_property
    def _spline(self) -> CubicSpline:
        return CubicSpline(self.nodes, self.values, axis=0)

    def coefficients(self, t: float, derivative: int = 0) -> Vector:
        """E or one of its derivatives in lambda, at lambda = t.

        Raises:
            HQDMError: If t is outside the range of the nodes.
        """
        low, high = self.nodes[0], self.nodes[-1]
        slack = 1e-9 * (high - low)
        if not low - slack <= t <= high + slack:
            raise HQDMError(
                f"the noise polynomial was fitted for lambda from {low:.3g} to {high:.3g}, "
                f"got {t:.3g}: repeat the fit for a wider range"
            )
        return self._spline(np.clip(t, low, high), derivative)


@dataclass(frozen=True)
class ExpandedPolynomial:
    r"""A noise polynomial whose coefficients are a polynomial in lambda within each step.

    From edge lambda_i on it is  sum_{j < k} E^(j)(lambda_i) (lambda - lambda_i)^j / j!  ("dpm"), or
    the polynomial through the coefficients at lambda_i and the preceding k - 1 edges ("unipc"): the
    extrapolation of a solver of order k.

    Args:
        noise: The polynomial to expand.
        edges: Edges of the steps, increasing, `(M + 1,)`.
        form: "dpm" or "unipc".
        order: The order k.

    Raises:
        HQDMError: If the form is unknown or the order is not 1, 2 or 3.
    """

    noise: NoisePolynomial
    edges: Vector
    form: str
    order: int

    def __post_init__(self) -> None:
        """Check form and order."""
        if self.form not in EXPANSIONS:
            raise unknown("expansion in lambda", self.form, EXPANSIONS)
        if self.order not in DEGREES:
            raise HQDMError(f"an expansion in lambda needs order 1, 2 or 3, got {self.order}")

    @property
    def dim(self) -> int:
        """Number of variables."""
        return self.noise.dim

    @property
    def degree(self) -> int:
        """The degree p."""
        return self.noise.degree

    def coefficients(self, t: float) -> Vector:
        """See `Coefficients`."""
        i = int(np.clip(np.searchsorted(self.edges, t, side="right") - 1, 0, len(self.edges) - 2))
        if self.form == "dpm":
            start = self.edges[i]
            terms = (
                self.noise.coefficients(start, j) * (t - start) ** j / factorial(j)
                for j in range(self.order)
            )
            return np.sum(list(terms), axis=0)
        known = self.edges[max(0, i - self.order + 1) : i + 1]
        values = np.stack([self.noise.coefficients(edge) for edge in known])
        return BarycentricInterpolator(known, values)(t) if len(known) > 1 else values[0]


@dataclass(frozen=True)
class DiffusionDrift:
    """The probability-flow ODE of a polynomial noise prediction, with lambda as time.

    Args:
        noise: The noise prediction eps(x, lambda).
    """

    noise: Coefficients

    @property
    def dim(self) -> int:
        """Number of variables."""
        return self.noise.dim

    @property
    def degree(self) -> int:
        """The degree p."""
        return self.noise.degree

    def coefficients(self, t: float) -> Vector:
        """See `Coefficients`."""
        _, sigma = levels(t)
        drift = -sigma * self.noise.coefficients(t)
        drift[:, 1 : self.dim + 1] += sigma**2 * np.eye(self.dim)
        return drift


def gaussian_noise(nodes: Vector, variances: Vector) -> NoisePolynomial:
    """The noise prediction of degree 1 that is exact for data N(0, diag(variances)).

    E[eps | x] = sigma x / (alpha^2 v + sigma^2).
    """
    alpha, sigma = np.sqrt(expit(2 * nodes)), np.sqrt(expit(-2 * nodes))
    dim = len(variances)
    values = np.zeros((len(nodes), dim, dim + 1))
    ratio = sigma[:, None] / (alpha[:, None] ** 2 * variances + sigma[:, None] ** 2)
    values[:, range(dim), range(1, dim + 1)] = ratio
    return NoisePolynomial(nodes, values, 1)


@dataclass(frozen=True)
class NoiseFit:
    """A fitted noise polynomial.

    Attributes:
        polynomial: The fit.
        r2: Coefficient of determination on held-out samples at each node, `(L,)`.
    """

    polynomial: NoisePolynomial
    r2: Vector


def fit_noise(
    nodes: Vector,
    noised: Callable[[float], tuple[Vector, Vector]],
    degree: int,
    ridge: float = 1e-4,
    done: Callable[[], None] = lambda: None,
) -> NoiseFit:
    """Fit a noise polynomial at each node.

    Args:
        nodes: Values of lambda, increasing, `(L,)`.
        noised: Function from lambda to samples x `(M, d)` and the noise to predict `(M, d)`; the
            last fifth is held out.
        degree: The degree p, 1, 2 or 3.
        ridge: Weight of the penalty, relative to the mean square of a Hermite polynomial.
        done: Called after each node.

    Raises:
        HQDMError: If the degree or the penalty is out of range, there are too few nodes or samples,
            or samples are not finite.
    """
    if degree not in DEGREES:
        raise HQDMError(f"the degree of the noise polynomial needs to be 1, 2 or 3, got {degree}")
    if finite("ridge", ridge) < 0:
        raise HQDMError(f"ridge must be 0 or more, got {ridge}")
    if len(nodes) < 2:
        raise HQDMError(f"a noise polynomial needs 2 nodes in lambda or more, got {len(nodes)}")
    values, scores = [], []
    for lam in nodes:
        value, score = _fit_node(*noised(float(lam)), degree, ridge)
        values.append(value)
        scores.append(score)
        done()
    return NoiseFit(NoisePolynomial(np.asarray(nodes), np.stack(values), degree), np.array(scores))


def _fit_node(x: Vector, eps: Vector, degree: int, ridge: float) -> tuple[Vector, float]:
    """The coefficients `(d, n_p)` at a node and their R^2 on the held-out samples."""
    if not (np.isfinite(x).all() and np.isfinite(eps).all()):
        raise HQDMError("samples for a noise polynomial are not finite: check the model's output")
    monomials = Monomials(x.shape[1], degree)
    cut = round(len(x) * (1 - HELD_OUT))
    if cut < len(monomials):
        raise HQDMError(
            f"{len(monomials)} coefficients need as many samples or more, got {cut}: use more "
            "samples, a smaller dimension or a lower degree"
        )
    n_bytes = len(x) * len(monomials) * 3 * 8  # monomials, Hermite polynomials, one transposed
    check_memory(f"{len(monomials)} features of {len(x)} samples", n_bytes, "use fewer samples")
    change = orthonormal_hermite(monomials)
    features = (change @ monomials.lift(x).T).T
    gram = features[:cut].T @ features[:cut] / cut
    gram[np.diag_indices_from(gram)] += ridge
    try:
        factor = cho_factor(gram)
    except LinAlgError:
        raise HQDMError(
            f"the samples do not determine all {len(monomials)} coefficients: use a larger ridge "
            "or more samples"
        ) from None
    weights = cho_solve(factor, features[:cut].T @ eps[:cut] / cut)
    residual = eps[cut:] - features[cut:] @ weights
    around = eps[cut:] - eps[cut:].mean(axis=0)
    return (change.T @ weights).T, float(1 - (residual**2).sum() / (around**2).sum())
