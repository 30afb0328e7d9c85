r"""The Carleman sampler: one linear map per segment, without evaluations of the network.

The noise prediction of a trained model is approximated by a polynomial in latents z
(`hqdm.surrogate.fit`), which makes the probability-flow ODE a polynomial equation. Its Carleman
linearisation dy/dlambda = A(lambda) y, y = (z^gamma : |gamma| <= N), is solved over a segment of
lambda, projected to z, and lifted again for the next segment:

    z_b = P T exp(int_a^b A dlambda) lift(z_a).

Coordinates outside the latents follow their Gaussian flow. In hybrid mode another sampler continues
with the network from a chosen lambda.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from hqdm.carleman.costs.weights import optimal_weights
from hqdm.carleman.drift import evaluate
from hqdm.carleman.linearization import (
    CarlemanSystem,
    Closure,
    dropping,
    fit_closure,
    reweighted,
)
from hqdm.carleman.magnus import Backend, Direct, Matrix, Vector, generators
from hqdm.diffusion.schedule import Schedule, build_schedule, schedule_config
from hqdm.samplers.base import MAX_STEPS, Evaluator, Sampler
from hqdm.samplers.exponential import level_at
from hqdm.samplers.grids import GRIDS, T_CUT, build_grid
from hqdm.samplers.registry import build_sampler
from hqdm.surrogate.fit import CarlemanFit
from hqdm.surrogate.latents import LearnedLatents
from hqdm.surrogate.learned import ClassFits
from hqdm.surrogate.noise_polynomial import DiffusionDrift, ExpandedPolynomial, levels
from hqdm.utils.checks import whole
from hqdm.utils.errors import HQDMError, unknown
from hqdm.utils.seeds import ImageNoise

CLOSURES = ("least_squares", "drop")
EXPANSIONS = ("spline", *(f"{form}{k}" for form in ("dpm", "unipc") for k in (1, 2, 3)))
LEARNED_SYSTEM = {"order": 3, "closure": "drop"}  # defaults in learned latents, see the docs
CLOSURE_NODES = 17
STEPS_PER_SEGMENT = 8
LARGEST_LATENT = 1e3
ORDINARY_LATENT = 1.0  # standard deviations of latents are about 1
HYBRID_STEPS = 5
# For each number of steps of the other sampler, the lambda at which it starts and the time at which
# its last step begins, tuned on MNIST (docs/carleman.md); HYBRID for other numbers of steps.
HYBRIDS = {1: (0.0, 0.1), 2: (-1.0, 0.2), 3: (-1.5, 0.15)}
HYBRID = (-2.0, 0.1)


@dataclass(frozen=True)
class _Coordinates:
    """Principal coordinates of images, `(B, D)`, the state between segments."""

    values: Tensor


class Carleman(Sampler):
    """Carleman linearisation of a fitted model, followed by another sampler in hybrid mode.

    Args:
        fit: The fit to the model.
        segments: Number of segments of lambda, 1 or more; z is lifted again after each.
        order: Truncation order N.
        closure: Closure for the monomials above N: "least_squares" or "drop".
        basis: "monomial" or "hermite".
        expansion: Dependence of the coefficients on lambda within a segment: "spline" as fitted,
            "dpm1" to "dpm3" by a Taylor polynomial, "unipc1" to "unipc3" by finite differences.
        backend: Solver of the linear equation; `Direct` computes one matrix per segment, the others
            solve for each image separately, with a lifted basis that is weighted for each segment
            (`hqdm.carleman.costs.weights`).
        then: A sampler that continues with the network; None to continue without it.
        switch: The lambda of the images at which `then` starts.

    Raises:
        HQDMError: If an option is unknown or out of range.
    """

    name = "carleman"
    default_steps = 8
    default_grid = "lambda"
    evaluations_per_step = 0
    variance_preserving_only = True
    reversible = False

    def __init__(
        self,
        fit: CarlemanFit,
        segments: int | None = None,
        order: int = 5,
        *,
        closure: Literal["least_squares", "drop"] = "least_squares",
        basis: Literal["monomial", "hermite"] = "monomial",
        expansion: str = "spline",
        backend: Backend | None = None,
        then: Sampler | None = None,
        switch: float | None = None,
    ) -> None:
        super().__init__(segments)
        if closure not in CLOSURES:
            raise unknown("closure", closure, CLOSURES)
        if expansion not in EXPANSIONS:
            raise unknown("expansion in lambda", expansion, EXPANSIONS)
        if (then is None) != (switch is None):
            raise HQDMError("the hybrid mode needs both a sampler and the lambda of the switch")
        learned = isinstance(fit.latents, LearnedLatents)
        if learned and then is not None:
            raise HQDMError(
                f"in the latents of an autoencoder no network can continue: leave {then.name} out"
            )
        self.at_once = self.from_noise = learned
        self.fit, self.order, self.basis = fit, order, basis
        self.closure_name, self.expansion = closure, expansion
        self.backend = backend or Direct()
        self.then, self.switch = then, switch
        self._radii: dict[float, float] = {}
        self._maps: dict[tuple[float, float], Vector] = {}
        self._weighted: dict[tuple[float, float], tuple[CarlemanSystem, list[Matrix]]] = {}

    @property
    def settings(self) -> dict[str, Any]:
        """See `Sampler.settings`."""
        own = {
            **{"dim": self.fit.latents.dim, "degree": self.fit.noise.degree, "order": self.order},
            **{"closure": self.closure_name, "basis": self.basis, "expansion": self.expansion},
            "backend": type(self.backend).__name__.lower(),
        }
        after = {} if self.then is None else {"then": self.then.settings, "switch": self.switch}
        return {**super().settings, **own, **after}

    @cached_property
    def closure(self) -> Closure:
        """The closure for the monomials above the order."""
        noise = self.fit.noise
        if self.closure_name == "drop" or noise.degree == 1:
            return dropping(DiffusionDrift(noise), self.order, self.basis)
        times = np.linspace(noise.nodes[0], noise.nodes[-1], CLOSURE_NODES)
        return fit_closure(times, self.fit.samples, noise.dim, self.order, noise.degree)

    @cached_property
    def system(self) -> CarlemanSystem:
        """The linear system with the fitted coefficients."""
        return CarlemanSystem(DiffusionDrift(self.fit.noise), self.order, self.basis, self.closure)

    def generators(self, a: float, b: float) -> list[Matrix]:
        """The generators of a segment from a to b, in the lambda of the latents."""
        times = np.linspace(a, b, STEPS_PER_SEGMENT + 1)
        if self.expansion == "spline":
            return generators(self.system.matrix, times)
        form, k = self.expansion[:-1], int(self.expansion[-1])
        before = a - (b - a) / STEPS_PER_SEGMENT * np.arange(k - 1, 0, -1)
        edges = np.concatenate([before[before >= self.fit.noise.nodes[0]], times])
        expanded = ExpandedPolynomial(self.fit.noise, edges, form, k)
        return generators(self.system.with_drift(DiffusionDrift(expanded)).matrix, times)

    def map(self, a: float, b: float) -> Vector:
        """The matrix `(n, d)` that maps lifted latents at a to latents at b."""
        if (a, b) not in self._maps:
            backwards = [made.T.tocsr() for made in reversed(self.generators(a, b))]
            self._maps[a, b] = Direct().solve(backwards, self.system.projection()).y
        return self._maps[a, b]

    def weighted(self, a: float, b: float) -> tuple[CarlemanSystem, list[Matrix]]:
        """The system and its generators from a to b, weighted for latents of ordinary size."""
        if (a, b) not in self._weighted:
            made = self.generators(a, b)
            ordinary = np.full((1, self.fit.latents.dim), ORDINARY_LATENT)
            weights = optimal_weights(made, self.system.lift(ordinary)[0], self.system.monomials)
            weighted = [reweighted(generator, weights) for generator in made]
            self._weighted[a, b] = self.system.with_weights(weights), weighted
        return self._weighted[a, b]

    def advance(self, z: Vector, a: float, b: float) -> Vector:
        """Propagate latents `(B, d)` from a to b by the backend.

        Raises:
            HQDMError: If a latent exceeds `LARGEST_LATENT`; standard deviations are about 1.
        """
        if isinstance(self.backend, Direct):
            with np.errstate(invalid="ignore", over="ignore"):
                ends = self.system.lift(z) @ self.map(a, b)
        else:
            system, made = self.weighted(a, b)
            solved = [self.backend.solve(made, start).y for start in system.lift(z)]
            ends = system.project(np.stack(solved))
        if self.from_noise:
            ends = self._within(ends, b)
        if not (np.abs(ends) < LARGEST_LATENT).all():
            raise HQDMError(
                f"the linearised flow diverges between lambda {a:.2f} and {b:.2f}: use more "
                'segments, the closure "least_squares", another order, or fit with a larger ridge'
            )
        return ends

    def _within(self, z: Vector, lam: float) -> Vector:
        """Latents `(B, d)` at lambda, scaled back to the largest norm of the fitted points there.

        Beyond them the polynomial is extrapolated, and one of even degree drives latents away.
        """
        if lam not in self._radii:
            self._radii[lam] = float(np.linalg.norm(self.fit.samples(lam), axis=1).max())
        norms = np.linalg.norm(z, axis=1, keepdims=True)
        return z * np.minimum(1, self._radii[lam] / np.maximum(norms, 1e-300))

    def grid(self, schedule: Schedule, t_start: float, t_end: float) -> Tensor:
        """Uniform in lambda to the switch, then the other sampler's grid; or to `T_CUT`, then 0."""
        if schedule_config(schedule) != self.fit.record["schedule"]:
            raise HQDMError("the Carleman fit is for another noise schedule: repeat the fit")
        if self.switch is None or self.then is None:
            steps = self.steps + 1 if t_end == 0 else self.steps
            return build_grid("lambda", schedule, t_start, t_end, steps)
        ends = torch.tensor([t_start, max(t_end, T_CUT)], dtype=torch.float64)
        low, high = schedule.lam(ends).tolist()
        _check_switch(self.switch, low, high)
        middle = float(schedule.inverse(torch.tensor(self.switch, dtype=torch.float64)))
        first = build_grid("lambda", schedule, t_start, middle, self.steps)
        return torch.cat([first[:-1], self.then.grid(schedule, middle, t_end)])

    def step(
        self, denoise: Evaluator, x: Tensor, t: Tensor, s: Tensor, state: Any, noise: ImageNoise
    ) -> tuple[Tensor, Any]:
        """See `Sampler.step`; one segment, or one step of the other sampler."""
        a, b = level_at(denoise.schedule, t), level_at(denoise.schedule, s)
        if self.then is not None and self.switch is not None and a.lam > self.switch - 1e-9:
            if isinstance(state, _Coordinates):
                state = self.then.init(x)
            return self.then.step(denoise, x, t, s, state, noise)
        if state is None:
            state = _Coordinates(self.fit.latents.coordinates(x, float(a.lam)))
        ends = (None if b.is_data else float(b.lam)), float(b.alpha)
        moved = self._move(state.values, float(a.lam), ends[0])
        return self.fit.latents.images(moved, ends[1], x), _Coordinates(moved)

    def _move(self, values: Tensor, a: float, b: float | None) -> Tensor:
        """Propagate coordinates from lambda a to b, or to the clean images if b is None."""
        latents = self.fit.latents
        d, start = latents.dim, latents.time(a)
        z = values[:, :d].cpu().numpy().astype(np.float64) * latents.factor(a)
        if b is None:
            alpha, sigma = levels(start)
            clean = (z - sigma * evaluate(self.fit.noise, z, start)) / alpha * latents.scale
            rest = latents.gaussian_mean(a)
        else:
            clean = self.advance(z, start, latents.time(b)) / latents.factor(b)
            rest = latents.gaussian_flow(a, b)
        first = torch.as_tensor(clean).to(values)
        return torch.cat([first, values[:, d:] * torch.as_tensor(rest).to(values)], dim=1)


