"""Convolutions in the layout of the lanes, and their gradients.

    y[o, i, j] = bias[o] + sum_{c, k, l} w[o, c, k, l] x[c, s i + k, s j + l]

with zeros around x and stride s. The gradient with respect to x is a convolution of the gradient
with respect to y, with s - 1 zeros between its rows and columns, by the reflected weights; that
with respect to w is a contraction over rows and columns.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numba import prange
from torch import Tensor

from hqdm.nn.compiled.contraction import (
    MAX_COLUMNS,
    Array,
    Place,
    Rows,
    Start,
    Sum,
    contract_samples,
    contract_weights,
    contraction_of,
    inlined,
)
from hqdm.nn.compiled.layout import GRADIENT, VALUE, check_shapes, flat
from hqdm.simulators.compiled.calls import call, compute
from hqdm.simulators.compiled.code_cache import Kernel
from hqdm.simulators.compiled.lanes import lane_sum, load, width

ROWS = 2  # of an image at a time, so that they stay in the first cache for all places of a kernel


class Plan(NamedTuple):
    """The address of the contraction, and sizes of inputs, outputs and kernel.

    Attributes:
        contract: The address.
        n_groups: Groups of samples.
        c_in: Channels of the inputs, `(n_groups, c_in, h_in, w_in, L)`.
        h_in: Height.
        w_in: Width.
        c_out: Channels of the outputs.
        h_out: Height.
        w_out: Width.
        height: Height of the kernel.
        width: Width of the kernel.
        stride: The stride.
        top: Rows of zeros above the inputs.
        left: Columns of zeros on their left.
    """

    contract: int
    n_groups: int
    c_in: int
    h_in: int
    w_in: int
    c_out: int
    h_out: int
    w_out: int
    height: int
    width: int
    stride: int
    top: int
    left: int


@inlined
def convolve_row(
    g: int, i: int, x: Array, weights: Array, bias: Array, out: Array, plan: Plan
) -> None:
    """Row i of the outputs of a group; weights are `(c, k, l, o)`.

    Zeros around the inputs are left out of the sums: those on the left and on the right column by
    column.
    """
    _, _, c_in, h_in, w_in, c_out, h_out, w_out, h, w, stride, top, left = plan
    lanes = width(x)
    upper = stride * i - top
    k_0, k_1 = max(0, -upper), min(h, h_in - upper)
    first = min(w_out, -(-left // stride))  # of the columns without zeros on either side
    last = max(first, min(w_out, (w_in + left - w) // stride + 1))
    j = 0
    while j < w_out:
        n = last - first if first == j < last else 1
        begin = stride * j - left
        l_0, l_1 = max(0, -begin), min(w, w_in - begin)
        corner = (g * c_in * h_in + upper + k_0) * w_in + begin + l_0
        # fmt: off
        terms = Sum(
            c_in, h * w * c_out, h_in * w_in * lanes,
            k_1 - k_0, w * c_out, w_in * lanes,
            l_1 - l_0, c_out, lanes,
        )
        # fmt: on
        contract_weights(
            plan.contract,
            c_out,
            n,
            Rows(weights, (k_0 * w + l_0) * c_out, 1),
            Rows(x, corner * lanes, stride * lanes),
            Place(out, ((g * c_out * h_out + i) * w_out + j) * lanes, h_out * w_out * lanes, lanes),
            terms,
            Start(bias, 0, False),
        )
        j += n


@Kernel
def convolve(x: Array, weights: Array, bias: Array, out: Array, plan: Plan) -> None:
    """The outputs."""
    h_out = plan.h_out
    for item in prange(plan.n_groups * h_out):
        convolve_row(item // h_out, item % h_out, x, weights, bias, out, plan)


@inlined
def correlate_block(
    g: int,
    first: int,
    count: int,
    x: Array,
    grad: Array,
    zeros: Array,
    sums: Array,
    plan: Plan,
) -> None:
    """Sums over the images of a group, for some input channels, lane by lane: `(k, l, c, o, L)`."""
    _, _, c_in, h_in, w_in, c_out, h_out, w_out, h, w, stride, top, left = plan
    lanes = width(x)
    for i in range(0, h_out, ROWS):
        for place in range(h * w):
            down, right = place // w - top, place % w - left
            # Rows and columns of the outputs whose input at this place of the kernel is no zero.
            i_0, i_1 = (
                max(i, -(down // stride)),
                min(i + ROWS, h_out, (h_in - 1 - down) // stride + 1),
            )
            j_0, j_1 = max(0, -(right // stride)), min(w_out, (w_in - 1 - right) // stride + 1)
            row = (g * c_in + first) * h_in + stride * i_0 + down
            # fmt: off
            terms = Sum(
                1, 0, 0,
                i_1 - i_0, w_out * lanes, stride * w_in * lanes,
                j_1 - j_0, lanes, stride * lanes,
            )
            # fmt: on
            corner = (g * c_out * h_out + i_0) * w_out + j_0
            contract_samples(
                plan.contract,
                c_out,
                count,
                Rows(grad, corner * lanes, h_out * w_out * lanes),
                Rows(x, (row * w_in + stride * j_0 + right) * lanes, h_in * w_in * lanes),
                Place(sums, place * count * c_out * lanes, lanes, c_out * lanes),
                terms,
                Start(zeros, 0, i > 0),
            )


@inlined
def reduce_block(g: int, first: int, count: int, sums: Array, out: Array, plan: Plan) -> None:
    """Sum the lanes of a block of gradients and write them as `(G, c, k, l, o)`."""
    c_in, c_out, n_places = plan.c_in, plan.c_out, plan.height * plan.width
    lanes = width(sums)
    for place in range(n_places):
        for c in range(count):
            for o in range(c_out):
                total = lane_sum(load(sums, ((place * count + c) * c_out + o) * lanes))
                out[((g * c_in + first + c) * n_places + place) * c_out + o] = total


@Kernel
def correlate(x: Array, grad: Array, out: Array, plan: Plan) -> None:
    """Gradients with respect to the weights, for each group of samples."""
    c_in, n_places = plan.c_in, plan.height * plan.width
    n_blocks = -(-c_in // MAX_COLUMNS)
    for item in prange(plan.n_groups * n_blocks):
        g, first = item // n_blocks, item % n_blocks * MAX_COLUMNS
        count = min(MAX_COLUMNS, c_in - first)
        sums = np.empty(n_places * count * plan.c_out * width(x), x.dtype)
        zeros = np.zeros(plan.c_out, x.dtype)
        correlate_block(g, first, count, x, grad, zeros, sums, plan)
        reduce_block(g, first, count, sums, out, plan)


@dataclass(frozen=True)
class Convolution:
    """The operation: inputs `(G, C_in, H, W, L)`, weights `(C_out, C_in, h, w)`, bias `(C_out,)`.

    Attributes:
        stride: Of the outputs.
        padding: Width of the zero padding.
    """

    stride: int = 1
    padding: int = 0

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, ...]:
        """The outputs `(G, C_out, H', W', L)`."""
        return (_convolve(x, weight, bias, self.stride, (self.padding, self.padding)),)

    def backward(
        self, grad: Tensor, needed: tuple[bool, ...], x: Tensor, weight: Tensor, bias: Tensor
    ) -> tuple[Tensor | None, ...]:
        """Gradients with respect to inputs, weights and bias."""
        of_x, of_weight, of_bias = needed
        return (
            self._grad_of_inputs(grad, weight, x.shape) if of_x else None,
            self._grad_of_weights(grad, x, weight) if of_weight else None,
            grad.sum((0, 2, 3, 4)) if of_bias else None,
        )

    def _grad_of_inputs(self, grad: Tensor, weight: Tensor, shape: torch.Size) -> Tensor:
        h, w = weight.shape[2:]
        reflected = weight.transpose(0, 1).flip(2, 3)
        around = h - 1 - self.padding, w - 1 - self.padding
        if self.stride > 1:
            grad = _spaced(grad, self.stride)
        bias = weight.new_zeros(weight.shape[1])
        return _convolve(grad, reflected, bias, 1, around, (shape[2], shape[3]))

    def _grad_of_weights(self, grad: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        c_out, c_in, h, w = weight.shape
        out = weight.new_empty(len(x), c_in, h, w, c_out)
        plan = _plan(x, grad, weight, self.stride, (self.padding, self.padding))
        call(correlate, GRADIENT, x.dtype, flat(x), flat(grad), flat(out), plan)
        # With the strides of a new tensor also where sizes are 1, as DDP expects of gradients.
        return out.sum(0).permute(3, 0, 1, 2).reshape(-1).view(weight.shape)

    def reference(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """The outputs in torch operations."""
        images = x.movedim(-1, 1).flatten(0, 1)
        out = F.conv2d(images, weight, bias, self.stride, self.padding)
        return out.unflatten(0, (len(x), -1)).movedim(1, -1)


def _spaced(x: Tensor, stride: int) -> Tensor:
    """Images with `stride - 1` zeros between rows and between columns."""
    g, c, h, w, lanes = x.shape
    out = x.new_zeros(g, c, stride * (h - 1) + 1, stride * (w - 1) + 1, lanes)
    out[:, :, ::stride, ::stride] = x
    return out


def _convolve(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    stride: int,
    zeros: tuple[int, int],
    size: tuple[int, int] | None = None,
) -> Tensor:
    """The outputs for inputs with zeros above and on the left.

    Args:
        x: Inputs.
        weight: Weights `(C_out, C_in, h, w)`.
        bias: The bias.
        stride: The stride.
        zeros: Rows of zeros above, and columns on the left.
        size: Height and width of the outputs; None with the same zeros on the other sides.
    """
    (c_out, _, h, w), (g, _, rows, columns, lanes) = weight.shape, x.shape
    if size is None:
        size = (rows + 2 * zeros[0] - h) // stride + 1, (columns + 2 * zeros[1] - w) // stride + 1
    out = x.new_empty(g, c_out, *size, lanes)
    arrays = flat(x), flat(weight.permute(1, 2, 3, 0)), flat(bias), flat(out)
    call(convolve, VALUE, x.dtype, *arrays, _plan(x, out, weight, stride, zeros))
    return out


def _plan(x: Tensor, out: Tensor, weight: Tensor, stride: int, zeros: tuple[int, int]) -> Plan:
    """The plan of a convolution with weights `(C_out, C_in, h, w)`."""
    (g, c_in, h_in, w_in, _), (_, c_out, h_out, w_out, _) = x.shape, out.shape
    h, w = weight.shape[2:]
    sizes = g, c_in, h_in, w_in, c_out, h_out, w_out, h, w
    return Plan(contraction_of(x.dtype), *sizes, stride, *zeros)


def convolution(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: int = 1, padding: int = 0
) -> Tensor:
    """A convolution of `(G, C_in, H, W, L)` by weights `(C_out, C_in, h, w)`; differentiable."""
    if bias is None:
        bias = weight.new_zeros(len(weight))
    (c_out, _, *kernel), c_in = weight.shape, x.shape[1]
    shapes = {"weights": (weight, (c_out, c_in, *kernel)), "bias": (bias, (c_out,))}
    check_shapes("convolution", **shapes)
    return compute(Convolution(stride, padding), x, weight, bias)
