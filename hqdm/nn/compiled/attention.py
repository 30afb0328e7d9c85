r"""Linear attention in the layout of the lanes: its two softmaxes, never stored for all positions.

With normalised inputs x `(C, N)` of a sample,

    pool:   P[f, c] = sum_n K[f, n] x[c, n],            K = softmax over positions n of W_k x
    query:  y[o, n] = bias[o] + sum_f M[o, f] Q[f, n],  Q = softmax over a head's f of W_q x

and attention is the query with M a linear function of P, see `nn.attention.LinearAttention`. The
backward passes compute the softmaxes again for a few positions at a time: of the pool only the
largest logit and the sum of a feature are kept. With g the gradient with respect to K or Q, that
with respect to the logits is K (g - sum_n g K), where sum_n g K = sum_c G[f, c] P[f, c] for the
gradient G with respect to P.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numba import prange
from torch import Tensor

from hqdm.nn.compiled.contraction import (
    Array,
    Place,
    Rows,
    Start,
    contract_samples,
    contract_weights,
    contraction_of,
    inlined,
    over,
)
from hqdm.nn.compiled.elementary import divide, exp, maximum
from hqdm.nn.compiled.layout import GRADIENT, VALUE, check_shapes, flat
from hqdm.simulators.compiled.calls import call, compute
from hqdm.simulators.compiled.code_cache import Kernel
from hqdm.simulators.compiled.lanes import lane_sum, load, multiply_add, spread, store, width

FEATURES = 4  # of the pool whose logits are kept for all positions at a time
POSITIONS = 28  # whose logits of a head are kept at a time


class Plan(NamedTuple):
    """Sizes of an attention, and what contractions need.

    Attributes:
        contract: The address of the contraction.
        zeros: Zeros, as many as there are rows of a contraction.
        n_groups: Groups of samples.
        n_channels: Channels C of the inputs.
        n_positions: Positions N.
        n_heads: Heads.
        dim: Features of a head.
    """

    contract: int
    zeros: Array
    n_groups: int
    n_channels: int
    n_positions: int
    n_heads: int
    dim: int


@inlined
def logits_of(
    row: int, n_rows: int, n: int, weights: Array, x: Array, first: int, out: Array, plan: Plan
) -> None:
    """Logits `(n_rows, n, L)`.

    Args:
        row: The first feature.
        n_rows: Number of features.
        n: Number of positions.
        weights: `(C, F)`.
        x: Inputs.
        first: Index in x of the first channel at the first position.
        out: The logits.
        plan: The plan.
    """
    lanes = width(x)
    contract_weights(
        plan.contract,
        n_rows,
        n,
        Rows(weights, row, 1),
        Rows(x, first, lanes),
        Place(out, 0, n * lanes, lanes),
        over(plan.n_channels, plan.n_heads * plan.dim, plan.n_positions * lanes),
        Start(plan.zeros, 0, False),
    )


@inlined
def exponentials(first: int, n: int, step: int, x: Array) -> Any:
    """Replace n lanes by exp(x - max(x)); return the maximum and the inverse sum."""
    largest = load(x, first)
    for k in range(1, n):
        largest = maximum(largest, load(x, first + k * step))
    total = spread(x, 0.0)
    for k in range(n):
        value = exp(load(x, first + k * step) - largest)
        total = total + value
        store(x, first + k * step, value)
    return largest, divide(spread(x, 1.0), total)


@inlined
def scale(first: int, n: int, step: int, factor: Any, x: Array) -> None:
    """Multiply n lanes."""
    for k in range(n):
        store(x, first + k * step, load(x, first + k * step) * factor)


@inlined
def softmax_gradient(n: int, softmax: Array, inner: Any, at: int, step: int, grad: Array) -> None:
    """Replace n lanes of the gradient with respect to a softmax by that of its logits."""
    for k in range(n):
        place = at + k * step
        store(grad, place, load(softmax, place) * (load(grad, place) - inner))


@inlined
def pool_features(
    g: int, row: int, n_rows: int, weights: Array, x: Array, work: Array, outs: Any, plan: Plan
) -> None:
    """Some rows f of P, and of their largest logits and inverse sums."""
    pooled, extremes = outs
    lanes, n, n_channels = width(x), plan.n_positions, plan.n_channels
    sample = g * n_channels * n * lanes
    logits_of(row, n_rows, n, weights, x, sample, work, plan)
    first = g * plan.n_heads * plan.dim + row
    for f in range(n_rows):
        largest, inverse = exponentials(f * n * lanes, n, lanes, work)
        store(extremes, 2 * (first + f) * lanes, largest)
        store(extremes, (2 * (first + f) + 1) * lanes, inverse)
    contract_samples(
        plan.contract,
        n_rows,
        n_channels,
        Rows(work, 0, n * lanes),
        Rows(x, sample, n * lanes),
        Place(pooled, first * n_channels * lanes, n_channels * lanes, lanes),
        over(n, lanes, lanes),
        Start(plan.zeros, 0, False),
    )
    for f in range(n_rows):
        inverse = load(extremes, (2 * (first + f) + 1) * lanes)
        scale((first + f) * n_channels * lanes, n_channels, lanes, inverse, pooled)


@Kernel
def pool(x: Array, weights: Array, outs: tuple[Array, Array], plan: Plan) -> None:
    """P, and the largest logits and inverse sums of its features."""
    features = plan.n_heads * plan.dim
    n_blocks = -(-features // FEATURES)
    for item in prange(plan.n_groups * n_blocks):
        g, row = item // n_blocks, item % n_blocks * FEATURES
        n_rows = min(FEATURES, features - row)
        work = np.empty(n_rows * plan.n_positions * width(x), x.dtype)
        pool_features(g, row, n_rows, weights, x, work, outs, plan)


@inlined
def query_softmax(
    head: int, n: int, weights: Array, x: Array, first: int, out: Array, plan: Plan
) -> None:
    """Q of a head at n positions."""
    dim, lanes = plan.dim, width(x)
    logits_of(head * dim, dim, n, weights, x, first, out, plan)
    for position in range(n):
        _, inverse = exponentials(position * lanes, dim, n * lanes, out)
        scale(position * lanes, dim, n * lanes, inverse, out)


@inlined
def query_positions(
    g: int, start: int, n: int, arrays: Any, bias: Array, work: Array, out: Array, plan: Plan
) -> None:
    """Y at n positions from `start` on."""
    x, weights, mix = arrays
    lanes, n_out, features = width(x), len(bias), plan.n_heads * plan.dim
    first = (g * plan.n_channels * plan.n_positions + start) * lanes
    of_block = (g * n_out * plan.n_positions + start) * lanes
    for head in range(plan.n_heads):
        query_softmax(head, n, weights, x, first, work, plan)
        of_head = (g * n_out * features + head * plan.dim) * lanes
        contract_samples(
            plan.contract,
            n_out,
            n,
            Rows(mix, of_head, features * lanes),
            Rows(work, 0, lanes),
            Place(out, of_block, plan.n_positions * lanes, lanes),
            over(plan.dim, lanes, n * lanes),
            Start(bias, 0, head > 0),
        )


@Kernel
def query(x: Array, weights: Array, mix: Array, bias: Array, out: Array, plan: Plan) -> None:
    """Y."""
    n_blocks = -(-plan.n_positions // POSITIONS)
    for item in prange(plan.n_groups * n_blocks):
        g, start = item // n_blocks, item % n_blocks * POSITIONS
        count = min(POSITIONS, plan.n_positions - start)
        work = np.empty(plan.dim * count * width(x), x.dtype)
        query_positions(g, start, count, (x, weights, mix), bias, work, out, plan)


@inlined
def through_logits(
    head: int, n: int, arrays: Any, first: int, grad: Array, outs: Any, initial: Any, plan: Plan
) -> None:
    """Add the gradients of a head's logits to those of the inputs and of the weights.

    Args:
        head: The head.
        n: Number of positions.
        arrays: The inputs, and the weights `(F, C)`.
        first: Index in x of the first channel at the first position.
        grad: Gradient with respect to the logits, `(dim, n, L)`.
        outs: Gradients with respect to the inputs, and to the weights lane by lane, `(F, C, L)`.
        initial: Whether these are the first summands of each.
        plan: The plan.
    """
    x, weights = arrays
    of_x, of_weights = outs
    lanes, n_channels, dim = width(x), plan.n_channels, plan.dim
    contract_weights(
        plan.contract,
        n_channels,
        n,
        Rows(weights, head * dim * n_channels, 1),
        Rows(grad, 0, lanes),
        Place(of_x, first, plan.n_positions * lanes, lanes),
        over(dim, n_channels, n * lanes),
        Start(plan.zeros, 0, not initial[0]),
    )
    contract_samples(
        plan.contract,
        dim,
        n_channels,
        Rows(grad, 0, n * lanes),
        Rows(x, first, plan.n_positions * lanes),
        Place(of_weights, head * dim * n_channels * lanes, n_channels * lanes, lanes),
        over(n, lanes, lanes),
        Start(plan.zeros, 0, not initial[1]),
    )


@inlined
def workspace(x: Array, plan: Plan) -> tuple[Array, Array, Array]:
    """Gradient of the weights lane by lane; a softmax of a head and its gradient."""
    lanes = width(x)
    sums = np.empty(plan.n_heads * plan.dim * plan.n_channels * lanes, x.dtype)
    n = plan.dim * POSITIONS * lanes
    return sums, np.empty(n, x.dtype), np.empty(n, x.dtype)


@inlined
def reduce_weights(g: int, sums: Array, out: Array) -> None:
    """Sum the lanes of the gradient with respect to the weights."""
    lanes = width(sums)
    n = len(sums) // lanes
    for k in range(n):
        out[g * n + k] = lane_sum(load(sums, k * lanes))


@inlined
def key_softmax(
    head: int, n: int, weights: Array, x: Array, first: int, of_head: Any, out: Array, plan: Plan
) -> None:
    """K of a head at n positions; `of_head` are the extremes and the head's first feature."""
    extremes, feature = of_head
    lanes = width(x)
    logits_of(head * plan.dim, plan.dim, n, weights, x, first, out, plan)
    for f in range(plan.dim):
        largest = load(extremes, 2 * (feature + f) * lanes)
        inverse = load(extremes, (2 * (feature + f) + 1) * lanes)
        for k in range(f * n * lanes, (f + 1) * n * lanes, lanes):
            store(out, k, exp(load(out, k) - largest) * inverse)


