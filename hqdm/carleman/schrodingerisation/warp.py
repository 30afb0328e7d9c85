r"""The warped phase transformation on a grid in p: initial data, Fourier modes and an error bound.

A solution of du/ds = -(L + i H) u, L >= 0, becomes v(s, p) = exp(-p) u(s) for p > 0 (Jin, Liu and
Yu 2022). It obeys

    dv/ds = L dv/dp - i H v,        v(0, p) = g(p) u_0,

whose waves move towards smaller p, by Lambda = sum_m |L_m| at most: v(s, p) = exp(-p) u(s) holds on
0 <= p <= w if g(p) = exp(-p) on [0, w + Lambda]. Below 0, g is free. It is the polynomial of degree
2 q - 1 on [-a, 0] that makes g and its first q - 1 derivatives continuous and antiperiodic,
g(p + P) = -g(p), over the period P of the grid (Jin, Li, Liu and Yu 2024 use such interpolants for
periodic data). Antiperiodic functions have the Fourier modes exp(-i k p) of k = +-h / 2, +-3 h / 2,
..., h = 2 pi / P, each of which evolves by a Hamiltonian,

    U(k) = exp(-i (k L + H)),      v(s, p) = sum_k g_k exp(-i k p) U(k) u_0.

Only |k| < K = pi / d are on a grid of spacing d. By partial integration |g_k| <= V / (P |k|^(q+1)),
with V the total variation of the q-th derivative of g over a period, and the values on the grid
differ by at most

    2 sum_{|k| > K} |g_k| |u_0| <= 2 V |u_0| / (pi q K^q):

order q in d. The solution is the weighted mean u = sum_j exp(-p_j) v_j / sum_j exp(-2 p_j) of the
points in the window [0, w].
"""

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import BPoly, PPoly
from scipy.optimize import minimize_scalar

from hqdm.carleman.magnus import Vector
from hqdm.utils.errors import HQDMError

WINDOW = 2.0
"""w; a wider window would raise the success probability by less than 2 %."""

ORDERS = tuple(range(1, 13))
WIDTHS = 0.3, 4.0  # limits of a / q in the search for the cheapest initial data
FAR = 40.0  # b in that search: exp(-b) is 0 in float64 beside 1

MAX_MODES = 2**20
"""Maximum number of grid points."""


@dataclass(frozen=True)
class Profile:
    """The initial data g(p) on [-a, b), antiperiodic with the period P = a + b.

    Attributes:
        order: q, the number of continuous derivatives, counting g itself.
        width: a.
        end: b.
    """

    order: int
    width: float
    end: float

    @cached_property
    def _left(self) -> BPoly:
        """The polynomial on [-a, 0]."""
        at_zero = [(-1.0) ** i for i in range(self.order)]
        before = [-value * math.exp(-self.end) for value in at_zero]
        return BPoly.from_derivatives([-self.width, 0.0], [before, at_zero])

    def __call__(self, p: Vector) -> Vector:
        """The values of g at points of [-a, b]."""
        return np.where(p < 0, self._left(np.minimum(p, 0)), np.exp(-np.maximum(p, 0)))

    @cached_property
    def variation(self) -> float:
        """V, the total variation of the q-th derivative over a period, with its jumps."""
        derivative = PPoly.from_bernstein_basis(self._left).derivative(self.order)
        turns = derivative.derivative().roots(discontinuity=False, extrapolate=False)
        places = np.concatenate([[-self.width], np.sort(turns[np.isfinite(turns)]), [0.0]])
        values = derivative(places)
        right, after = (-1.0) ** self.order, math.exp(-self.end)
        jumps = abs(values[-1] - right) + abs(values[0] + right * after)
        return float(np.abs(np.diff(values)).sum() + jumps + 1 - after)

    @cached_property
    def mass(self) -> float:
        """The integral of g(p)^2 over a period."""
        points, weights = np.polynomial.legendre.leggauss(2 * self.order)
        left = self._left((points - 1) * self.width / 2) ** 2 @ weights * self.width / 2
        return float(left - math.expm1(-2 * self.end) / 2)

    def cutoff(self, tolerance: float) -> float:
        """The K at which the bound on |dv| / |u_0| equals a tolerance."""
        return (2 * self.variation / (math.pi * self.order * tolerance)) ** (1 / self.order)

    def error(self, cutoff: float) -> float:
        """The bound on |dv| / |u_0| at the points of a grid with the cutoff K."""
        return 2 * self.variation / (math.pi * self.order * cutoff**self.order)


