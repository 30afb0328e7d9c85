"""The compiled kernels: forward and backward pass of a program for the states of a few samples.

A state is stored amplitude by amplitude, real lanes followed by imaginary lanes; lane l belongs to
sample l of a group. An instruction multiplies the amplitudes of its index list by a matrix M of
size 1, 2 or 4, psi <- M psi. The backward pass stores no states: with lambda the gradient of the
loss with respect to conj(psi), each instruction is undone,

    psi <- M^dag psi,    G <- G + lambda psi^dag,    lambda <- M^dag lambda,

where G is the gradient with respect to M, summed over index list and samples.

The samples of all circuits are distributed over the threads in chunks that do not depend on the
number of threads, and sums over chunks have a fixed order, so that results do not depend on the
number of threads.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit, prange

from hqdm.simulators.compiled.code_cache import Kernel, borrowing
from hqdm.simulators.compiled.lanes import (
    conj,
    imag,
    lane_sum,
    load,
    load_complex,
    multiply_add,
    real,
    spread,
    store,
    width,
)

Array = np.ndarray

# Columns of the table of instructions.
SIZE, PER_SAMPLE, MATRIX, PHASE, START, COUNT, HIGH, LOW = range(8)
# Columns of the table of parts.
N_WIRES, FIRST_WIRE, FIRST_LINE, LAST_LINE, FIRST_OUTPUT, LAST_OUTPUT = range(6)
# Kinds of measurement.
EXPVAL, PROBS, STATE = range(3)

MAX_SIZE = 4  # of the matrix of an instruction
CACHE_LINE = 64  # bytes


class Tables(NamedTuple):
    """A program for the kernels.

    Attributes:
        code: Instructions, `(n, 8)`: size of the matrix; whether it depends on the sample; its
            start among the matrices or constants; column of the phase; index list; strides between
            the amplitudes of high and low target wire.
        lists: Concatenated index lists.
        wires: First and last instruction of the product state of each wire, `(n, 2)`.
        parts: Number of wires, first wire, instructions and outputs, `(n, 6)`.
        outputs: For expectations, bit of the part and index of the output, `(n, 2)`; for
            probabilities, index of the output of each amplitude or -1, `(n, 1)`.
        constants: A, B and C of the instructions whose matrix depends on the sample.
    """

    code: Array
    lists: Array
    wires: Array
    parts: Array
    outputs: Array
    constants: Array


class SampleArrays(NamedTuple):
    """The data of the samples, flattened; B is padded to whole groups of lanes.

    Attributes:
        cos: Cosines of the phases, `(n_circuits, n_phases, B)`.
        sin: Sines of the phases, `(n_circuits, n_phases, B)`.
        amplitudes: Initial amplitudes, `(n_circuits, 2**n_wires, B)`, or empty.
        n_phases: Number of phases.
        n_samples: The number of samples B.
    """

    cos: Array
    sin: Array
    amplitudes: Array
    n_phases: int
    n_samples: int


class WorkArrays(NamedTuple):
    """Memory of one thread.

    Attributes:
        psi: State of a group.
        lam: Gradient with respect to the conjugate of `psi`.
        vectors: States of the single wires.
        vectors_lam: Gradients with respect to the conjugates of `vectors`.
        matrix: A matrix with separate entries per lane.
        matrix_grad: Gradient with respect to `matrix`.
        scratch: Two columns of amplitudes.
        low: Sums over the high half of the wires.
        high: Sums over the low half of the wires.
        grad: Gradients with respect to the matrices, per lane.
    """

    psi: Array
    lam: Array
    vectors: Array
    vectors_lam: Array
    matrix: Array
    matrix_grad: Array
    scratch: Array
    low: Array
    high: Array
    grad: Array


@njit(error_model="numpy")
def aligned(n: int, like: Array) -> Array:
    """An array of n zeros, aligned to a cache line."""
    array = np.zeros(n + CACHE_LINE // like.itemsize, like.dtype)
    first = (-array.ctypes.data % CACHE_LINE) // like.itemsize
    return array[first : first + n]


@njit(error_model="numpy")
def workspace(tables: Tables, n_entries: int, like: Array, backward: bool) -> WorkArrays:
    """The memory of one thread, for the largest part."""
    lanes = width(like)
    wires = 0
    for part in range(tables.parts.shape[0]):
        wires = max(wires, tables.parts[part, N_WIRES])
    back = 1 if backward else 0
    state, vectors = 2 * lanes * 2**wires, 4 * lanes * wires
    matrix, half = 2 * lanes * MAX_SIZE**2, lanes * 2 ** (wires - wires // 2)
    return WorkArrays(
        aligned(state, like),
        aligned(back * state, like),
        aligned(vectors, like),
        aligned(back * vectors, like),
        aligned(matrix, like),
        aligned(matrix, like),
        aligned(4 * lanes * MAX_SIZE, like),
        aligned(half, like),
        aligned(half, like),
        aligned(back * 2 * lanes * n_entries, like),
    )


@borrowing
def apply_1(code: Array, row: int, lists: Array, a: Any, psi: Array, base: int) -> None:
    """Multiply the amplitudes of a list by a number or by lanes."""
    unit = 2 * width(psi)
    first = code[row, START]
    for k in range(first, first + code[row, COUNT]):
        i = base + unit * lists[k]
        store(psi, i, a * load_complex(psi, i))


@borrowing
def apply_2(
    code: Array, row: int, lists: Array, a: Any, b: Any, c: Any, d: Any, psi: Array, base: int
) -> None:
    """Multiply the pairs of a list by a matrix ((a, b), (c, d)) of numbers or lanes."""
    unit = 2 * width(psi)
    first, stride = code[row, START], unit * code[row, LOW]
    for k in range(first, first + code[row, COUNT]):
        i = base + unit * lists[k]
        j = i + stride
        x, y = load_complex(psi, i), load_complex(psi, j)
        store(psi, i, multiply_add(a * x, b, y))
        store(psi, j, multiply_add(c * x, d, y))


@borrowing
def undo_1(code: Array, row: int, lists: Array, a: Any, psi: Array, lam: Array, base: int) -> Any:
    """Undo `apply_1`, given the conjugate a of its number; return the gradient."""
    unit = 2 * width(psi)
    first = code[row, START]
    g = spread(psi, 0j)
    for k in range(first, first + code[row, COUNT]):
        i = base + unit * lists[k]
        x, u = a * load_complex(psi, i), load_complex(lam, i)
        g = multiply_add(g, u, conj(x))
        store(psi, i, x)
        store(lam, i, a * u)
    return g


@borrowing
def undo_2(
    code: Array,
    row: int,
    lists: Array,
    a: Any,
    b: Any,
    c: Any,
    d: Any,
    psi: Array,
    lam: Array,
    base: int,
) -> Any:
    """Undo `apply_2`, given the conjugate entries ((a, b), (c, d)); return the gradients."""
    unit = 2 * width(psi)
    first, stride = code[row, START], unit * code[row, LOW]
    ga = gb = gc = gd = spread(psi, 0j)
    for k in range(first, first + code[row, COUNT]):
        i = base + unit * lists[k]
        j = i + stride
        x, y = load_complex(psi, i), load_complex(psi, j)
        u, v = load_complex(lam, i), load_complex(lam, j)
        p, q = multiply_add(a * x, c, y), multiply_add(b * x, d, y)
        ga, gb = multiply_add(ga, u, conj(p)), multiply_add(gb, u, conj(q))
        gc, gd = multiply_add(gc, v, conj(p)), multiply_add(gd, v, conj(q))
        store(psi, i, p)
        store(psi, j, q)
        store(lam, i, multiply_add(a * u, c, v))
        store(lam, j, multiply_add(b * u, d, v))
    return ga, gb, gc, gd


@borrowing
def spread_matrix(
    code: Array,
    row: int,
    m: Array,
    constants: Array,
    samples: SampleArrays,
    phases: int,
    matrix: Array,
) -> None:
    """Write the matrix of any instruction with separate entries per lane.

    Args:
        code: The instructions.
        row: Row of the instruction.
        m: The matrices of the circuit.
        constants: The constants of the tables.
        samples: Cosines and sines.
        phases: Index of the first phase of the group.
        matrix: Receives the result.
    """
    unit, n, o = 2 * width(matrix), code[row, SIZE] ** 2, code[row, MATRIX]
    if not code[row, PER_SAMPLE]:
        for e in range(n):
            store(matrix, unit * e, spread(matrix, m[o + e]))
        return
    place = phases + code[row, PHASE] * samples.n_samples
    cos, sin = load(samples.cos, place), load(samples.sin, place)
    for e in range(n):
        z = multiply_add(spread(matrix, constants[o + e]), constants[o + n + e], cos)
        store(matrix, unit * e, multiply_add(z, constants[o + 2 * n + e], sin))


@borrowing
def amplitude_of(code: Array, row: int, k: int, r: int) -> int:
    """Index of the amplitude of row r of the matrix, given the index k of row 0."""
    return k + (r >> 1) * code[row, HIGH] + (r & 1) * code[row, LOW]


@borrowing
def apply_any(
    code: Array, row: int, lists: Array, matrix: Array, psi: Array, base: int, scratch: Array
) -> None:
    """Multiply the tuples of a list by a matrix of any size with separate entries per lane."""
    unit, n, first = 2 * width(psi), code[row, SIZE], code[row, START]
    for k in range(first, first + code[row, COUNT]):
        for r in range(n):
            x = spread(psi, 0j)
            for c in range(n):
                y = load_complex(psi, base + unit * amplitude_of(code, row, lists[k], c))
                x = multiply_add(x, load_complex(matrix, unit * (n * r + c)), y)
            store(scratch, unit * r, x)
        for r in range(n):
            i = base + unit * amplitude_of(code, row, lists[k], r)
            store(psi, i, load_complex(scratch, unit * r))


@borrowing
def undo_any(
    code: Array,
    row: int,
    lists: Array,
    matrix: Array,
    psi: Array,
    lam: Array,
    base: int,
    scratch: Array,
    grad: Array,
) -> None:
    """Undo `apply_any`, and write the gradient."""
    unit, n, first = 2 * width(psi), code[row, SIZE], code[row, START]
    half = unit * MAX_SIZE
    for e in range(n * n):
        store(grad, unit * e, spread(grad, 0j))
    for k in range(first, first + code[row, COUNT]):
        for r in range(n):
            x, u = spread(psi, 0j), spread(psi, 0j)
            for c in range(n):
                i = base + unit * amplitude_of(code, row, lists[k], c)
                a = conj(load_complex(matrix, unit * (n * c + r)))
                x = multiply_add(x, a, load_complex(psi, i))
                u = multiply_add(u, a, load_complex(lam, i))
            store(scratch, unit * r, x)
            store(scratch, half + unit * r, u)
        for r in range(n):
            u = load_complex(lam, base + unit * amplitude_of(code, row, lists[k], r))
            for c in range(n):
                e = unit * (n * r + c)
                x = conj(load_complex(scratch, unit * c))
                store(grad, e, multiply_add(load_complex(grad, e), u, x))
        for r in range(n):
            i = base + unit * amplitude_of(code, row, lists[k], r)
            store(psi, i, load_complex(scratch, unit * r))
            store(lam, i, load_complex(scratch, half + unit * r))


@borrowing
def add_gradient(
    code: Array,
    row: int,
    constants: Array,
    samples: SampleArrays,
    phases: int,
    matrix_grad: Array,
    grad: Array,
    grad_cos: Array,
    grad_sin: Array,
) -> None:
    """Add the gradient with respect to a matrix to that of its phase, or of the matrices."""
    unit, n, o = 2 * width(grad), code[row, SIZE] ** 2, code[row, MATRIX]
    if not code[row, PER_SAMPLE]:
        for e in range(n):
            i = unit * (o + e)
            store(grad, i, load_complex(grad, i) + load_complex(matrix_grad, unit * e))
        return
    place = phases + code[row, PHASE] * samples.n_samples
    cos, sin = spread(grad, 0j), spread(grad, 0j)
    for e in range(n):
        g = load_complex(matrix_grad, unit * e)
        cos = multiply_add(cos, constants[o + n + e].conjugate(), g)
        sin = multiply_add(sin, constants[o + 2 * n + e].conjugate(), g)
    store(grad_cos, place, load(grad_cos, place) + real(cos))
    store(grad_sin, place, load(grad_sin, place) + real(sin))


@borrowing
def apply_all(
    first: int,
    last: int,
    tables: Tables,
    m: Array,
    samples: SampleArrays,
    phases: int,
    work: WorkArrays,
    psi: Array,
    base: int,
) -> None:
    """Run instructions on a state that begins at `base`."""
    code, lists, matrix = tables.code, tables.lists, work.matrix
    unit = 2 * width(psi)
    for row in range(first, last):
        size, o = code[row, SIZE], code[row, MATRIX]
        shared = not code[row, PER_SAMPLE]
        if shared and size == 2:
            apply_2(code, row, lists, m[o], m[o + 1], m[o + 2], m[o + 3], psi, base)
            continue
        if shared and size == 1:
            apply_1(code, row, lists, m[o], psi, base)
            continue
        spread_matrix(code, row, m, tables.constants, samples, phases, matrix)
        if size == 2:
            a, b = load_complex(matrix, 0), load_complex(matrix, unit)
            c, d = load_complex(matrix, 2 * unit), load_complex(matrix, 3 * unit)
            apply_2(code, row, lists, a, b, c, d, psi, base)
        elif size == 1:
            apply_1(code, row, lists, load_complex(matrix, 0), psi, base)
        else:
            apply_any(code, row, lists, matrix, psi, base, work.scratch)


@borrowing
def undo_all(
    first: int,
    last: int,
    tables: Tables,
    m: Array,
    samples: SampleArrays,
    phases: int,
    work: WorkArrays,
    psi: Array,
    lam: Array,
    base: int,
    grad_cos: Array,
    grad_sin: Array,
) -> None:
    """Undo instructions in reverse order."""
    code, lists, matrix, grad = tables.code, tables.lists, work.matrix, work.matrix_grad
    unit = 2 * width(psi)
    for row in range(last - 1, first - 1, -1):
        size, o = code[row, SIZE], code[row, MATRIX]
        shared = not code[row, PER_SAMPLE]
        if size > 2 or not shared:
            spread_matrix(code, row, m, tables.constants, samples, phases, matrix)
        if size == 2:
            if shared:
                a, b = m[o].conjugate(), m[o + 1].conjugate()
                c, d = m[o + 2].conjugate(), m[o + 3].conjugate()
                gradients = undo_2(code, row, lists, a, b, c, d, psi, lam, base)
            else:
                gradients = undo_2(
                    code,
                    row,
                    lists,
                    conj(load_complex(matrix, 0)),
                    conj(load_complex(matrix, unit)),
                    conj(load_complex(matrix, 2 * unit)),
                    conj(load_complex(matrix, 3 * unit)),
                    psi,
                    lam,
                    base,
                )
            for e in range(4):
                store(grad, unit * e, gradients[e])
        elif size == 1:
            if shared:
                g = undo_1(code, row, lists, m[o].conjugate(), psi, lam, base)
            else:
                g = undo_1(code, row, lists, conj(load_complex(matrix, 0)), psi, lam, base)
            store(grad, 0, g)
        else:
            undo_any(code, row, lists, matrix, psi, lam, base, work.scratch, grad)
        add_gradient(
            code, row, tables.constants, samples, phases, grad, work.grad, grad_cos, grad_sin
        )


@borrowing
def write_product(
    part: int, tables: Tables, m: Array, samples: SampleArrays, phases: int, work: WorkArrays
) -> None:
    """Write the product state of a part, after the first gates of each wire."""
    unit = 2 * width(work.psi)
    psi, vectors = work.psi, work.vectors
    n = tables.parts[part, N_WIRES]
    store(psi, 0, spread(psi, 1 + 0j))
    for wire in range(n):
        base = 2 * unit * wire
        store(vectors, base, spread(psi, 1 + 0j))
        store(vectors, base + unit, spread(psi, 0j))
        row = tables.parts[part, FIRST_WIRE] + wire
        first, last = tables.wires[row, 0], tables.wires[row, 1]
        apply_all(first, last, tables, m, samples, phases, work, vectors, base)
        v, w = load_complex(vectors, base), load_complex(vectors, base + unit)
        for a in range(2**wire - 1, -1, -1):
            x = load_complex(psi, unit * a)
            store(psi, unit * (2 * a + 1), w * x)
            store(psi, unit * (2 * a), v * x)


@borrowing
def undo_product(
    part: int,
    tables: Tables,
    m: Array,
    samples: SampleArrays,
    phases: int,
    work: WorkArrays,
    grad_cos: Array,
    grad_sin: Array,
) -> None:
    """The backward pass of `write_product`."""
    unit = 2 * width(work.psi)
    psi, lam = work.psi, work.lam
    for wire in range(tables.parts[part, N_WIRES] - 1, -1, -1):
        base = 2 * unit * wire
        v = conj(load_complex(work.vectors, base))
        w = conj(load_complex(work.vectors, base + unit))
        gv, gw = spread(psi, 0j), spread(psi, 0j)
        for a in range(2**wire):
            i, j = unit * (2 * a), unit * (2 * a + 1)
            # The vectors have norm one, so that a product with one undoes the tensor product.
            x = multiply_add(v * load_complex(psi, i), w, load_complex(psi, j))
            y, z = load_complex(lam, i), load_complex(lam, j)
            gv, gw = multiply_add(gv, y, conj(x)), multiply_add(gw, z, conj(x))
            store(psi, unit * a, x)
            store(lam, unit * a, multiply_add(v * y, w, z))
        store(work.vectors_lam, base, gv)
        store(work.vectors_lam, base + unit, gw)
        row = tables.parts[part, FIRST_WIRE] + wire
        first, last = tables.wires[row, 0], tables.wires[row, 1]
        undo_all(
            first,
            last,
            tables,
            m,
            samples,
            phases,
            work,
            work.vectors,
            work.vectors_lam,
            base,
            grad_cos,
            grad_sin,
        )


@borrowing
def run_part(
    part: int,
    tables: Tables,
    m: Array,
    samples: SampleArrays,
    phases: int,
    amplitudes: int,
    work: WorkArrays,
) -> None:
    """Compute the final state of a part for a group of samples in `work.psi`."""
    lanes = width(work.psi)
    if samples.amplitudes.size:
        zero = 0 * load(samples.amplitudes, amplitudes)
        for a in range(2 ** tables.parts[part, N_WIRES]):
            place = amplitudes + a * samples.n_samples
            store(work.psi, 2 * lanes * a, load(samples.amplitudes, place))
            store(work.psi, 2 * lanes * a + lanes, zero)
    else:
        write_product(part, tables, m, samples, phases, work)
    first, last = tables.parts[part, FIRST_LINE], tables.parts[part, LAST_LINE]
    apply_all(first, last, tables, m, samples, phases, work, work.psi, np.int64(0))


@borrowing
def measure_z(
    part: int, tables: Tables, work: WorkArrays, n_samples: int, out: Array, place: int
) -> None:
    """Write expectations of Z, from sums over the low and the high half of the wires."""
    psi, low, high = work.psi, work.low, work.high
    lanes = width(psi)
    n_low = tables.parts[part, N_WIRES] // 2
    n_high = tables.parts[part, N_WIRES] - n_low
    for b in range(2**n_low):
        store(low, lanes * b, spread(low, 0.0))
    for a in range(2**n_high):
        total = spread(low, 0.0)
        for b in range(2**n_low):
            z = load_complex(psi, 2 * lanes * ((a << n_low) + b))
            p = multiply_add(real(z) * real(z), imag(z), imag(z))
            total = total + p
            store(low, lanes * b, load(low, lanes * b) + p)
        store(high, lanes * a, total)
    for o in range(tables.parts[part, FIRST_OUTPUT], tables.parts[part, LAST_OUTPUT]):
        bit = tables.outputs[o, 0]
        sums, n, shift = (low, n_low, bit) if bit < n_low else (high, n_high, bit - n_low)
        z = spread(low, 0.0)
        for a in range(2**n):
            z = multiply_add(z, 1.0 - 2.0 * ((a >> shift) & 1), load(sums, lanes * a))
        store(out, place + tables.outputs[o, 1] * n_samples, z)


@borrowing
def measure_z_back(
    part: int, tables: Tables, work: WorkArrays, n_samples: int, grad: Array, place: int
) -> None:
    """Write lambda for a gradient with respect to expectations of Z."""
    psi, lam, low, high = work.psi, work.lam, work.low, work.high
    lanes = width(psi)
    n_low = tables.parts[part, N_WIRES] // 2
    n_high = tables.parts[part, N_WIRES] - n_low
    for b in range(2**n_high):
        store(low, lanes * (b % 2**n_low), spread(low, 0.0))
        store(high, lanes * b, spread(low, 0.0))
    for o in range(tables.parts[part, FIRST_OUTPUT], tables.parts[part, LAST_OUTPUT]):
        bit = tables.outputs[o, 0]
        sums, n, shift = (low, n_low, bit) if bit < n_low else (high, n_high, bit - n_low)
        g = load(grad, place + tables.outputs[o, 1] * n_samples)
        for a in range(2**n):
            sign = 2.0 - 4.0 * ((a >> shift) & 1)  # twice the eigenvalue, as p = psi conj(psi)
            store(sums, lanes * a, multiply_add(load(sums, lanes * a), sign, g))
    for a in range(2**n_high):
        total = load(high, lanes * a)
        for b in range(2**n_low):
            i = 2 * lanes * ((a << n_low) + b)
            store(lam, i, (total + load(low, lanes * b)) * load_complex(psi, i))


@borrowing
def measure_probabilities(
    part: int, tables: Tables, work: WorkArrays, n_samples: int, out: Array, place: int
) -> None:
    """Add the probability of each amplitude to its output."""
    unit = 2 * width(work.psi)
    for a in range(2 ** tables.parts[part, N_WIRES]):
        if tables.outputs[a, 0] >= 0:
            i = place + tables.outputs[a, 0] * n_samples
            z = load_complex(work.psi, unit * a)
            p = multiply_add(load(out, i), real(z), real(z))
            store(out, i, multiply_add(p, imag(z), imag(z)))


@borrowing
def measure_probabilities_back(
    part: int, tables: Tables, work: WorkArrays, n_samples: int, grad: Array, place: int
) -> None:
    """Write lambda for a gradient with respect to probabilities."""
    unit = 2 * width(work.psi)
    for a in range(2 ** tables.parts[part, N_WIRES]):
        z = 0.0 * load_complex(work.psi, unit * a)
        if tables.outputs[a, 0] >= 0:
            g = load(grad, place + tables.outputs[a, 0] * n_samples)
            z = (2.0 * g) * load_complex(work.psi, unit * a)
        store(work.lam, unit * a, z)


@borrowing
def copy_state(source: Array, n: int, n_samples: int, out: Array, place: int) -> None:
    """Write real and imaginary parts of n amplitudes to neighbouring outputs."""
    lanes = width(source)
    for a in range(2 * n):
        store(out, place + a * n_samples, load(source, lanes * a))


@borrowing
def read_state(target: Array, n: int, n_samples: int, grad: Array, place: int) -> None:
    """The reverse of `copy_state`."""
    lanes = width(target)
    for a in range(2 * n):
        store(target, lanes * a, load(grad, place + a * n_samples))


@borrowing
def forward_group(
    part: int,
    tables: Tables,
    m: Array,
    samples: SampleArrays,
    phases: int,
    amplitudes: int,
    measure: int,
    out: Array,
    place: int,
    work: WorkArrays,
) -> None:
    """Evaluate a part for a group of samples; see `forward`."""
    run_part(part, tables, m, samples, phases, amplitudes, work)
    if measure == EXPVAL:
        measure_z(part, tables, work, samples.n_samples, out, place)
    elif measure == PROBS:
        measure_probabilities(part, tables, work, samples.n_samples, out, place)
    else:
        copy_state(work.psi, 2 ** tables.parts[part, N_WIRES], samples.n_samples, out, place)


@borrowing
def backward_group(
    part: int,
    tables: Tables,
    m: Array,
    samples: SampleArrays,
    phases: int,
    amplitudes: int,
    measure: int,
    grad_out: Array,
    place: int,
    work: WorkArrays,
    grads: tuple[Array, Array, Array],
) -> None:
    """Gradients of a part for a group of samples; see `backward`."""
    grad_cos, grad_sin, grad_amplitudes = grads
    n = 2 ** tables.parts[part, N_WIRES]
    run_part(part, tables, m, samples, phases, amplitudes, work)
    if measure == EXPVAL:
        measure_z_back(part, tables, work, samples.n_samples, grad_out, place)
    elif measure == PROBS:
        measure_probabilities_back(part, tables, work, samples.n_samples, grad_out, place)
    else:
        read_state(work.lam, n, samples.n_samples, grad_out, place)
    first, last = tables.parts[part, FIRST_LINE], tables.parts[part, LAST_LINE]
    undo_all(
        first,
        last,
        tables,
        m,
        samples,
        phases,
        work,
        work.psi,
        work.lam,
        np.int64(0),
        grad_cos,
        grad_sin,
    )
    if samples.amplitudes.size:
        for a in range(n):
            g = real(load_complex(work.lam, 2 * width(work.lam) * a))
            store(grad_amplitudes, amplitudes + a * samples.n_samples, g)
    else:
        undo_product(part, tables, m, samples, phases, work, grad_cos, grad_sin)


@borrowing
def lines_of(part: int, tables: Tables) -> tuple[int, int]:
    """First and last instruction of a part, including those of its product state."""
    return tables.wires[tables.parts[part, FIRST_WIRE], 0], tables.parts[part, LAST_LINE]


@borrowing
def clear(part: int, tables: Tables, grad: Array) -> None:
    """Set the gradients with respect to the matrices of a part to zero."""
    unit = 2 * width(grad)
    first, last = lines_of(part, tables)
    for k in range(first, last):
        if not tables.code[k, PER_SAMPLE]:
            place = tables.code[k, MATRIX]
            for e in range(place, place + tables.code[k, SIZE] ** 2):
                store(grad, unit * e, spread(grad, 0j))


@borrowing
def sum_lanes(part: int, tables: Tables, grad: Array, sums: Array) -> None:
    """Write the sums over the lanes of the gradients with respect to the matrices of a part."""
    unit = 2 * width(grad)
    first, last = lines_of(part, tables)
    for k in range(first, last):
        if not tables.code[k, PER_SAMPLE]:
            place = tables.code[k, MATRIX]
            for e in range(place, place + tables.code[k, SIZE] ** 2):
                g = load_complex(grad, unit * e)
                sums[e] = lane_sum(real(g)) + 1j * lane_sum(imag(g))


@borrowing
def piece_of(item: int, n_parts: int, n_chunks: int) -> tuple[int, int, int]:
    """Part, circuit and chunk of a piece of work."""
    part, rest = item % n_parts, item // n_parts
    return part, rest // n_chunks, rest % n_chunks


@borrowing
def places_of(
    circuit: int, group: int, n_circuits: int, samples: SampleArrays, out: Array
) -> tuple[int, int, int]:
    """Indices of the first phase, amplitude and output of a group."""
    first = group * width(out)
    return (
        circuit * samples.n_phases * samples.n_samples + first,
        circuit * (samples.amplitudes.size // n_circuits) + first,
        circuit * (out.size // n_circuits) + first,
    )


@njit(error_model="numpy")
def forward_thread(
    thread: int,
    n_threads: int,
    tables: Tables,
    matrices: Array,
    samples: SampleArrays,
    measure: int,
    chunk: int,
    out: Array,
) -> None:
    """The work of one thread; see `forward`."""
    n_circuits, n_parts = matrices.shape[0], tables.parts.shape[0]
    n_groups = samples.n_samples // width(out)
    n_chunks = -(-n_groups // chunk)
    work = workspace(tables, 0, out, False)
    for item in range(thread, n_circuits * n_parts * n_chunks, n_threads):
        part, circuit, piece = piece_of(item, n_parts, n_chunks)
        m = matrices[circuit]
        for group in range(piece * chunk, min((piece + 1) * chunk, n_groups)):
            phases, amplitudes, place = places_of(circuit, group, n_circuits, samples, out)
            forward_group(part, tables, m, samples, phases, amplitudes, measure, out, place, work)


@njit(error_model="numpy")
def backward_thread(
    thread: int,
    n_threads: int,
    tables: Tables,
    matrices: Array,
    samples: SampleArrays,
    measure: int,
    chunk: int,
    grad_out: Array,
    sums: Array,
    grads: tuple[Array, Array, Array],
) -> None:
    """The work of one thread; see `backward`."""
    n_circuits, n_parts = matrices.shape[0], tables.parts.shape[0]
    n_groups = samples.n_samples // width(grad_out)
    n_chunks = sums.shape[1]
    work = workspace(tables, sums.shape[2], grad_out, True)
    for item in range(thread, n_circuits * n_parts * n_chunks, n_threads):
        part, circuit, piece = piece_of(item, n_parts, n_chunks)
        m = matrices[circuit]
        clear(part, tables, work.grad)
        for group in range(piece * chunk, min((piece + 1) * chunk, n_groups)):
            phases, amplitudes, place = places_of(circuit, group, n_circuits, samples, grad_out)
            backward_group(
                part, tables, m, samples, phases, amplitudes, measure, grad_out, place, work, grads
            )
        sum_lanes(part, tables, work.grad, sums[circuit, piece])


@Kernel
def forward(
    tables: Tables,
    matrices: Array,
    samples: SampleArrays,
    measure: int,
    chunk: int,
    n_threads: int,
    out: Array,
) -> None:
    """Evaluate circuits.

    Args:
        tables: The program.
        matrices: `(n_circuits, n_entries)` complex.
        samples: The data of the samples.
        measure: `EXPVAL`, `PROBS` or `STATE` (real and imaginary part of each amplitude).
        chunk: Number of lane groups in a piece of work.
        n_threads: Number of threads.
        out: Zeros, `(n_circuits, n_outputs, B)` flattened; receives the outputs.
    """
    for thread in prange(n_threads):
        forward_thread(np.int64(thread), n_threads, tables, matrices, samples, measure, chunk, out)


@Kernel
def backward(
    tables: Tables,
    matrices: Array,
    samples: SampleArrays,
    measure: int,
    chunk: int,
    n_threads: int,
    grad_out: Array,
    sums: Array,
    grads: tuple[Array, Array, Array],
) -> None:
    """The gradient of the loss from its gradient with respect to the outputs.

    Args:
        tables: The program.
        matrices: `(n_circuits, n_entries)` complex.
        samples: The data of the samples.
        measure: As in `forward`.
        chunk: Number of lane groups in a piece of work.
        n_threads: Number of threads.
        grad_out: As `out` in `forward`.
        sums: `(n_circuits, n_chunks, n_entries)` complex. Receives the gradient with respect to the
            matrices, to be summed over the chunks.
        grads: Zeros, shaped like cosines, sines and amplitudes. Receives their gradients.
    """
    for thread in prange(n_threads):
        backward_thread(
            np.int64(thread),
            n_threads,
            tables,
            matrices,
            samples,
            measure,
            chunk,
            grad_out,
            sums,
            grads,
        )
