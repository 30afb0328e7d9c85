r"""Elementary functions of real lanes: quotient, square root, maximum, exponential.

    exp(x) = 2^n p(r),    n = round(x / log 2),    r = x - n log 2 in [-log(2) / 2, log(2) / 2],

with the Taylor polynomial p of exp, whose relative error is below the rounding error. Arguments are
clipped to the range in which 2^n is a normal number.
"""

import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any, NamedTuple

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from hqdm.simulators.compiled.lanes import Lanes, vector_of


class _Format(NamedTuple):
    """A format of floating-point numbers.

    Attributes:
        bits: Width of a number.
        mantissa: Explicit bits of the mantissa.
        bias: Of the exponent.
        high: Bits of log 2 that are exact in products with n.
        degree: Of the polynomial p; the remainder is below half a unit in the last place.
    """

    bits: int
    mantissa: int
    bias: int
    high: int
    degree: int


FORMATS = {
    types.float32: _Format(32, 23, 127, 12, 7),
    types.float64: _Format(64, 52, 1023, 32, 13),
}


LOG_2 = Decimal("0.69314718055994530941723212145817656807550013436")


def _constant(vector: ir.VectorType, number: float) -> ir.Constant:
    return ir.Constant(vector, [number] * vector.count)


def _unary(builder: ir.IRBuilder, name: str, x: ir.Value) -> ir.Value:
    suffix = f"v{x.type.count}{x.type.element.intrinsic_name}"
    function = ir.FunctionType(x.type, [x.type])
    return builder.call(builder.module.declare_intrinsic(f"{name}.{suffix}", (), function), [x])


def _exp(builder: ir.IRBuilder, x: ir.Value, dtype: types.Float) -> ir.Value:
    form, vector = FORMATS[dtype], vector_of(dtype)

    def multiply_add(a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
        product = builder.fmul(a, b, flags=("contract",))
        return builder.fadd(product, c, flags=("contract",))

    bound = (form.bias - 1) * math.log(2)
    for number, order in ((-bound, ">"), (bound, "<")):
        limit = _constant(vector, number)
        x = builder.select(builder.fcmp_unordered(order, x, limit), x, limit)  # nan stays nan
    scaled = builder.fmul(x, _constant(vector, 1 / math.log(2)))
    n = _unary(builder, "llvm.rint", scaled)
    high = math.ldexp(math.floor(math.ldexp(math.log(2), form.high)), -form.high)
    r = multiply_add(n, _constant(vector, -high), x)
    r = multiply_add(n, _constant(vector, float(Decimal(high) - LOG_2)), r)
    *rest, p = (_constant(vector, 1 / math.factorial(k)) for k in range(form.degree + 1))
    for coefficient in reversed(rest):
        p = multiply_add(p, r, coefficient)
    integers = ir.VectorType(ir.IntType(form.bits), vector.count)
    shift = ir.Constant(integers, [form.mantissa] * vector.count)
    exponent = builder.shl(builder.fptosi(n, integers), shift)
    return builder.bitcast(builder.add(builder.bitcast(p, integers), exponent), vector)


def _lane_function(generator: Callable[..., ir.Value], arity: int) -> Any:
    """A function of lanes for Numba from a code generator `(builder, *operands, dtype)`."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> ir.Value:
        return generator(builder, *values, signature.return_type.dtype)

    if arity == 1:

        @intrinsic
        def unary(typing: Any, x: Any) -> Any:
            return (Lanes(x.dtype)(x), generate) if isinstance(x, Lanes) else None

        return unary

    @intrinsic
    def binary(typing: Any, x: Any, y: Any) -> Any:
        return (Lanes(x.dtype)(x, y), generate) if isinstance(x, Lanes) and x == y else None

    return binary


def _maximum(builder: ir.IRBuilder, x: ir.Value, y: ir.Value, _: types.Float) -> ir.Value:
    return builder.select(builder.fcmp_unordered(">", x, y), x, y)


exp = _lane_function(_exp, 1)
sqrt = _lane_function(lambda builder, x, _: _unary(builder, "llvm.sqrt", x), 1)
divide = _lane_function(lambda builder, x, y, _: builder.fdiv(x, y), 2)
maximum = _lane_function(_maximum, 2)
