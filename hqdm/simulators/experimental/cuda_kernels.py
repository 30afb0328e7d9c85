"""The kernels of `kernels` for a GPU: the states of a few samples in the shared memory of a block.

A block of threads processes one part of one circuit and a chunk of the samples. It runs several
samples concurrently, each in a slot, whose amplitudes are distributed over lanes:

    thread                               lane * n_slots + slot
    amplitude a of the state in a slot   state[a * n_slots + slot]

so that neighbouring threads access neighbouring memory. A part of many qubits has one slot, with
all threads as lanes; a part of three qubits has four lanes and many slots. All threads execute the
same instruction. In the backward pass each thread sums its contributions to the gradient with
respect to the matrix; the sums of the threads are added pairwise in a fixed order, so that results
are reproducible bit by bit. Numbers keep the precision of the arrays: Python constants would
promote them to float64.
"""

import warnings
from typing import NamedTuple

import numpy as np
from numba import cuda

from hqdm.simulators.compiled.kernels import (
    COUNT,
    EXPVAL,
    FIRST_LINE,
    FIRST_OUTPUT,
    FIRST_WIRE,
    HIGH,
    LAST_LINE,
    LAST_OUTPUT,
    LOW,
    MATRIX,
    MAX_SIZE,
    N_WIRES,
    PER_SAMPLE,
    PHASE,
    PROBS,
    SIZE,
    START,
)

Array = np.ndarray

N_LANES = LAST_OUTPUT + 1  # an additional column of the table of parts
N_ENTRIES = MAX_SIZE**2  # of the largest matrix

# Numba warns that a small batch does not occupy a large GPU, which users cannot change. The class
# of the warning is that of numba or of numba-cuda, depending on the version.
warnings.filterwarnings("ignore", "Grid size .* low occupancy", Warning)


class DeviceTables(NamedTuple):
    """A program in device memory; see `kernels.Tables`.

    Attributes:
        code: Instructions.
        lists: Index lists.
        wires: Instructions of the product states.
        parts: `(n, 7)`, with an additional column, the number of lanes.
        outputs: Positions of the outputs.
        constants: A, B and C.
        members: For probabilities, the amplitudes of each output, `(n_outputs, k)`; else `(0, 0)`.
    """

    code: Array
    lists: Array
    wires: Array
    parts: Array
    outputs: Array
    constants: Array
    members: Array


class DeviceSamples(NamedTuple):
    """The data of the samples.

    Attributes:
        cos: Cosines of the phases, `(n_circuits, B, n_phases)`.
        sin: Sines of the phases.
        amplitudes: Initial amplitudes, `(n_circuits, B, 2**n_wires)`, or none,
            `(n_circuits, B, 0)`.
    """

    cos: Array
    sin: Array
    amplitudes: Array


class Sizes(NamedTuple):
    """Numbers of complex numbers in shared memory.

    Attributes:
        state: Size of the states in all slots.
        vectors: Size of the states of the single wires.
        sums: Size of the sums of all threads.
    """

    state: int
    vectors: int
    sums: int


class Chunks(NamedTuple):
    """The division of the samples into chunks.

    Attributes:
        n: Number of chunks per circuit.
        size: Number of samples per chunk, a multiple of the slots of any part.
    """

    n: int
    size: int


class Shared(NamedTuple):
    """Shared memory of a block; the gradients are allocated in the backward pass only.

    Attributes:
        psi: States.
        vectors: States of the single wires.
        sums: Sums of the threads, `n_threads` numbers per entry of a matrix.
        lam: Gradient with respect to the conjugate of `psi`.
        vectors_lam: Gradient with respect to the conjugate of `vectors`.
    """

    psi: Array
    vectors: Array
    sums: Array
    lam: Array
    vectors_lam: Array


class Team(NamedTuple):
    """Position of a thread; see the module docstring.

    Attributes:
        lane: Lane of the thread.
        n_lanes: Number of lanes.
        slot: Slot of the thread.
        n_slots: Number of slots.
    """

    lane: int
    n_lanes: int
    slot: int
    n_slots: int


class Source(NamedTuple):
    """The data from which the matrices of one sample are computed.

    Attributes:
        matrices: Matrices of the circuit.
        constants: A, B and C of the instructions whose matrix depends on the sample.
        cos: Cosines of the phases of the sample.
        sin: Sines of the phases of the sample.
    """

    matrices: Array
    constants: Array
    cos: Array
    sin: Array


