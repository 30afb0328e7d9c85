r"""Scaling of an evolution's quantities with the dimension, extrapolated by power laws.

    q(d) = q_1 d^s

for every quantity q on which the cost of a quantum algorithm depends, fitted at small d by least
squares in log q against log d. If a measured value of q is not positive, it has no logarithm; the
largest value is then used for all d.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from hqdm.carleman.lchs.solver import LCHSAccount
from hqdm.carleman.qlss.solver import QLSSAccount
from hqdm.utils.errors import HQDMError

FIXED = ("dim", "order", "degree", "segments")
PROBABILITIES = ("inverse_probability", "final_probability", "share")

ASSUMPTIONS = (
    "Every measured quantity follows a power law in d, fitted to the measured dimensions and "
    "extrapolated; probabilities are limited to one.",
    "An evolution that neither grows nor decays, and is f times as long, has f times the block "
    "rows, generators, norms, shift and condition number, the power f of the gain |y| / |y_0|, "
    "and 1 / f of the success probability of the inverse.",
)


@dataclass(frozen=True)
class Case:
    """The quantities of an evolution that determine its cost.

    Attributes:
        dim: Dimension d.
        order: Truncation order N.
        degree: Degree p of the drift.
        segments: Number of successive evolutions of this kind, with a measurement of x after each.
        n_generators: Number M of exponentials in an evolution.
        blocks: Number of block rows of the linear system.
        kappa: Condition number of the block-encoded linear system.
        inverse_probability: Probability that the inverse succeeds.
        final_probability: Probability that the measured block is a copy of the final state.
        hermitian_norm: sum_m |L_m| of LCHS.
        skew_norm: sum_m |H_m| of LCHS.
        shift: sum_m c_m of LCHS.
        gain: |y| / |y_0|.
        share: |x|^2 / |y|^2 at the end, the fraction of the state that is read.
    """

    dim: int
    order: int
    degree: int
    segments: int
    n_generators: float
    blocks: float
    kappa: float
    inverse_probability: float
    final_probability: float
    hermitian_norm: float
    skew_norm: float
    shift: float
    gain: float
    share: float

    @property
    def kept(self) -> float:
        """|y| / |y_0| of the shifted, dissipative evolution."""
        return self.gain * math.exp(-self.shift)

    def stretched(self, factor: float) -> "Case":
        """The evolution over a time longer by a factor, see `ASSUMPTIONS`."""
        linear = ("n_generators", "blocks", "kappa", "hermitian_norm", "skew_norm", "shift")
        return replace(
            self,
            **{name: factor * getattr(self, name) for name in linear},
            inverse_probability=min(1.0, self.inverse_probability / factor),
            gain=self.gain**factor,
        )


def measured(
    dim: int,
    order: int,
    degree: int,
    qlss: QLSSAccount,
    lchs: LCHSAccount,
    *,
    size: int,
    share: float,
    segments: int = 1,
) -> Case:
    """The case of an evolution that was solved by both quantum backends.

    Args:
        dim: Dimension d.
        order: Truncation order N.
        degree: Degree p.
        qlss: Account of `QLSS` in mode "emulate" or "circuit".
        lchs: Account of `LCHS`.
        size: Length of y.
        share: |x|^2 / |y|^2 at the end.
        segments: Number of successive evolutions.

    Raises:
        HQDMError: If the account of `QLSS` has no quantum inverse.
    """
    if qlss.inversion is None:
        raise HQDMError('resources need a quantum inverse: solve with mode="emulate"')
    return Case(
        dim=dim,
        order=order,
        degree=degree,
        segments=segments,
        n_generators=len(lchs.shifts),
        blocks=qlss.size / size,
        kappa=qlss.inversion.kappa,
        inverse_probability=qlss.inversion.inverse_probability,
        final_probability=qlss.inversion.final_probability,
        hermitian_norm=lchs.hermitian_norm,
        skew_norm=lchs.skew_norm,
        shift=sum(lchs.shifts),
        gain=float(np.sqrt(lchs.success_probability)) * lchs.one_norm * lchs.growth,
        share=share,
    )


@dataclass(frozen=True)
class PowerLaw:
    """q(d) = factor d^exponent.

    Attributes:
        factor: q(1).
        exponent: The exponent s.
        spread: The largest residual |log q - log(factor d^exponent)| of the measurements.
    """

    factor: float
    exponent: float
    spread: float = 0.0

    def __call__(self, dim: float) -> float:
        """The value at d."""
        return float(self.factor * dim**self.exponent)


def power_law(dims: Sequence[int], values: Sequence[float]) -> PowerLaw:
    """Fit a power law by least squares; constant if a value has no logarithm.

    Raises:
        HQDMError: If there are fewer than two dimensions, or values are not finite.
    """
    if len(set(dims)) < 2:
        raise HQDMError(
            f"a power law needs measurements at two dimensions or more, got {sorted(set(dims))}"
        )
    if not np.isfinite(values).all():
        raise HQDMError(f"a power law needs finite measurements, got {list(values)}")
    if min(values) <= 0:
        return PowerLaw(max(values), 0.0)
    x, y = np.log(dims), np.log(values)
    exponent, constant = np.polyfit(x, y, 1)
    spread = np.abs(y - constant - exponent * x).max()
    return PowerLaw(float(np.exp(constant)), float(exponent), float(spread))


@dataclass(frozen=True)
class Scaling:
    """Power laws of all measured quantities.

    Attributes:
        order: Truncation order N.
        degree: Degree of the drift.
        segments: Number of successive evolutions.
        laws: Power laws by the field names of `Case`.
    """

    order: int
    degree: int
    segments: int
    laws: dict[str, PowerLaw]

    def at(self, dim: int) -> Case:
        """The case at a dimension."""
        values = {name: law(dim) for name, law in self.laws.items()}
        values |= {name: min(1.0, values[name]) for name in PROBABILITIES}
        return Case(dim, self.order, self.degree, self.segments, **values)


def fit_scaling(cases: Sequence[Case]) -> Scaling:
    """Fit power laws to cases that were measured at different dimensions.

    Raises:
        HQDMError: If the cases differ in order, degree or segments, or have one dimension only.
    """
    kinds = {(case.order, case.degree, case.segments) for case in cases}
    if len(kinds) != 1:
        raise HQDMError(
            "a scaling needs cases of one order, degree and number of segments, got "
            f"{sorted(kinds)}"
        )
    dims = [case.dim for case in cases]
    names = [field.name for field in fields(Case) if field.name not in FIXED]
    laws = {name: power_law(dims, [getattr(case, name) for case in cases]) for name in names}
    return Scaling(*kinds.pop(), laws)