@dataclass(frozen=True)
class Warp:
    """The grid p_j = -a + d j, j = 0, ..., M - 1, with the initial data and their Fourier modes.

    Attributes:
        profile: The initial data; a is a multiple of d, so that p = 0 is a grid point.
        n_modes: The number M of points and of modes.
    """

    profile: Profile
    n_modes: int

    @property
    def period(self) -> float:
        """P = M d."""
        return self.profile.width + self.profile.end

    @property
    def spacing(self) -> float:
        """The spacing h of the modes k."""
        return 2 * math.pi / self.period

    @property
    def cutoff(self) -> float:
        """K = pi / d, which no mode exceeds."""
        return self.spacing * self.n_modes / 2

    @property
    def points(self) -> Vector:
        """The points p_j, `(M,)`."""
        steps = np.arange(self.n_modes, dtype=np.float64)
        return -self.profile.width + self.period / self.n_modes * steps

    @property
    def values(self) -> Vector:
        """The initial data at the points, `(M,)`."""
        return self.profile(self.points)

    @property
    def window(self) -> slice:
        """The indices of the points from which the solution is recovered, 0 <= p_j <= w."""
        step = self.period / self.n_modes
        first = round(self.profile.width / step)
        return slice(first, first + math.floor(WINDOW / step + 1e-9) + 1)

    @property
    def recovery(self) -> Vector:
        """The weights exp(-p_j) / sum_j exp(-2 p_j) of the points in the window, `(J,)`."""
        decay = np.exp(-self.points[self.window])
        return decay / (decay @ decay)

    @property
    def nodes(self) -> Vector:
        """The positive k, `(M / 2,)`."""
        return self.spacing * (np.arange(self.n_modes // 2, dtype=np.float64) + 0.5)

    @property
    def coefficients(self) -> NDArray[np.complex128]:
        """g_k of the positive k, `(M / 2,)`; those of -k are their complex conjugates.

        exp(i k p_j) is a factor of k times one of j times exp(2 pi i m j / M), m = k / h - 1 / 2.
        """
        turns = np.exp(1j * np.pi * np.arange(self.n_modes) / self.n_modes)
        sums = np.fft.ifft(turns * self.values)[: self.n_modes // 2]
        return sums * np.exp(-1j * self.nodes * self.profile.width)

    @property
    def fraction(self) -> float:
        """The part of the state in the window if u keeps its norm: sum_window g^2 / sum g^2."""
        squares = self.values**2
        return float(squares[self.window].sum() / squares.sum())

    @property
    def error(self) -> float:
        """The bound on |du| / |u_0| of the recovered solution."""
        return self.profile.error(self.cutoff) * float(self.recovery.sum())


def warp(extent: float, tolerance: float, order: int | None = None) -> Warp:
    """The grid of a power of two points that meets a tolerance at the lowest cost.

    The cost is the longest simulation times the number of runs with amplitude amplification,
    proportional to K times the square root of int g^2, minimised over a and q.

    Args:
        extent: Lambda, the sum of the norms of the Hermitian parts.
        tolerance: Tolerance of |du| / |u_0|.
        order: q; by default the cheapest of `ORDERS`.

    Raises:
        HQDMError: If more than `MAX_MODES` points are needed.
    """
    orders = ORDERS if order is None else (order,)
    profiles = [cheapest(q) for q in orders]
    far = min(profiles, key=lambda made: made.cutoff(tolerance / 2) * math.sqrt(made.mass))
    best = Profile(far.order, far.width, WINDOW + extent)
    # the weights of the window sum to less than 2, after which p is on the grid
    step = math.pi / best.cutoff(tolerance / 2)
    count = math.ceil(best.width / step)
    step = best.width / count
    needed = (best.width + WINDOW + extent) / step
    n_modes = 2 ** max(1, math.ceil(math.log2(needed)))
    if n_modes > MAX_MODES:
        raise HQDMError(
            f"Schrödingerisation needs {n_modes:,} grid points at the tolerance {tolerance:.2g}, "
            f"expected at most {MAX_MODES:,}: raise the tolerance or shorten the evolution"
        )
    return Warp(Profile(best.order, best.width, n_modes * step - best.width), n_modes)


@lru_cache
def cheapest(order: int) -> Profile:
    """The data of order q with the a that minimises K sqrt(int g^2), which no eps changes."""

    def cost(width: float) -> float:
        made = Profile(order, width, FAR)
        return made.variation ** (1 / order) * math.sqrt(made.mass)

    limits = (WIDTHS[0] * order, WIDTHS[1] * order)
    found = minimize_scalar(cost, bounds=limits, method="bounded", options={"xatol": 0.05})
    return Profile(order, float(found.x), FAR)
