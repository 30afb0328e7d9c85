"""The inner loop of all kernels of the network: a tile of a contraction, kept in registers.

    out[i, j] = start[i] + sum_k a[i, k] b[j, k]        or        out[i, j] += sum_k a[i, k] b[j, k]

with k = (k_1, k_2, k_3). Each b[j, k] has one number per lane, that is per sample; a[i, k] is
either the same for all samples (the weights of a layer) or has one number per sample. A tile has so
many i and j that its sums fill the registers, so that a processor is limited by multiply-adds
instead of loads.

Convolutions, their gradients and all products of the attention are contractions:

    product                     i             j          k                     a per sample
    convolution                 out channel   column     in channel, kernel    no
    gradient of its weights     out channel   in channel row, column           yes
    softmax(k) x^T              feature       channel    position              yes
"""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from hqdm.simulators.compiled.calls import announced
from hqdm.simulators.compiled.code_cache import FunctionPointer, borrowing
from hqdm.simulators.compiled.lanes import VECTOR_BYTES, spread_number, vector_of

Array = np.ndarray

# For parts of a kernel, since Numba optimises a function again in everything that calls it.
inlined = njit(error_model="numpy", inline="always")

REGISTERS = 32 if VECTOR_BYTES == 64 else 16  # vector registers of AVX-512 and of AVX2
SPARE = 8  # registers for operands
MAX_COLUMNS = 4
# Rows of a tile. Sums over weights have many rows, since a weight is loaded and spread to all lanes
# in one instruction; the widths of networks are multiples of ten or eight.
WEIGHT_ROWS = (10, 8, 4, 2, 1)
SAMPLE_ROWS = (5, 4, 3, 2, 1)


class Rows(NamedTuple):
    """The numbers a[i, .] or b[j, .] of a flat array: a[i, k = 0] is at `first + i * step`.

    The step of weights that are equal for all samples is 1.
    """

    array: Array
    first: int
    step: int


class Place(NamedTuple):
    """The outputs of a contraction in a flat array: out[i, j] is at `first + i * step_i + ...`."""

    array: Array
    first: int
    step_i: int
    step_j: int


class Sum(NamedTuple):
    """The nested sums over k: for each of three axes its length and the steps of a and b."""

    length_1: int
    a_1: int
    b_1: int
    length_2: int
    a_2: int
    b_2: int
    length_3: int
    a_3: int
    b_3: int


@inlined
def over(length: int, a: int, b: int) -> Sum:
    """The sum over one axis."""
    return Sum(1, 0, 0, 1, 0, 0, length, a, b)


class Start(NamedTuple):
    """The first summands: `array[first + i]`, or the present outputs if `add` is true."""

    array: Array
    first: int
    add: bool


