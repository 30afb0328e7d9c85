"""Vector lanes for Numba: values that hold one number for each of several samples.

The samples of a batch are independent, so that one vector instruction processes 8 or 16 of them.
Numba vectorises loops only if it can prove that arrays do not overlap. An explicit vector type
guarantees vectorisation and keeps sums in registers:

    x = load(array, i)                      # array[i : i + width(array)], one number per lane
    z = load_complex(array, i)              # real parts, followed by the imaginary parts
    store(array, i, multiply_add(x, 2.0, x * x))

Scalar operands are broadcast to all lanes. Complex lanes are two vectors, so that a complex product
is four multiply-adds without a shuffle.
"""

import operator
from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, lower_builtin, models, register_model, type_callable

IR_TYPES = {types.float32: ir.FloatType(), types.float64: ir.DoubleType()}
INDEX = ir.IntType(32)
VECTOR_BYTES = 64 if llvm.get_host_cpu_features().get("avx512f") else 32

# Real and imaginary part of a value in the generated code; the latter is None for a real value.
Parts = tuple[ir.Value, ir.Value | None]


def n_lanes(itemsize: int) -> int:
    """Number of lanes for real numbers of `itemsize` bytes."""
    return VECTOR_BYTES // itemsize


class Lanes(types.Type):
    """Numba's type of real lanes."""

    def __init__(self, dtype: types.Float) -> None:
        self.dtype = dtype
        super().__init__(name=f"Lanes({dtype})")


class ComplexLanes(types.Type):
    """Numba's type of complex lanes; `dtype` is the dtype of their real and imaginary parts."""

    def __init__(self, dtype: types.Float) -> None:
        self.dtype = dtype
        super().__init__(name=f"ComplexLanes({dtype})")


@register_model(Lanes)
class LanesModel(models.PrimitiveModel):
    """The representation of real lanes, an LLVM vector."""

    def __init__(self, manager: Any, lanes: Lanes) -> None:
        super().__init__(manager, lanes, vector_of(lanes.dtype))


@register_model(ComplexLanes)
class ComplexLanesModel(models.StructModel):
    """The representation of complex lanes, two vectors of real lanes."""

    def __init__(self, manager: Any, lanes: ComplexLanes) -> None:
        real = Lanes(lanes.dtype)
        super().__init__(manager, lanes, [("real", real), ("imag", real)])


