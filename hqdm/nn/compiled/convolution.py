"""Convolutions in the layout of the lanes, and their gradients.

    y[o, i, j] = bias[o] + sum_{c, k, l} w[o, c, k, l] x[c, s i + k, s j + l]

for zero-padded x and stride s. The gradient with respect to x is a convolution of the gradient with
respect to y, with s - 1 zeros between its rows and columns, by the reflected weights; that with
respect to w is a contraction over rows and columns.
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
from hqdm.nn.compiled.layout import GRADIENT, VALUE, flat
from hqdm.simulators.compiled.calls import call, compute
from hqdm.simulators.compiled.code_cache import Kernel
from hqdm.simulators.compiled.lanes import lane_sum, load, width

ROWS = 2  # of an image at a time, so that they stay in the first cache for all places of a kernel


class Plan(NamedTuple):
    """The address of the contraction, and sizes of padded inputs, outputs and kernel.

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


@inlined
def convolve_row(
    g: int, i: int, x: Array, weights: Array, bias: Array, out: Array, plan: Plan
) -> None:
    """Row i of the outputs of a group; weights are `(c, k, l, o)`."""
    _, _, c_in, h_in, w_in, c_out, h_out, w_out, h, w, stride = plan
    lanes = width(x)
    row = Place(out, ((g * c_out) * h_out + i) * w_out * lanes, h_out * w_out * lanes, lanes)
    columns = Rows(x, (g * c_in * h_in + stride * i) * w_in * lanes, stride * lanes)
    # fmt: off
    terms = Sum(
        c_in, h * w * c_out, h_in * w_in * lanes,
        h, w * c_out, w_in * lanes,
        w, c_out, lanes,
    )
    # fmt: on
    contract_weights(
        plan.contract, c_out, w_out, Rows(weights, 0, 1), columns, row, terms, Start(bias, 0, False)
    )


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
    _, _, c_in, h_in, w_in, c_out, h_out, w_out, h, w, stride = plan
    lanes = width(x)
    for i in range(0, h_out, ROWS):
        n_rows = min(ROWS, h_out - i)
        rows = Rows(grad, (g * c_out * h_out + i) * w_out * lanes, h_out * w_out * lanes)
        # fmt: off
        terms = Sum(
            1, 0, 0,
            n_rows, w_out * lanes, stride * w_in * lanes,
            w_out, lanes, stride * lanes,
        )
        # fmt: on
        for place in range(h * w):
            row = (g * c_in + first) * h_in + stride * i + place // w
            corner = row * w_in + place % w
            channels = Rows(x, corner * lanes, h_in * w_in * lanes)
            out = Place(sums, place * count * c_out * lanes, lanes, c_out * lanes)
            start = Start(zeros, 0, i > 0)
            contract_samples(plan.contract, c_out, count, rows, channels, out, terms, start)


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
        return (_convolve(_padded(x, self.padding), weight, bias, self.stride),)

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
        g, c, rows, columns, lanes = grad.shape
        top, left = h - 1 - self.padding, w - 1 - self.padding
        height, width = shape[2] + h - 1, shape[3] + w - 1
        spaced = grad.new_zeros(g, c, height, width, lanes)
        stride = self.stride
        bottom, right = top + stride * (rows - 1) + 1, left + stride * (columns - 1) + 1
        spaced[:, :, top:bottom:stride, left:right:stride] = grad
        reflected = weight.transpose(0, 1).flip(2, 3)
        return _convolve(spaced, reflected, weight.new_zeros(weight.shape[1]), 1)

    def _grad_of_weights(self, grad: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        x = _padded(x, self.padding)
        c_out, c_in, h, w = weight.shape
        out = weight.new_empty(len(x), c_in, h, w, c_out)
        arrays = flat(x), flat(grad), flat(out)
        plan = _plan(x, grad, weight, self.stride)
        call(correlate, GRADIENT, x.dtype, *arrays, plan)
        return out.sum(0).permute(3, 0, 1, 2)

    def reference(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """The outputs in torch operations."""
        images = x.movedim(-1, 1).flatten(0, 1)
        out = F.conv2d(images, weight, bias, self.stride, self.padding)
        return out.unflatten(0, (len(x), -1)).movedim(1, -1)


def _padded(x: Tensor, padding: int) -> Tensor:
    return F.pad(x.detach(), (0, 0) + (padding,) * 4) if padding else x.detach().contiguous()


def _convolve(x: Tensor, weight: Tensor, bias: Tensor, stride: int) -> Tensor:
    """The outputs for padded inputs."""
    (c_out, _, h, w), (g, _, rows, columns, lanes) = weight.shape, x.shape
    out = x.new_empty(g, c_out, (rows - h) // stride + 1, (columns - w) // stride + 1, lanes)
    arrays = flat(x), flat(weight.permute(1, 2, 3, 0)), flat(bias), flat(out)
    call(convolve, VALUE, x.dtype, *arrays, _plan(x, out, weight, stride))
    return out


def _plan(x: Tensor, out: Tensor, weight: Tensor, stride: int) -> Plan:
    """The plan for padded inputs, outputs and weights `(C_out, C_in, h, w)`."""
    (g, c_in, h_in, w_in, _), (_, c_out, h_out, w_out, _) = x.shape, out.shape
    sizes = g, c_in, h_in, w_in, c_out, h_out, w_out, *weight.shape[2:], stride
    return Plan(contraction_of(x.dtype), *sizes)


def convolution(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: int = 1, padding: int = 0
) -> Tensor:
    """A convolution of `(G, C_in, H, W, L)` by weights `(C_out, C_in, h, w)`; differentiable."""
    if bias is None:
        bias = weight.new_zeros(len(weight))
    return compute(Convolution(stride, padding), x, weight, bias)