class Grads(NamedTuple):
    """The gradients of one sample; see `backward`.

    Attributes:
        matrices: Gradients with respect to the matrices, summed over a chunk.
        cos: Gradients with respect to the cosines.
        sin: Gradients with respect to the sines.
        is_sample: Whether the slot holds a sample; the last slots of a batch may be empty.
    """

    matrices: Array
    cos: Array
    sin: Array
    is_sample: bool


@cuda.jit(device=True)
def place(team: Team, a: int) -> int:
    """Index of amplitude a in shared memory."""
    return a * team.n_slots + team.slot


@cuda.jit(device=True)
def entry(line: Array, source: Source, e: int) -> complex:
    """Entry e of the matrix of an instruction."""
    o = line[MATRIX] + e
    if not line[PER_SAMPLE]:
        return source.matrices[o]
    n, k = line[SIZE] * line[SIZE], line[PHASE]
    z = source.constants[o]
    z += source.cos[k] * source.constants[o + n]
    z += source.sin[k] * source.constants[o + 2 * n]
    return z


@cuda.jit(device=True)
def row_of(line: Array, r: int) -> int:
    """Offset of row r of a 4x4 matrix from row 0."""
    return (r >> 1) * line[HIGH] + (r & 1) * line[LOW]


@cuda.jit(device=True)
def apply_1(line: Array, lists: Array, source: Source, psi: Array, base: int, team: Team) -> None:
    """Multiply the amplitudes of a list by a number."""
    a = entry(line, source, 0)
    for k in range(team.lane, line[COUNT], team.n_lanes):
        psi[place(team, base + lists[line[START] + k])] *= a


@cuda.jit(device=True)
def apply_2(line: Array, lists: Array, source: Source, psi: Array, base: int, team: Team) -> None:
    """Multiply the pairs of a list by a 2x2 matrix."""
    a, b = entry(line, source, 0), entry(line, source, 1)
    c, d = entry(line, source, 2), entry(line, source, 3)
    stride = line[LOW] * team.n_slots
    for k in range(team.lane, line[COUNT], team.n_lanes):
        i = place(team, base + lists[line[START] + k])
        j = i + stride
        x, y = psi[i], psi[j]
        psi[i] = a * x + b * y
        psi[j] = c * x + d * y


@cuda.jit(device=True)
def apply_4(line: Array, lists: Array, source: Source, psi: Array, base: int, team: Team) -> None:
    """Multiply the quadruples of a list by a 4x4 matrix."""
    x = cuda.local.array(MAX_SIZE, psi.dtype)
    for k in range(team.lane, line[COUNT], team.n_lanes):
        first = base + lists[line[START] + k]
        for c in range(MAX_SIZE):
            x[c] = psi[place(team, first + row_of(line, c))]
        for r in range(MAX_SIZE):
            y = entry(line, source, MAX_SIZE * r) * x[0]
            for c in range(1, MAX_SIZE):
                y += entry(line, source, MAX_SIZE * r + c) * x[c]
            psi[place(team, first + row_of(line, r))] = y


@cuda.jit(device=True)
def undo_1(
    line: Array,
    lists: Array,
    source: Source,
    psi: Array,
    lam: Array,
    base: int,
    team: Team,
    sums: Array,
) -> None:
    """Undo `apply_1`, and write this thread's part of the gradient to its sums."""
    a = entry(line, source, 0).conjugate()
    g = sums.dtype.type(0)
    for k in range(team.lane, line[COUNT], team.n_lanes):
        i = place(team, base + lists[line[START] + k])
        x, u = a * psi[i], lam[i]
        g += u * x.conjugate()
        psi[i] = x
        lam[i] = a * u
    sums[cuda.threadIdx.x] = g


@cuda.jit(device=True)
def undo_2(
    line: Array,
    lists: Array,
    source: Source,
    psi: Array,
    lam: Array,
    base: int,
    team: Team,
    sums: Array,
) -> None:
    """Undo `apply_2`; see `undo_1`."""
    a, b = entry(line, source, 0).conjugate(), entry(line, source, 1).conjugate()
    c, d = entry(line, source, 2).conjugate(), entry(line, source, 3).conjugate()
    ga = gb = gc = gd = sums.dtype.type(0)
    stride = line[LOW] * team.n_slots
    for k in range(team.lane, line[COUNT], team.n_lanes):
        i = place(team, base + lists[line[START] + k])
        j = i + stride
        x, y, u, v = psi[i], psi[j], lam[i], lam[j]
        p, q = a * x + c * y, b * x + d * y
        ga += u * p.conjugate()
        gb += u * q.conjugate()
        gc += v * p.conjugate()
        gd += v * q.conjugate()
        psi[i] = p
        psi[j] = q
        lam[i] = a * u + c * v
        lam[j] = b * u + d * v
    t, n = cuda.threadIdx.x, cuda.blockDim.x
    sums[t] = ga
    sums[n + t] = gb
    sums[2 * n + t] = gc
    sums[3 * n + t] = gd