def vector_of(dtype: types.Float) -> ir.VectorType:
    """The LLVM type of real lanes."""
    return ir.VectorType(IR_TYPES[dtype], n_lanes(dtype.bitwidth // 8))


def spread_number(builder: ir.IRBuilder, number: ir.Value, vector: ir.VectorType) -> ir.Value:
    """The same number in all lanes."""
    undefined = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(undefined, number, ir.Constant(INDEX, 0))
    mask = ir.Constant(ir.VectorType(INDEX, vector.count), [0] * vector.count)
    return builder.shuffle_vector(first, undefined, mask)


def _parts(context: Any, builder: ir.IRBuilder, kind: Any, value: Any, dtype: Any) -> Parts:
    """A value of any kind as vectors."""
    if isinstance(kind, Lanes):
        return value, None
    if isinstance(kind, ComplexLanes):
        pair = cgutils.create_struct_proxy(kind)(context, builder, value)
        return pair.real, pair.imag
    vector = vector_of(dtype)
    if isinstance(kind, types.Complex):
        number = context.make_complex(builder, kind, value)
        parts = (
            context.cast(builder, part, kind.underlying_float, dtype)
            for part in (number.real, number.imag)
        )
        real, imag = (spread_number(builder, part, vector) for part in parts)
        return real, imag
    return spread_number(builder, context.cast(builder, value, kind, dtype), vector), None


def _value(context: Any, builder: ir.IRBuilder, kind: Any, parts: Parts) -> ir.Value:
    """Vectors as a value of a kind of lanes."""
    real, imag = parts
    if isinstance(kind, Lanes):
        return real
    pair = cgutils.create_struct_proxy(kind)(context, builder)
    pair.real, pair.imag = real, imag
    return pair._getvalue()


class _Arithmetic:
    """Code generation for sums and products of vectors.

    A product and a sum may be contracted to one instruction; nothing else is reordered.
    """

    def __init__(self, builder: ir.IRBuilder) -> None:
        self.builder = builder

    def plus(self, a: ir.Value, b: ir.Value) -> ir.Value:
        return self.builder.fadd(a, b, flags=("contract",))

    def minus(self, a: ir.Value, b: ir.Value) -> ir.Value:
        return self.builder.fsub(a, b, flags=("contract",))

    def times(self, a: ir.Value, b: ir.Value) -> ir.Value:
        return self.builder.fmul(a, b, flags=("contract",))

    def add(self, a: Parts, b: Parts) -> Parts:
        imag = b[1] if a[1] is None else a[1] if b[1] is None else self.plus(a[1], b[1])
        return self.plus(a[0], b[0]), imag

    def sub(self, a: Parts, b: Parts) -> Parts:
        if b[1] is None:
            return self.minus(a[0], b[0]), a[1]
        imag = self.builder.fneg(b[1]) if a[1] is None else self.minus(a[1], b[1])
        return self.minus(a[0], b[0]), imag

    def mul(self, a: Parts, b: Parts) -> Parts:
        real = self.times(a[0], b[0])
        if a[1] is None or b[1] is None:
            imag = (b[1] and self.times(a[0], b[1])) or (a[1] and self.times(a[1], b[0]))
            return real, imag
        real = self.minus(real, self.times(a[1], b[1]))
        return real, self.plus(self.times(a[0], b[1]), self.times(a[1], b[0]))

    def multiply_add(self, c: Parts, a: Parts, b: Parts) -> Parts:
        """C + a b, term by term, so that each term is one instruction."""
        real, imag = self.plus(c[0], self.times(a[0], b[0])), c[1]
        if a[1] is not None and b[1] is not None:
            real = self.minus(real, self.times(a[1], b[1]))
        for x, y in ((a[0], b[1]), (a[1], b[0])):
            if x is not None and y is not None:
                product = self.times(x, y)
                imag = product if imag is None else self.plus(imag, product)
        return real, imag


def _is_lanes(kind: Any) -> bool:
    return isinstance(kind, (Lanes, ComplexLanes))


def _result_kind(*kinds: Any) -> Any:
    """The type of the result of an operation, or None if no operand has lanes."""
    dtype = next((kind.dtype for kind in kinds if _is_lanes(kind)), None)
    if dtype is None:
        return None
    complex_ones = (ComplexLanes, types.Complex)
    return (ComplexLanes if any(isinstance(k, complex_ones) for k in kinds) else Lanes)(dtype)


def _lowering(name: str) -> Callable[..., ir.Value]:
    """The code generator of an arithmetic operation."""

    def lower(context: Any, builder: Any, signature: Any, values: Any) -> ir.Value:
        result = signature.return_type
        operands = [
            _parts(context, builder, kind, value, result.dtype)
            for kind, value in zip(signature.args, values, strict=True)
        ]
        parts = getattr(_Arithmetic(builder), name)(*operands)
        return _value(context, builder, result, parts)

    return lower


def _register(function: Callable[..., Any], name: str) -> None:
    """Define an operator between lanes, and between lanes and numbers."""

    @type_callable(function)
    def typer(context: Any) -> Callable[..., Any]:
        return _result_kind

    lanes = (Lanes, ComplexLanes)
    pairs = [(a, b) for a in lanes for b in lanes]
    pairs += [(a, types.Number) for a in lanes] + [(types.Number, b) for b in lanes]
    for pair in pairs:
        lower_builtin(function, *pair)(_lowering(name))


_register(operator.add, "add")
_register(operator.iadd, "add")
_register(operator.sub, "sub")
_register(operator.mul, "mul")


@intrinsic
def multiply_add(typing: Any, c: Any, a: Any, b: Any) -> Any:
    """C + a b, for lanes and numbers."""
    return _result_kind(c, a, b)(c, a, b), _lowering("multiply_add")


@intrinsic
def conj(typing: Any, z: Any) -> Any:
    """Complex conjugates of complex lanes."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> ir.Value:
        real, imag = _parts(context, builder, z, values[0], z.dtype)
        return _value(context, builder, z, (real, builder.fneg(imag)))

    return z(z), generate


@intrinsic
def real(typing: Any, z: Any) -> Any:
    """Real parts of complex lanes."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> ir.Value:
        return _parts(context, builder, z, values[0], z.dtype)[0]

    return Lanes(z.dtype)(z), generate


@intrinsic
def imag(typing: Any, z: Any) -> Any:
    """Imaginary parts of complex lanes."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> ir.Value:
        return _parts(context, builder, z, values[0], z.dtype)[1]

    return Lanes(z.dtype)(z), generate


@intrinsic
def lane_sum(typing: Any, x: Any) -> Any:
    """The sum over real lanes, by pairwise addition of halves."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> ir.Value:
        (vector,) = values
        count = vector.type.count
        while count > 1:
            count //= 2
            low, high = (
                ir.Constant(ir.VectorType(INDEX, count), list(range(first, first + count)))
                for first in (0, count)
            )
            undefined = ir.Constant(vector.type, ir.Undefined)
            halves = (builder.shuffle_vector(vector, undefined, mask) for mask in (low, high))
            vector = builder.fadd(*halves)
        return builder.extract_element(vector, ir.Constant(INDEX, 0))

    return x.dtype(x), generate


def _address(context: Any, builder: Any, array_type: Any, array: Any, i: Any) -> ir.Value:
    """Address of the lanes that begin at index i of a contiguous array."""
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [i]), vector_of(array_type.dtype).as_pointer())