@inlined
def pool_head_backward(
    g: int, head: int, start: int, n: int, arrays: Any, works: Any, outs: Any, plan: Plan
) -> None:
    """Gradients of the pool, those of a head at n positions from `start` on."""
    x, weights, transposed, pooled, extremes, of_pooled = arrays
    keys, grad = works
    lanes, n_channels, dim = width(x), plan.n_channels, plan.dim
    first = (g * n_channels * plan.n_positions + start) * lanes
    feature = (g * plan.n_heads + head) * dim
    key_softmax(head, n, weights, x, first, (extremes, feature), keys, plan)
    contract_samples(
        plan.contract,
        dim,
        n,
        Rows(of_pooled, feature * n_channels * lanes, n_channels * lanes),
        Rows(x, first, lanes),
        Place(grad, 0, n * lanes, lanes),
        over(n_channels, lanes, plan.n_positions * lanes),
        Start(plan.zeros, 0, False),
    )
    for f in range(dim):
        inner = spread(x, 0.0)
        begin = (feature + f) * n_channels * lanes
        for k in range(begin, begin + n_channels * lanes, lanes):
            inner = multiply_add(inner, load(of_pooled, k), load(pooled, k))
        softmax_gradient(n, keys, inner, f * n * lanes, lanes, grad)
    through_logits(head, n, (x, transposed), first, grad, outs, (head == 0, start == 0), plan)
    contract_samples(
        plan.contract,
        n_channels,
        n,
        Rows(of_pooled, feature * n_channels * lanes, lanes),
        Rows(keys, 0, lanes),
        Place(outs[0], first, plan.n_positions * lanes, lanes),
        over(dim, n_channels * lanes, n * lanes),
        Start(plan.zeros, 0, True),
    )