class ClassCarleman(Sampler):
    """Carleman linearisations of the fits of all classes; each image takes that of its label.

    Args:
        fits: The fits.
        segments: See `Carleman`.
        order: See `Carleman`.
        **options: Other arguments of `Carleman`.

    Raises:
        HQDMError: As for `Carleman`.
    """

    name = "carleman"
    default_steps = Carleman.default_steps
    default_grid = Carleman.default_grid
    evaluations_per_step = 0
    variance_preserving_only = True
    reversible = False
    at_once = from_noise = True

    def __init__(
        self, fits: ClassFits, segments: int | None = None, order: int = 5, **options: Any
    ) -> None:
        super().__init__(segments)
        self.members = [Carleman(fit, segments, order, **options) for fit in fits.fits]

    @property
    def settings(self) -> dict[str, Any]:
        """See `Sampler.settings`; those of a class, and the number of classes."""
        return {**self.members[0].settings, "classes": len(self.members)}

    @property
    def system(self) -> CarlemanSystem:
        """The linear system of the first class, which has the dimensions of all."""
        return self.members[0].system

    def grid(self, schedule: Schedule, t_start: float, t_end: float) -> Tensor:
        """See `Carleman.grid`."""
        return self.members[0].grid(schedule, t_start, t_end)

    def step(
        self, denoise: Evaluator, x: Tensor, t: Tensor, s: Tensor, state: Any, noise: ImageNoise
    ) -> tuple[Tensor, Any]:
        """See `Sampler.step`.

        Raises:
            HQDMError: If images have no label of a class.
        """
        y = denoise.y
        if y is None or (y >= len(self.members)).any():
            raise HQDMError(
                f"the fit is one of {len(self.members)} classes: every image needs a label"
            )
        moved, states = torch.empty_like(x), {}
        for k, member in enumerate(self.members):
            own = y == k
            if own.any():
                before = None if state is None else state[k]
                moved[own], states[k] = member.step(denoise, x[own], t, s, before, noise)
        return moved, states