@cuda.jit(device=True)
def undo_4(
    line: Array,
    lists: Array,
    source: Source,
    psi: Array,
    lam: Array,
    base: int,
    team: Team,
    sums: Array,
) -> None:
    """Undo `apply_4`; see `undo_1`."""
    grad = cuda.local.array(N_ENTRIES, psi.dtype)
    x = cuda.local.array(MAX_SIZE, psi.dtype)
    u = cuda.local.array(MAX_SIZE, psi.dtype)
    for e in range(N_ENTRIES):
        grad[e] = sums.dtype.type(0)
    for k in range(team.lane, line[COUNT], team.n_lanes):
        first = base + lists[line[START] + k]
        for c in range(MAX_SIZE):
            x[c] = psi[place(team, first + row_of(line, c))]
            u[c] = lam[place(team, first + row_of(line, c))]
        for r in range(MAX_SIZE):
            a = entry(line, source, r).conjugate()
            p, v = a * x[0], a * u[0]
            for c in range(1, MAX_SIZE):
                a = entry(line, source, MAX_SIZE * c + r).conjugate()
                p += a * x[c]
                v += a * u[c]
            for c in range(MAX_SIZE):
                grad[MAX_SIZE * c + r] += u[c] * p.conjugate()
            psi[place(team, first + row_of(line, r))] = p
            lam[place(team, first + row_of(line, r))] = v
    for e in range(N_ENTRIES):
        sums[e * cuda.blockDim.x + cuda.threadIdx.x] = grad[e]


@cuda.jit(device=True)
def sum_threads(sums: Array, n: int, n_left: int) -> None:
    """Add the sums of all threads pairwise, until `n_left` remain for each of n entries.

    With `n_left` equal to the number of slots, these are sums over lanes; with 1, over samples too.
    """
    t, n_threads = cuda.threadIdx.x, cuda.blockDim.x
    half = n_threads // 2
    cuda.syncthreads()
    while half >= n_left:
        if t < half:
            for i in range(t, n * n_threads, n_threads):
                sums[i] += sums[i + half]
        cuda.syncthreads()
        half //= 2


@cuda.jit(device=True)
def add_gradient(line: Array, source: Source, sums: Array, team: Team, grads: Grads) -> None:
    """Add the sums of the threads to the gradient of the matrix, or of cosine and sine."""
    n, o, n_threads = line[SIZE] * line[SIZE], line[MATRIX], cuda.blockDim.x
    if not line[PER_SAMPLE]:
        sum_threads(sums, n, 1)
        for e in range(cuda.threadIdx.x, n, n_threads):
            grads.matrices[o + e] += sums[e * n_threads]
    else:
        sum_threads(sums, n, team.n_slots)
        if team.lane == 0 and grads.is_sample:
            cos = sin = grads.cos.dtype.type(0)
            for e in range(n):
                g = sums[e * n_threads + team.slot]
                cos += (source.constants[o + n + e].conjugate() * g).real
                sin += (source.constants[o + 2 * n + e].conjugate() * g).real
            grads.cos[line[PHASE]] += cos
            grads.sin[line[PHASE]] += sin
    cuda.syncthreads()


@cuda.jit(device=True)
def apply_all(
    first: int,
    last: int,
    tables: DeviceTables,
    source: Source,
    psi: Array,
    base: int,
    team: Team,
) -> None:
    """Run instructions on states whose amplitudes begin at `base`."""
    for k in range(first, last):
        line = tables.code[k]
        if line[SIZE] == 1:
            apply_1(line, tables.lists, source, psi, base, team)
        elif line[SIZE] == 2:
            apply_2(line, tables.lists, source, psi, base, team)
        else:
            apply_4(line, tables.lists, source, psi, base, team)
        cuda.syncthreads()