class _Operands:
    """Addresses of a tile in generated code.

    Args:
        context: Numba's context.
        builder: The builder of the code.
        signature: Types of the arguments of a tile.
        values: The arguments.
    """

    def __init__(self, context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> None:
        self.context = context
        self.builder = builder
        self.fields = {
            name: self._fields(kind, value)
            for name, kind, value in zip(TILE_ARGUMENTS, signature.args, values, strict=True)
        }
        dtype = signature.args[TILE_ARGUMENTS.index("out")].types[0].dtype  # of the pointer
        self.vector = vector_of(dtype)
        self.align = dtype.bitwidth // 8

    def _fields(self, kind: Any, value: ir.Value) -> list[ir.Value]:
        return [self.builder.extract_value(value, k) for k in range(len(kind.types))]

    def index(self, first: ir.Value, *terms: tuple[ir.Value | int, ir.Value | int]) -> ir.Value:
        """`first` plus a sum of products."""
        for factors in terms:
            n, step = (
                self.context.get_constant(types.intp, f) if isinstance(f, int) else f
                for f in factors
            )
            product = self.builder.mul(n, step, flags=("nsw",))
            first = self.builder.add(first, product, flags=("nsw",))
        return first

    def load(self, data: ir.Value, index: ir.Value) -> ir.Value:
        """The lanes at an index."""
        return self.builder.load(self._lanes(data, index), align=self.align)

    def store(self, lanes: ir.Value, data: ir.Value, index: ir.Value) -> None:
        """Write lanes at an index."""
        self.builder.store(lanes, self._lanes(data, index), align=self.align)

    def spread(self, data: ir.Value, index: ir.Value) -> ir.Value:
        """The number at an index in all lanes."""
        address = self.builder.gep(data, [index], inbounds=True)
        number = self.builder.load(address, align=self.align)
        return spread_number(self.builder, number, self.vector)

    def _lanes(self, data: ir.Value, index: ir.Value) -> ir.Value:
        address = self.builder.gep(data, [index], inbounds=True)
        return self.builder.bitcast(address, self.vector.as_pointer())


TILE_ARGUMENTS = ("a", "b", "out", "terms", "start")


def _tile(n_i: int, n_j: int, per_sample: bool) -> Callable[..., None]:
    """A tile of `n_i` rows and `n_j` columns.

    Args:
        n_i: Number of rows i.
        n_j: Number of columns j.
        per_sample: True if the numbers a differ between samples.
    """
    places = [(i, j) for i in range(n_i) for j in range(n_j)]

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> ir.Value:
        at = _Operands(context, builder, signature, values)
        a, first_a, step_a = at.fields["a"]
        if not per_sample:
            step_a = 1
        b, first_b, step_b = at.fields["b"]
        out, first, *steps = at.fields["out"]
        start, first_start, add = at.fields["start"]
        terms = at.fields["terms"]
        # LLVM keeps these in registers.
        sums = {place: cgutils.alloca_once(builder, at.vector) for place in places}
        outputs = {(i, j): at.index(first, (i, steps[0]), (j, steps[1])) for i, j in places}
        with builder.if_else(cgutils.is_true(builder, add)) as (then, otherwise):
            with then:
                for place in places:
                    builder.store(at.load(out, outputs[place]), sums[place])
            with otherwise:
                for i in range(n_i):
                    number = at.spread(start, at.index(first_start, (i, 1)))
                    for j in range(n_j):
                        builder.store(number, sums[i, j])

        def multiply_add(k_a: ir.Value, k_b: ir.Value) -> None:
            columns = [at.load(b, at.index(k_b, (j, step_b))) for j in range(n_j)]
            for i in range(n_i):
                k = at.index(k_a, (i, step_a))
                row = at.load(a, k) if per_sample else at.spread(a, k)
                for j, column in enumerate(columns):
                    product = builder.fmul(row, column, flags=("contract",))
                    total = builder.fadd(builder.load(sums[i, j]), product, flags=("contract",))
                    builder.store(total, sums[i, j])

        def nest(axis: int, k_a: ir.Value, k_b: ir.Value) -> None:
            if axis == len(terms) // 3:
                return multiply_add(k_a, k_b)
            length, of_a, of_b = terms[3 * axis : 3 * axis + 3]
            with cgutils.for_range(builder, length) as loop:
                nest(axis + 1, at.index(k_a, (loop.index, of_a)), at.index(k_b, (loop.index, of_b)))
            return None

        nest(0, first_a, first_b)
        for place in places:
            at.store(builder.load(sums[place]), out, outputs[place])
        return context.get_dummy_value()

    @intrinsic
    def tile(typing: Any, a: Any, b: Any, out: Any, terms: Any, start: Any) -> Any:
        return types.void(a, b, out, terms, start), generate

    return tile


def _block(n_i: int, per_sample: bool) -> Callable[..., None]:
    """The function for `n_i` rows and any number of columns."""
    n_columns = min(MAX_COLUMNS, max(1, (REGISTERS - SPARE) // n_i))
    tile = _tile(n_i, n_columns, per_sample)
    narrow = _tile(n_i, 1, per_sample)

    @borrowing
    def block(count: int, a: Rows, b: Rows, out: Place, terms: Sum, start: Start) -> None:
        j = 0
        while j < count:
            columns = Rows(b.array, b.first + j * b.step, b.step)
            place = Place(out.array, out.first + j * out.step_j, out.step_i, out.step_j)
            if j + n_columns <= count:
                tile(a, columns, place, terms, start)
                j += n_columns
            else:
                narrow(a, columns, place, terms, start)
                j += 1

    return block


weights_10, weights_8, weights_4, weights_2, weights_1 = (
    _block(n_i, per_sample=False) for n_i in WEIGHT_ROWS
)
samples_5, samples_4, samples_3, samples_2, samples_1 = (
    _block(n_i, per_sample=True) for n_i in SAMPLE_ROWS
)


@borrowing
def rows_of_tile(left: int, sizes: tuple[int, ...]) -> int:
    """The largest size that divides the rows that are left, if it is not small, or that fits."""
    for k in range(3):
        if left % sizes[k] == 0:
            return sizes[k]
    for k in range(1, 5):
        if left >= sizes[k]:
            return sizes[k]
    return 1


@borrowing
def rows_from(i: int, a: Rows, out: Place, start: Start) -> tuple[Rows, Place, Start]:
    """The operands of the rows from i on."""
    return (
        Rows(a.array, a.first + i * a.step, a.step),
        Place(out.array, out.first + i * out.step_i, out.step_i, out.step_j),
        Start(start.array, start.first + i, start.add),
    )


@borrowing
def tiles(
    per_sample: bool, n_i: int, n_j: int, a: Rows, b: Rows, out: Place, terms: Sum, start: Start
) -> None:
    """All rows and columns."""
    i = 0
    while i < n_i:
        size = rows_of_tile(n_i - i, SAMPLE_ROWS if per_sample else WEIGHT_ROWS)
        rows, place, begin = rows_from(i, a, out, start)
        if per_sample:
            if size == 5:
                samples_5(n_j, rows, b, place, terms, begin)
            elif size == 4:
                samples_4(n_j, rows, b, place, terms, begin)
            elif size == 3:
                samples_3(n_j, rows, b, place, terms, begin)
            elif size == 2:
                samples_2(n_j, rows, b, place, terms, begin)
            else:
                samples_1(n_j, rows, b, place, terms, begin)
        elif size == 10:
            weights_10(n_j, rows, b, place, terms, begin)
        elif size == 8:
            weights_8(n_j, rows, b, place, terms, begin)
        elif size == 4:
            weights_4(n_j, rows, b, place, terms, begin)
        elif size == 2:
            weights_2(n_j, rows, b, place, terms, begin)
        else:
            weights_1(n_j, rows, b, place, terms, begin)
        i += size


def contraction(a: Any, b: Any, out: Any, start: Any, n: Any) -> None:
    """A contraction, called by address.

    As a function of Numba, its tiles would be optimised again with every kernel that calls it.

    Args:
        a: Address of the numbers a.
        b: Address of the numbers b.
        out: Address of the outputs.
        start: Address of the first summands.
        n: Address of the other fields of the arguments of `contract`.
    """
    tiles(
        n[0] != 0,
        n[1],
        n[2],
        Rows(a, n[3], n[4]),
        Rows(b, n[5], n[6]),
        Place(out, n[7], n[8], n[9]),
        Sum(n[10], n[11], n[12], n[13], n[14], n[15], n[16], n[17], n[18]),
        Start(start, n[19], n[20] != 0),
    )


_pointer = FunctionPointer(contraction)


@cache
def contraction_of(dtype: torch.dtype) -> int:
    """The address of the compiled contraction for a dtype, the first argument of `contract`."""
    numbers = types.CPointer({torch.float32: types.float32, torch.float64: types.float64}[dtype])
    arrays = (numbers,) * 4
    with announced(dtype, "contraction of the U-Net"):
        return _pointer.address(types.void(*arrays, types.CPointer(types.int64)))


def _contract(per_sample: bool) -> Callable[..., None]:
    """The call of a contraction in a kernel."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> ir.Value:
        address, *values = values
        arrays, numbers = [], [context.get_constant(types.int64, int(per_sample))]
        for kind, value in zip(signature.args[1:], values, strict=True):
            if isinstance(kind, types.Integer):
                numbers.append(context.cast(builder, value, kind, types.int64))
                continue
            for k, of in enumerate(kind.types):
                field = builder.extract_value(value, k)
                if isinstance(of, types.Array):
                    arrays.append(context.make_array(of)(context, builder, field).data)
                else:
                    numbers.append(context.cast(builder, field, of, types.int64))
        index = ir.IntType(64)
        block = cgutils.alloca_once(builder, ir.ArrayType(index, len(numbers)))
        for k, number in enumerate(numbers):
            builder.store(number, cgutils.gep_inbounds(builder, block, 0, k))
        arguments = [*arrays, cgutils.gep_inbounds(builder, block, 0, 0)]
        kind = ir.FunctionType(ir.VoidType(), [argument.type for argument in arguments])
        builder.call(builder.inttoptr(address, kind.as_pointer()), arguments)
        return context.get_dummy_value()

    @intrinsic
    def contract(
        typing: Any,
        function: Any,
        n_i: Any,
        n_j: Any,
        a: Any,
        b: Any,
        out: Any,
        terms: Any,
        start: Any,
    ) -> Any:
        return types.void(types.intp, n_i, n_j, a, b, out, terms, start), generate

    return contract


contract_weights = _contract(per_sample=False)
contract_samples = _contract(per_sample=True)
