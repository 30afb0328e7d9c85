r"""Normalisations in the layout of the lanes, and their gradients.

    group:    y = SiLU(a xhat + b),    xhat = (x - mean) / sqrt(var + eps)  over a group of channels
    channel:  y = gain xhat,           xhat = (x - mean) / sqrt(var + eps)  over all channels

In the first, a and b differ between channels and samples: they hold the affine map of the
normalisation and the scale and shift of a conditioning. With g the gradient with respect to xhat,
that with respect to x is

    (g - mean(g) - xhat mean(g xhat)) / sqrt(var + eps).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numba import prange
from torch import Tensor

from hqdm.nn.compiled.contraction import Array, inlined
from hqdm.nn.compiled.elementary import divide, exp, sqrt
from hqdm.nn.compiled.layout import GRADIENT, VALUE, check_shapes, flat
from hqdm.simulators.compiled.calls import call, compute
from hqdm.simulators.compiled.code_cache import Kernel
from hqdm.simulators.compiled.lanes import (
    lane_sum,
    load,
    multiply_add,
    spread,
    store,
    width,
)

PIECE = 16  # positions of a channel normalisation that a thread takes at a time
TERMS = 32  # of a sum that are added before the sums are, for the rounding error

# groups of samples, channels, positions
Sizes = tuple[int, int, int]


@inlined
def mean_of(x: Array, first: int, n: int, step: int, origin: Any, square: bool) -> Any:
    """The mean of n lanes, `step` numbers apart, minus an origin, or of the squares of that.

    Sums of a few terms are added, for the rounding error; four at a time, since an addition waits
    for the previous one.
    """
    zero = spread(x, 0.0)
    total = zero
    for start in range(0, n, TERMS):
        stop = min(start + TERMS, n)
        s_0, s_1, s_2, s_3 = zero, zero, zero, zero
        k = start
        while k + 4 <= stop:
            d_0, d_1 = load(x, first + k * step) - origin, load(x, first + (k + 1) * step) - origin
            d_2, d_3 = (
                load(x, first + (k + 2) * step) - origin,
                load(x, first + (k + 3) * step) - origin,
            )
            if square:
                s_0, s_1 = multiply_add(s_0, d_0, d_0), multiply_add(s_1, d_1, d_1)
                s_2, s_3 = multiply_add(s_2, d_2, d_2), multiply_add(s_3, d_3, d_3)
            else:
                s_0, s_1, s_2, s_3 = s_0 + d_0, s_1 + d_1, s_2 + d_2, s_3 + d_3
            k += 4
        while k < stop:
            d_0 = load(x, first + k * step) - origin
            s_0 = multiply_add(s_0, d_0, d_0) if square else s_0 + d_0
            k += 1
        total = total + ((s_0 + s_1) + (s_2 + s_3))
    return total * (1.0 / n)


@inlined
def statistics(x: Array, first: int, n: int, step: int, eps: float) -> Any:
    """Mean and inverse standard deviation of n lanes, `step` numbers apart."""
    mean = mean_of(x, first, n, step, spread(x, 0.0), False)
    variance = mean_of(x, first, n, step, mean, True)
    return mean, divide(spread(x, 1.0), sqrt(variance + eps))


@inlined
def sigmoid(z: Any, one: Any) -> Any:
    """1 / (1 + exp(-z))."""
    return divide(one, one + exp(z * -1.0))


@inlined
def group_forward(
    group: int, n_channels: int, n: int, eps: float, x: Array, a: Array, b: Array, out: Array
) -> None:
    """SiLU(a xhat + b) for one group of channels and samples."""
    lanes = width(x)
    one = spread(x, 1.0)
    mean, scale = statistics(x, group * n_channels * n * lanes, n_channels * n, lanes, eps)
    for channel in range(group * n_channels, (group + 1) * n_channels):
        gain, shift = load(a, channel * lanes) * scale, load(b, channel * lanes)
        for k in range(channel * n * lanes, (channel + 1) * n * lanes, lanes):
            z = multiply_add(shift, load(x, k) - mean, gain)
            store(out, k, z * sigmoid(z, one))


@inlined
def group_backward(
    group: int,
    n_channels: int,
    n: int,
    eps: float,
    x: Array,
    a: Array,
    b: Array,
    grad: Array,
    grads: tuple[Array, Array, Array],
) -> None:
    """Gradients with respect to x, a and b for one group of channels and samples."""
    of_x, of_a, of_b = grads
    lanes = width(x)
    one, zero = spread(x, 1.0), spread(x, 0.0)
    mean, scale = statistics(x, group * n_channels * n * lanes, n_channels * n, lanes, eps)
    mean_g, mean_gx = zero, zero
    for channel in range(group * n_channels, (group + 1) * n_channels):
        gain, shift = load(a, channel * lanes), load(b, channel * lanes)
        sum_a, sum_b = zero, zero
        for k in range(channel * n * lanes, (channel + 1) * n * lanes, lanes):
            xhat = (load(x, k) - mean) * scale
            z = multiply_add(shift, xhat, gain)
            s = sigmoid(z, one)
            g = load(grad, k) * s * multiply_add(one, z, one - s)
            sum_a = multiply_add(sum_a, g, xhat)
            sum_b = sum_b + g
            store(of_x, k, g)
        store(of_a, channel * lanes, sum_a)
        store(of_b, channel * lanes, sum_b)
        mean_g = multiply_add(mean_g, gain, sum_b)
        mean_gx = multiply_add(mean_gx, gain, sum_a)
    mean_g, mean_gx = mean_g * (1.0 / (n_channels * n)), mean_gx * (1.0 / (n_channels * n))
    for channel in range(group * n_channels, (group + 1) * n_channels):
        gain = load(a, channel * lanes)
        for k in range(channel * n * lanes, (channel + 1) * n * lanes, lanes):
            xhat = (load(x, k) - mean) * scale
            store(of_x, k, (load(of_x, k) * gain - mean_g - xhat * mean_gx) * scale)


@Kernel
def norm_silu(
    x: Array, a: Array, b: Array, out: Array, n_groups: int, sizes: Sizes, eps: float
) -> None:
    """SiLU(a xhat + b)."""
    n_samples, n_channels, n = sizes
    for group in prange(n_samples * n_groups):
        group_forward(group, n_channels // n_groups, n, eps, x, a, b, out)


@Kernel
def norm_silu_backward(
    x: Array,
    a: Array,
    b: Array,
    grad: Array,
    grads: tuple[Array, Array, Array],
    n_groups: int,
    sizes: Sizes,
    eps: float,
) -> None:
    """Gradients with respect to x, a and b."""
    n_samples, n_channels, n = sizes
    for group in prange(n_samples * n_groups):
        group_backward(group, n_channels // n_groups, n, eps, x, a, b, grad, grads)


@dataclass(frozen=True)
class NormSiLU:
    """The operation SiLU(a xhat + b): x `(G, C, H, W, L)`, a and b `(G, C, L)`.

    Attributes:
        n_groups: Groups of channels.
        eps: Added to the variance.
    """

    n_groups: int
    eps: float

    def forward(self, x: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, ...]:
        """The values, of the shape of x."""
        out = x.new_empty(x.shape)
        arrays = flat(x), flat(a), flat(b), flat(out)
        call(norm_silu, VALUE, x.dtype, *arrays, self.n_groups, _sizes(x), self.eps)
        return (out,)

    def backward(
        self, grad: Tensor, needed: tuple[bool, ...], x: Tensor, a: Tensor, b: Tensor
    ) -> tuple[Tensor | None, ...]:
        """Gradients with respect to x, a and b, which are computed together."""
        grads = x.new_empty(x.shape), a.new_empty(a.shape), b.new_empty(b.shape)
        arrays = flat(x), flat(a), flat(b), flat(grad), tuple(map(flat, grads))
        sizes = _sizes(x)
        call(norm_silu_backward, GRADIENT, x.dtype, *arrays, self.n_groups, sizes, self.eps)
        return grads

    def reference(self, x: Tensor, a: Tensor, b: Tensor) -> Tensor:
        """The values in torch operations."""
        xhat = _normalised(x.unflatten(1, (self.n_groups, -1)), (2, 3, 4), self.eps).flatten(1, 2)
        return F.silu(a[:, :, None, None] * xhat + b[:, :, None, None])


@inlined
def channel_forward(
    first: int, last: int, sizes: Sizes, eps: float, x: Array, gain: Array, out: Array
) -> None:
    """`gain xhat` at some of the positions of all groups of samples."""
    _, n_channels, n = sizes
    lanes = width(x)
    for position in range(first, last):
        begin = (position // n * n_channels * n + position % n) * lanes
        mean, scale = statistics(x, begin, n_channels, n * lanes, eps)
        for c in range(n_channels):
            k = begin + c * n * lanes
            store(out, k, (load(x, k) - mean) * scale * gain[c])


@inlined
def channel_backward(
    first: int,
    last: int,
    sizes: Sizes,
    eps: float,
    x: Array,
    gain: Array,
    grad: Array,
    out: Array,
    sums: Array,
) -> None:
    """Gradients with respect to x, and to the gain lane by lane."""
    _, n_channels, n = sizes
    lanes = width(x)
    zero = spread(x, 0.0)
    for c in range(n_channels):
        store(sums, c * lanes, zero)
    for position in range(first, last):
        begin = (position // n * n_channels * n + position % n) * lanes
        mean, scale = statistics(x, begin, n_channels, n * lanes, eps)
        mean_g, mean_gx = zero, zero
        for c in range(n_channels):
            k = begin + c * n * lanes
            xhat = (load(x, k) - mean) * scale
            g = load(grad, k)
            store(sums, c * lanes, multiply_add(load(sums, c * lanes), g, xhat))
            mean_g = multiply_add(mean_g, g, gain[c])
            mean_gx = multiply_add(mean_gx, g * gain[c], xhat)
        mean_g, mean_gx = mean_g * (1.0 / n_channels), mean_gx * (1.0 / n_channels)
        for c in range(n_channels):
            k = begin + c * n * lanes
            xhat = (load(x, k) - mean) * scale
            store(out, k, (load(grad, k) * gain[c] - mean_g - xhat * mean_gx) * scale)


@Kernel
def channel_norm(x: Array, gain: Array, out: Array, sizes: Sizes, eps: float) -> None:
    """`gain xhat`."""
    n_positions = sizes[0] * sizes[2]
    for piece in prange(-(-n_positions // PIECE)):
        last = min(n_positions, (piece + 1) * PIECE)
        channel_forward(piece * PIECE, last, sizes, eps, x, gain, out)


@Kernel
def channel_norm_backward(
    x: Array, gain: Array, grad: Array, out: Array, of_gain: Array, sizes: Sizes, eps: float
) -> None:
    """Gradients with respect to x, and to the gain `(G, C)` for each group of samples."""
    n_samples, n_channels, n = sizes
    for g in prange(n_samples):
        lanes = width(x)
        sums = np.empty(n_channels * lanes, x.dtype)
        channel_backward(g * n, (g + 1) * n, sizes, eps, x, gain, grad, out, sums)
        for c in range(n_channels):
            of_gain[g * n_channels + c] = lane_sum(load(sums, c * lanes))


@dataclass(frozen=True)
class ChannelNormalization:
    """The operation `gain xhat` over channels: x `(G, C, H, W, L)`, gain `(C,)`.

    Attributes:
        eps: Added to the variance.
    """

    eps: float

    def forward(self, x: Tensor, gain: Tensor) -> tuple[Tensor, ...]:
        """The values, of the shape of x."""
        out = x.new_empty(x.shape)
        arrays = flat(x), flat(gain), flat(out)
        call(channel_norm, VALUE, x.dtype, *arrays, _sizes(x), self.eps)
        return (out,)

    def backward(
        self, grad: Tensor, needed: tuple[bool, ...], x: Tensor, gain: Tensor
    ) -> tuple[Tensor | None, ...]:
        """Gradients with respect to x and gain, which are computed together."""
        of_x, of_gain = x.new_empty(x.shape), gain.new_empty(len(x), len(gain))
        arrays = flat(x), flat(gain), flat(grad), flat(of_x), flat(of_gain)
        call(channel_norm_backward, GRADIENT, x.dtype, *arrays, _sizes(x), self.eps)
        return of_x, of_gain.sum(0)

    def reference(self, x: Tensor, gain: Tensor) -> Tensor:
        """The values in torch operations."""
        return gain[:, None, None, None] * _normalised(x, (1,), self.eps)


def _sizes(x: Tensor) -> Sizes:
    return x.shape[0], x.shape[1], x.shape[2] * x.shape[3]


def _normalised(x: Tensor, axes: tuple[int, ...], eps: float) -> Tensor:
    variance, mean = torch.var_mean(x, axes, correction=0, keepdim=True)
    return (x - mean) * (variance + eps).rsqrt()


def norm_silu_of(x: Tensor, a: Tensor, b: Tensor, n_groups: int, eps: float) -> Tensor:
    """SiLU(a xhat + b) with xhat normalised over groups of channels; differentiable.

    Args:
        x: Inputs `(G, C, H, W, L)`.
        a: Factors `(G, C, L)`.
        b: Summands `(G, C, L)`.
        n_groups: Groups of channels.
        eps: Added to the variance.
    """
    g, c, *_, lanes = x.shape
    check_shapes("normalisation", factors=(a, (g, c, lanes)), summands=(b, (g, c, lanes)))
    if c % n_groups:
        raise RuntimeError(f"normalisation: {c} channels cannot be divided into {n_groups} groups")
    return compute(NormSiLU(n_groups, eps), x, a, b)


def channel_norm_of(x: Tensor, gain: Tensor, eps: float) -> Tensor:
    """`gain xhat` with x `(G, C, H, W, L)` normalised over channels; differentiable."""
    check_shapes("normalisation", gain=(gain, (x.shape[1],)))
    return compute(ChannelNormalization(eps), x, gain)