@cuda.jit(device=True)
def undo_all(
    first: int,
    last: int,
    tables: DeviceTables,
    source: Source,
    psi: Array,
    lam: Array,
    base: int,
    team: Team,
    sums: Array,
    grads: Grads,
) -> None:
    """Undo instructions in reverse order."""
    for k in range(last - 1, first - 1, -1):
        line = tables.code[k]
        if line[SIZE] == 1:
            undo_1(line, tables.lists, source, psi, lam, base, team, sums)
        elif line[SIZE] == 2:
            undo_2(line, tables.lists, source, psi, lam, base, team, sums)
        else:
            undo_4(line, tables.lists, source, psi, lam, base, team, sums)
        add_gradient(line, source, sums, team, grads)


@cuda.jit(device=True)
def write_product(
    part: int, tables: DeviceTables, source: Source, shared: Shared, team: Team
) -> None:
    """Write the product state of a part, after the first gates of each wire."""
    n, wires = tables.parts[part, N_WIRES], tables.parts[part, FIRST_WIRE]
    for wire in range(team.lane, n, team.n_lanes):
        shared.vectors[place(team, 2 * wire)] = 1
        shared.vectors[place(team, 2 * wire + 1)] = 0
    cuda.syncthreads()
    for wire in range(n):
        first, last = tables.wires[wires + wire, 0], tables.wires[wires + wire, 1]
        apply_all(first, last, tables, source, shared.vectors, 2 * wire, team)
    for a in range(team.lane, 1 << n, team.n_lanes):
        x = shared.vectors[place(team, a >> (n - 1))]
        for wire in range(1, n):
            x *= shared.vectors[place(team, 2 * wire + ((a >> (n - 1 - wire)) & 1))]
        shared.psi[place(team, a)] = x
    cuda.syncthreads()


@cuda.jit(device=True)
def undo_product(
    part: int,
    tables: DeviceTables,
    source: Source,
    shared: Shared,
    team: Team,
    grads: Grads,
) -> None:
    """The backward pass of `write_product`; the stride of the remaining state doubles per wire."""
    psi, lam, sums = shared.psi, shared.lam, shared.sums
    n, wires = tables.parts[part, N_WIRES], tables.parts[part, FIRST_WIRE]
    for wire in range(n - 1, -1, -1):
        low, high = place(team, 2 * wire), place(team, 2 * wire + 1)
        v, w = shared.vectors[low].conjugate(), shared.vectors[high].conjugate()
        gv = gw = sums.dtype.type(0)
        step = 1 << (n - 1 - wire)
        for k in range(team.lane, 1 << wire, team.n_lanes):
            i, j = place(team, 2 * step * k), place(team, 2 * step * k + step)
            # The vectors have norm one, so that a product with one undoes the tensor product.
            x, y, z = v * psi[i] + w * psi[j], lam[i], lam[j]
            gv += y * x.conjugate()
            gw += z * x.conjugate()
            psi[i] = x
            lam[i] = v * y + w * z
        sums[cuda.threadIdx.x] = gv
        sums[cuda.blockDim.x + cuda.threadIdx.x] = gw
        sum_threads(sums, 2, team.n_slots)
        if team.lane == 0:
            shared.vectors_lam[low] = sums[team.slot]
            shared.vectors_lam[high] = sums[cuda.blockDim.x + team.slot]
        first, last = tables.wires[wires + wire, 0], tables.wires[wires + wire, 1]
        undo_all(
            first,
            last,
            tables,
            source,
            shared.vectors,
            shared.vectors_lam,
            2 * wire,
            team,
            sums,
            grads,
        )


@cuda.jit(device=True)
def run_part(
    part: int,
    tables: DeviceTables,
    source: Source,
    amplitudes: Array,
    shared: Shared,
    team: Team,
) -> None:
    """Compute the final states of a part in `shared.psi`."""
    if amplitudes.size:
        for a in range(team.lane, amplitudes.size, team.n_lanes):
            shared.psi[place(team, a)] = amplitudes[a]
        cuda.syncthreads()
    else:
        write_product(part, tables, source, shared, team)
    first, last = tables.parts[part, FIRST_LINE], tables.parts[part, LAST_LINE]
    apply_all(first, last, tables, source, shared.psi, 0, team)


@cuda.jit(device=True)
def undo_part(
    part: int,
    tables: DeviceTables,
    source: Source,
    shared: Shared,
    team: Team,
    grads: Grads,
    grad_amplitudes: Array,
) -> None:
    """The backward pass of `run_part`."""
    n = 1 << tables.parts[part, N_WIRES]
    if not grads.is_sample:  # the slot repeats another sample, whose gradients must count once
        for a in range(team.lane, n, team.n_lanes):
            shared.lam[place(team, a)] = 0
    cuda.syncthreads()
    first, last = tables.parts[part, FIRST_LINE], tables.parts[part, LAST_LINE]
    undo_all(first, last, tables, source, shared.psi, shared.lam, 0, team, shared.sums, grads)
    if not grad_amplitudes.size:
        undo_product(part, tables, source, shared, team, grads)
    elif grads.is_sample:
        for a in range(team.lane, n, team.n_lanes):
            grad_amplitudes[a] = shared.lam[place(team, a)].real