@Kernel
def pool_backward(
    arrays: tuple[Array, Array, Array, Array, Array, Array],
    of_x: Array,
    of_weights: Array,
    plan: Plan,
) -> None:
    """Gradients of the pool; of the weights for each group of samples, `(G, F, C)`.

    Args:
        arrays: Inputs, weights `(C, F)`, weights `(F, C)`, P, the largest logits and inverse sums,
            and the gradient with respect to P.
        of_x: The gradient with respect to the inputs.
        of_weights: The gradients with respect to the weights.
        plan: The plan.
    """
    for g in prange(plan.n_groups):
        sums, keys, grad = workspace(arrays[0], plan)
        for start in range(0, plan.n_positions, POSITIONS):
            count = min(POSITIONS, plan.n_positions - start)
            for head in range(plan.n_heads):
                pool_head_backward(g, head, start, count, arrays, (keys, grad), (of_x, sums), plan)
        reduce_weights(g, sums, of_weights)


@inlined
def query_head_backward(
    g: int, head: int, start: int, n: int, arrays: Any, works: Any, outs: Any, plan: Plan
) -> None:
    """Gradients of the query, those of a head at n positions from `start` on."""
    x, weights, transposed, mix, of_y = arrays
    queries, grad = works
    of_x, of_weights, of_mix = outs
    lanes, dim, features = width(x), plan.dim, plan.n_heads * plan.dim
    n_out = len(of_y) // (len(x) // plan.n_channels)
    first = (g * plan.n_channels * plan.n_positions + start) * lanes
    of_block = (g * n_out * plan.n_positions + start) * lanes
    of_head = (g * n_out * features + head * dim) * lanes
    query_softmax(head, n, weights, x, first, queries, plan)
    contract_samples(
        plan.contract,
        dim,
        n,
        Rows(mix, of_head, lanes),
        Rows(of_y, of_block, lanes),
        Place(grad, 0, n * lanes, lanes),
        over(n_out, features * lanes, plan.n_positions * lanes),
        Start(plan.zeros, 0, False),
    )
    contract_samples(
        plan.contract,
        n_out,
        dim,
        Rows(of_y, of_block, plan.n_positions * lanes),
        Rows(queries, 0, n * lanes),
        Place(of_mix, of_head, features * lanes, lanes),
        over(n, lanes, lanes),
        Start(plan.zeros, 0, start > 0),
    )
    for position in range(n):
        inner = spread(x, 0.0)
        for k in range(position * lanes, (dim * n + position) * lanes, n * lanes):
            inner = multiply_add(inner, load(queries, k), load(grad, k))
        softmax_gradient(dim, queries, inner, position * lanes, n * lanes, grad)
    initial = head == 0, start == 0
    through_logits(head, n, (x, transposed), first, grad, (of_x, of_weights), initial, plan)