def _check_switch(switch: float, low: float, high: float) -> None:
    if not low < switch < high:
        raise HQDMError(f"the switch needs a lambda between {low:.3g} and {high:.3g}, got {switch}")


def build_carleman(
    fit: CarlemanFit | ClassFits, steps: int | None = None, then: str = "", **options: Any
) -> Carleman | ClassCarleman:
    """Build the Carleman sampler, alone or in hybrid mode.

    Args:
        fit: The fit to the model, or those of its classes.
        steps: Number of segments; in hybrid mode the steps of the other sampler, 5 by default.
        then: Name of the sampler that continues with the network; "" for none.
        **options: Other arguments of `Carleman`; in hybrid mode `switch` defaults to `HYBRIDS`, in
            learned latents `order` to 3 and `closure` to "drop".

    Raises:
        HQDMError: If there are no steps, or as for `Carleman`.
    """
    one = fit.fits[0] if isinstance(fit, ClassFits) else fit
    if isinstance(one.latents, LearnedLatents):
        options = {**LEARNED_SYSTEM, **options}
    if isinstance(fit, ClassFits):
        if then:
            raise HQDMError(
                f"in the latents of an autoencoder no network can continue: leave {then} out"
            )
        return ClassCarleman(fit, steps, **options)
    if not then:
        return Carleman(fit, steps, **options)
    steps = HYBRID_STEPS if steps is None else steps
    switch, cut = HYBRIDS.get(steps, HYBRID)
    switch = options.pop("switch", switch)
    times = hybrid_grid(build_schedule(**fit.record["schedule"]), switch, cut, steps)
    return Carleman(fit, then=build_sampler(then, grid=times), switch=switch, **options)


def hybrid_grid(schedule: Schedule, switch: float, cut: float, steps: int) -> list[float]:
    """A time grid for few steps: the Karras grid from the switch to the cut, then 0.

    Raises:
        HQDMError: If there are no steps, or the switch is not between the schedule's end and the
            cut.
    """
    whole("steps", steps, 1, MAX_STEPS)
    low, high = schedule.lam(torch.tensor([1.0, cut], dtype=torch.float64)).tolist()
    _check_switch(switch, low, high)
    start = float(schedule.inverse(torch.tensor(switch, dtype=torch.float64)))
    if steps == 1:
        return [start, 0.0]
    return [*GRIDS["karras"](schedule, start, cut, steps - 1).tolist(), 0.0]