@cuda.jit(device=True)
def probability(z: complex) -> float:
    """|z|^2."""
    return z.real * z.real + z.imag * z.imag


@cuda.jit(device=True)
def measure_z(part: int, tables: DeviceTables, shared: Shared, team: Team, out: Array) -> None:
    """Write expectations of Z, as many at a time as the memory for sums allows."""
    sums, n_threads = shared.sums, cuda.blockDim.x
    room = sums.size // n_threads
    last = tables.parts[part, LAST_OUTPUT]
    for first in range(tables.parts[part, FIRST_OUTPUT], last, room):
        n = min(room, last - first)
        for e in range(n):
            bit = tables.outputs[first + e, 0]
            z = out.dtype.type(0)
            for a in range(team.lane, 1 << tables.parts[part, N_WIRES], team.n_lanes):
                p = probability(shared.psi[place(team, a)])
                z += -p if (a >> bit) & 1 else p
            sums[e * n_threads + cuda.threadIdx.x] = z
        sum_threads(sums, n, team.n_slots)
        if team.lane == 0:
            for e in range(n):
                out[tables.outputs[first + e, 1]] = sums[e * n_threads + team.slot].real


@cuda.jit(device=True)
def measure_z_back(
    part: int, tables: DeviceTables, shared: Shared, team: Team, grad: Array
) -> None:
    """Write lambda for a gradient with respect to expectations of Z."""
    for a in range(team.lane, 1 << tables.parts[part, N_WIRES], team.n_lanes):
        g = grad.dtype.type(0)
        for o in range(tables.parts[part, FIRST_OUTPUT], tables.parts[part, LAST_OUTPUT]):
            h = grad[tables.outputs[o, 1]]
            g += -h if (a >> tables.outputs[o, 0]) & 1 else h
        i = place(team, a)
        shared.lam[i] = (g + g) * shared.psi[i]  # twice, as p = psi conj(psi)


@cuda.jit(device=True)
def measure_probabilities(tables: DeviceTables, shared: Shared, team: Team, out: Array) -> None:
    """Write the sum of the probabilities of the amplitudes of each output."""
    for o in range(team.lane, out.size, team.n_lanes):
        p = out.dtype.type(0)
        for k in range(tables.members.shape[1]):
            p += probability(shared.psi[place(team, tables.members[o, k])])
        out[o] = p


@cuda.jit(device=True)
def measure_probabilities_back(
    tables: DeviceTables, shared: Shared, team: Team, grad: Array
) -> None:
    """Write lambda for a gradient with respect to probabilities."""
    for a in range(team.lane, tables.outputs.shape[0], team.n_lanes):
        g, o = grad.dtype.type(0), tables.outputs[a, 0]
        if o >= 0:
            g = grad[o]
        i = place(team, a)
        shared.lam[i] = (g + g) * shared.psi[i]