@Kernel
def query_backward(
    arrays: tuple[Array, Array, Array, Array, Array],
    of_x: Array,
    of_weights: Array,
    of_mix: Array,
    plan: Plan,
) -> None:
    """Gradients of the query; of the weights for each group of samples, `(G, F, C)`.

    Args:
        arrays: Inputs, weights `(C, F)`, weights `(F, C)`, M and the gradient with respect to y.
        of_x: The gradient with respect to the inputs.
        of_weights: The gradients with respect to the weights.
        of_mix: The gradient with respect to M.
        plan: The plan.
    """
    for g in prange(plan.n_groups):
        sums, queries, grad = workspace(arrays[0], plan)
        for start in range(0, plan.n_positions, POSITIONS):
            count = min(POSITIONS, plan.n_positions - start)
            for head in range(plan.n_heads):
                works, outs = (queries, grad), (of_x, sums, of_mix)
                query_head_backward(g, head, start, count, arrays, works, outs, plan)
        reduce_weights(g, sums, of_weights)


@dataclass(frozen=True)
class Pool:
    """The operation P = softmax_n(W x) x^T: x `(G, C, N, L)`, W `(F, C)`, P `(G, F, C, L)`.

    Attributes:
        n_heads: Number of heads.
    """

    n_heads: int

    def forward(self, x: Tensor, weight: Tensor) -> tuple[Tensor, ...]:
        """P, a copy of it, and the largest logits and the inverse sums `(G, F, 2, L)`."""
        (g, c, _, lanes), features = x.shape, len(weight)
        pooled = x.new_empty(g, features, c, lanes)
        extremes = x.new_empty(g, features, 2, lanes)
        outs = flat(pooled), flat(extremes)
        plan = _plan(x, weight, self.n_heads)
        call(pool, VALUE, x.dtype, flat(x), flat(weight.T), outs, plan)
        return pooled, pooled.clone(), extremes

    def backward(
        self,
        grad: Tensor,
        needed: tuple[bool, ...],
        x: Tensor,
        weight: Tensor,
        pooled: Tensor,
        extremes: Tensor,
    ) -> tuple[Tensor | None, ...]:
        """Gradients with respect to x and W, which are computed together."""
        of_x, of_weight = x.new_empty(x.shape), x.new_empty(len(x), *weight.shape)
        arrays = tuple(map(flat, (x, weight.T, weight, pooled, extremes, grad)))
        outs = flat(of_x), flat(of_weight)
        plan = _plan(x, weight, self.n_heads)
        call(pool_backward, GRADIENT, x.dtype, arrays, *outs, plan)
        return of_x, of_weight.sum(0)

    def reference(self, x: Tensor, weight: Tensor) -> Tensor:
        """P in torch operations."""
        keys = torch.einsum("fc,gcnl->gfnl", weight, x).softmax(dim=2)
        return torch.einsum("gfnl,gcnl->gfcl", keys, x)