def _next_lanes(context: Any, builder: Any, dtype: Any, i: ir.Value) -> ir.Value:
    return builder.add(i, context.get_constant(types.intp, n_lanes(dtype.bitwidth // 8)))


@intrinsic
def load(typing: Any, array: Any, i: Any) -> Any:
    """The lanes `array[i : i + width(array)]` of a contiguous 1-D array."""
    dtype = array.dtype

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> ir.Value:
        address = _address(context, builder, signature.args[0], *values)
        return builder.load(address, align=dtype.bitwidth // 8)

    return Lanes(dtype)(array, types.intp), generate


@intrinsic
def load_complex(typing: Any, array: Any, i: Any) -> Any:
    """Complex lanes with real parts from index i and imaginary parts from i + width(array)."""
    lanes = ComplexLanes(array.dtype)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> ir.Value:
        places = values[1], _next_lanes(context, builder, lanes.dtype, values[1])
        real, imag = (
            builder.load(
                _address(context, builder, signature.args[0], values[0], place),
                align=lanes.dtype.bitwidth // 8,
            )
            for place in places
        )
        return _value(context, builder, lanes, (real, imag))

    return lanes(array, types.intp), generate


@intrinsic
def store(typing: Any, array: Any, i: Any, lanes: Any) -> Any:
    """Write lanes to a contiguous 1-D array from index i; see `load` and `load_complex`."""
    dtype = array.dtype

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> ir.Value:
        places = values[1], _next_lanes(context, builder, dtype, values[1])
        parts = _parts(context, builder, signature.args[2], values[2], dtype)
        for part, place in zip(parts, places, strict=True):
            if part is not None:
                address = _address(context, builder, signature.args[0], values[0], place)
                builder.store(part, address, align=dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, lanes), generate


@intrinsic
def spread(typing: Any, array: Any, number: Any) -> Any:
    """Lanes of the width of an array, all equal to one real or complex number."""
    kind = ComplexLanes if isinstance(number, types.Complex) else Lanes
    lanes = kind(array.dtype)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> ir.Value:
        parts = _parts(context, builder, signature.args[1], values[1], lanes.dtype)
        return _value(context, builder, lanes, parts)

    return lanes(array, number), generate


@intrinsic
def width(typing: Any, array: Any) -> Any:
    """Number of real lanes for an array, a constant in the compiled code."""
    count = n_lanes(array.dtype.bitwidth // 8)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> ir.Value:
        return context.get_constant(types.intp, count)

    return types.intp(array), generate