@cuda.jit(device=True)
def copy_state(shared: Shared, team: Team, out: Array) -> None:
    """Write real and imaginary parts of all amplitudes to neighbouring outputs."""
    for a in range(team.lane, out.size // 2, team.n_lanes):
        z = shared.psi[place(team, a)]
        out[2 * a] = z.real
        out[2 * a + 1] = z.imag


@cuda.jit(device=True)
def read_state(shared: Shared, team: Team, grad: Array) -> None:
    """The reverse of `copy_state`."""
    for a in range(team.lane, grad.size // 2, team.n_lanes):
        shared.lam[place(team, a)] = complex(grad[2 * a], grad[2 * a + 1])


@cuda.jit(device=True)
def piece_of(n_parts: int, n_chunks: int) -> tuple[int, int, int]:
    """Part, circuit and chunk of this block."""
    part, rest = cuda.blockIdx.x % n_parts, cuda.blockIdx.x // n_parts
    return part, rest // n_chunks, rest % n_chunks


@cuda.jit(device=True)
def team_of(part: int, tables: DeviceTables) -> Team:
    """The place of this thread."""
    n_lanes = tables.parts[part, N_LANES]
    n_slots = cuda.blockDim.x // n_lanes
    return Team(cuda.threadIdx.x // n_slots, n_lanes, cuda.threadIdx.x % n_slots, n_slots)


@cuda.jit(device=True)
def shared_memory(sizes: Sizes, like: Array) -> Shared:
    """Divide the shared memory of this block."""
    memory = cuda.shared.array(0, like.dtype)
    vectors = sizes.state
    sums = vectors + sizes.vectors
    lam = sums + sizes.sums
    vectors_lam = lam + sizes.state
    return Shared(
        memory[:vectors],
        memory[vectors:sums],
        memory[sums:lam],
        memory[lam:vectors_lam],
        memory[vectors_lam : vectors_lam + sizes.vectors],
    )


@cuda.jit(cache=True)
def forward(
    tables: DeviceTables,
    matrices: Array,
    samples: DeviceSamples,
    measure: int,
    sizes: Sizes,
    chunks: Chunks,
    out: Array,
) -> None:
    """Evaluate circuits, with one block per part, circuit and chunk.

    Args:
        tables: The program.
        matrices: `(n_circuits, n_entries)` complex.
        samples: The data of the samples.
        measure: `EXPVAL`, `PROBS` or `STATE`, as in `kernels.forward`.
        sizes: Sizes in shared memory; states and vectors are needed once.
        chunks: The division of the samples into chunks.
        out: Receives the outputs, `(n_circuits, B, n_outputs)`.
    """
    part, circuit, piece = piece_of(tables.parts.shape[0], chunks.n)
    team, shared, n_samples = team_of(part, tables), shared_memory(sizes, matrices), out.shape[1]
    first = piece * chunks.size
    for begin in range(first, min(first + chunks.size, n_samples), team.n_slots):
        sample = min(begin + team.slot, n_samples - 1)  # spare slots repeat the last sample
        source = Source(
            matrices[circuit],
            tables.constants,
            samples.cos[circuit, sample],
            samples.sin[circuit, sample],
        )
        run_part(part, tables, source, samples.amplitudes[circuit, sample], shared, team)
        if measure == EXPVAL:
            measure_z(part, tables, shared, team, out[circuit, sample])
        elif measure == PROBS:
            measure_probabilities(tables, shared, team, out[circuit, sample])
        else:
            copy_state(shared, team, out[circuit, sample])
        cuda.syncthreads()


@cuda.jit(cache=True)
def backward(
    tables: DeviceTables,
    matrices: Array,
    samples: DeviceSamples,
    measure: int,
    sizes: Sizes,
    chunks: Chunks,
    grad_out: Array,
    sums: Array,
    grads: DeviceSamples,
) -> None:
    """The gradient of the loss from its gradient with respect to the outputs.

    Args:
        tables: The program.
        matrices: `(n_circuits, n_entries)` complex.
        samples: The data of the samples.
        measure: As in `forward`.
        sizes: Sizes in shared memory; states and vectors are needed twice.
        chunks: The division of the samples into chunks.
        grad_out: As `out` in `forward`.
        sums: Zeros, `(n_circuits, n_chunks, n_entries)` complex. Receives the gradient with respect
            to the matrices, to be summed over the chunks.
        grads: Zeros, shaped like `samples`. Receives the gradients with respect to the samples.
    """
    part, circuit, piece = piece_of(tables.parts.shape[0], chunks.n)
    team, shared = team_of(part, tables), shared_memory(sizes, matrices)
    first, n_samples = piece * chunks.size, grad_out.shape[1]
    for begin in range(first, min(first + chunks.size, n_samples), team.n_slots):
        sample = min(begin + team.slot, n_samples - 1)
        source = Source(
            matrices[circuit],
            tables.constants,
            samples.cos[circuit, sample],
            samples.sin[circuit, sample],
        )
        grad = Grads(
            sums[circuit, piece],
            grads.cos[circuit, sample],
            grads.sin[circuit, sample],
            begin + team.slot < n_samples,
        )
        run_part(part, tables, source, samples.amplitudes[circuit, sample], shared, team)
        if measure == EXPVAL:
            measure_z_back(part, tables, shared, team, grad_out[circuit, sample])
        elif measure == PROBS:
            measure_probabilities_back(tables, shared, team, grad_out[circuit, sample])
        else:
            read_state(shared, team, grad_out[circuit, sample])
        undo_part(part, tables, source, shared, team, grad, grads.amplitudes[circuit, sample])
        cuda.syncthreads()