@dataclass(frozen=True)
class Query:
    """The operation y = bias + M softmax_d(W x): M `(G, O, F, L)`, y `(G, O, N, L)`.

    Attributes:
        n_heads: Number of heads.
    """

    n_heads: int

    def forward(self, x: Tensor, weight: Tensor, mix: Tensor, bias: Tensor) -> tuple[Tensor, ...]:
        """Y."""
        out = x.new_empty(len(x), len(bias), *x.shape[2:])
        arrays = flat(x), flat(weight.T), flat(mix), flat(bias), flat(out)
        call(query, VALUE, x.dtype, *arrays, _plan(x, weight, self.n_heads, len(bias)))
        return (out,)

    def backward(
        self,
        grad: Tensor,
        needed: tuple[bool, ...],
        x: Tensor,
        weight: Tensor,
        mix: Tensor,
        bias: Tensor,
    ) -> tuple[Tensor | None, ...]:
        """Gradients with respect to x, W, M, which are computed together, and the bias."""
        of_x, of_weight = x.new_empty(x.shape), x.new_empty(len(x), *weight.shape)
        of_mix = mix.new_empty(mix.shape)
        arrays = tuple(map(flat, (x, weight.T, weight, mix, grad)))
        outs = flat(of_x), flat(of_weight), flat(of_mix)
        plan = _plan(x, weight, self.n_heads, len(bias))
        call(query_backward, GRADIENT, x.dtype, arrays, *outs, plan)
        return of_x, of_weight.sum(0), of_mix, grad.sum((0, 2, 3))

    def reference(self, x: Tensor, weight: Tensor, mix: Tensor, bias: Tensor) -> Tensor:
        """Y in torch operations."""
        logits = torch.einsum("fc,gcnl->gfnl", weight, x).unflatten(1, (self.n_heads, -1))
        queries = logits.softmax(dim=2).flatten(1, 2)
        return torch.einsum("gofl,gfnl->gonl", mix, queries) + bias[:, None, None]


def _plan(x: Tensor, weight: Tensor, n_heads: int, n_out: int = 0) -> Plan:
    (g, c, n, _), features = x.shape, len(weight)
    zeros = np.zeros(max(c, features, n_out), flat(weight).dtype)
    return Plan(contraction_of(x.dtype), zeros, g, c, n, n_heads, features // n_heads)


def pool_of(x: Tensor, weight: Tensor, n_heads: int) -> Tensor:
    """softmax_n(W x) x^T; differentiable. See `Pool`."""
    check_shapes("attention", weights=(weight, (len(weight), x.shape[1])))
    return compute(Pool(n_heads), x, weight)


def query_of(x: Tensor, weight: Tensor, mix: Tensor, bias: Tensor, n_heads: int) -> Tensor:
    """Bias + M softmax_d(W x); differentiable. See `Query`."""
    (g, c, _, lanes), features = x.shape, len(weight)
    shapes = {"weights": (weight, (features, c)), "M": (mix, (g, len(bias), features, lanes))}
    check_shapes("attention", **shapes)
    return compute(Query(n_heads), x, weight, mix, bias)
