"""PennyLane operations as products of gates that a program can hold.

A program holds constant gates and gates of one angle, M = A + cos(phase) B + sin(phase) C.
PennyLane takes some other operations apart by looking at the values of their angles, which a trace
of all values at once cannot follow. For these, and for many controls, there are rules here:

    C(V U) = C(V) C(U),    (V U)^dag = U^dag V^dag,    C^n(e^{i a}) = C^{n-1}(PhaseShift(a)),
    C^n R_a(t) = C R_a(t/2) C^{n-1} P  C R_a(-t/2) C^{n-1} P     with P R_a(t) P = R_a(-t),
    exp(i t H) = V exp(i t D) V^dag,    exp(i t D) = product of MultiRZ.
"""

from collections.abc import Hashable, Iterator, Mapping

import numpy as np
import pennylane as qml
import torch
from pennylane.operation import Operator
from pennylane.ops.functions import bind_new_parameters
from pennylane.ops.op_math import Adjoint, CompositeOp, Exp, Pow, SymbolicOp
from torch import Tensor

from hqdm.circuits.operations import NO_EFFECT, matrix_of, measures
from hqdm.circuits.qfunc import in_one_line
from hqdm.utils.errors import HQDMError

HINT = "use simulator='pennylane:default.qubit' for it"
MAX_GATE_WIRES = 4  # gates on more wires are decomposed if PennyLane has a decomposition
FREQUENCIES = (0.5, 1.0)  # of the gates of one angle: 0.5 for RX, 1 for PhaseShift
ROUNDING = 1e-12  # smaller float64 coefficients of order one are rounding errors
# The rotations with many controls, and Pauli matrices that invert them.
INVERTED_BY = {"RX": qml.Z, "RY": qml.X, "RZ": qml.X}


def native(operation: Operator, with_phases: bool = False) -> Iterator[Operator]:
    """The gates of an operation, in order.

    Args:
        operation: The operation.
        with_phases: Whether global phases become gates on wire 0; they are left out otherwise.

    Raises:
        HQDMError: If there are none; the message gives the reason, in one line.
    """
    for part in _parts(operation):
        if part.name != "GlobalPhase":
            if part.wires:
                yield part
        elif with_phases:
            with qml.QueuingManager.stop_recording():
                shift, flip = qml.PhaseShift(-part.parameters[0], wires=0), qml.X(0)
            yield from (shift, flip, shift, flip)


def _parts(operation: Operator) -> Iterator[Operator]:
    """The gates of an operation, in order, with global phases."""
    kind = kind_of(operation)
    if kind in _native_kinds and _takes_numbers(operation):
        yield operation
        return
    if operation.name in NO_EFFECT:
        return
    try:
        taken_apart = _by_rule(operation) if has_tensors(operation) else None
        kept = taken_apart is None and _is_native(operation)
        if taken_apart is None and not kept:
            taken_apart = _by_pennylane(operation)
    except HQDMError:
        raise
    except Exception as error:
        raise HQDMError(
            f"PennyLane cannot take {operation.name} apart without the values of its angles "
            f"({in_one_line(error)}): {HINT}"
        ) from error
    if kept or taken_apart is None:
        if kind is not None and _takes_numbers(operation):
            _native_kinds.add(kind)
        yield operation
        return
    for part in taken_apart:
        yield from _parts(part)


_native_kinds: set[Hashable] = set()


def _takes_numbers(operation: Operator) -> bool:
    """True if an operation has at most one parameter, without axes."""
    parameters = operation.parameters
    return not parameters or (len(parameters) == 1 and np.ndim(parameters[0]) == 0)


def _by_pennylane(operation: Operator) -> list[Operator]:
    """PennyLane's decomposition.

    Raises:
        HQDMError: If there is none.
    """
    if measures(operation):
        raise HQDMError(f"a measurement before the end cannot be simulated here: {HINT}")
    if not operation.has_decomposition:
        raise HQDMError(f"the statevector simulator cannot run {operation.name}: {HINT}")
    return list(operation.decomposition())


def _by_rule(operation: Operator) -> list[Operator] | None:
    """The parts of an operation of angles by the rules of this module, or None without a rule."""
    with qml.QueuingManager.stop_recording():
        if isinstance(operation, Exp):
            return exponential(operation)
        if _is_native(operation):
            return None
        if isinstance(operation, Adjoint) and operation.wires:
            return [_adjoint(part) for part in reversed(list(_parts(operation.base)))]
        if isinstance(operation, Pow):
            return _power(operation)
        if isinstance(operation, qml.ops.Controlled):
            return _controlled(operation)
    return None


def _adjoint(operation: Operator) -> Operator:
    return qml.adjoint(operation, lazy=False)


def _power(operation: Pow) -> list[Operator] | None:
    """A whole power as a product; None for another power."""
    exponent = operation.z
    if isinstance(exponent, Tensor) or exponent != int(exponent):
        return None
    parts = list(_parts(operation.base))
    if exponent < 0:
        parts = [_adjoint(part) for part in reversed(parts)]
    return parts * abs(int(exponent))


def _controlled(operation: Operator) -> list[Operator]:
    """A gate of angles with controls, without looking at the angles."""
    base, controls = operation.base, list(operation.control_wires)
    values = [bool(value) for value in operation.control_values]
    if isinstance(base, qml.ops.Controlled):
        inner = [bool(value) for value in base.control_values]
        return [_with_controls(base.base, controls + list(base.control_wires), values + inner)]
    if base.name == "GlobalPhase":
        return _controlled_phase(-base.parameters[0], controls, values)
    if base.name == "PhaseShift":
        return _controlled_phase(base.parameters[0], [*controls, *base.wires], [*values, True])
    if base.name in INVERTED_BY:
        return _controlled_rotation(base, controls, values)
    if _is_native(base) and not base.has_decomposition:
        raise HQDMError(
            f"{base.name} with {len(controls)} controls is too wide, and PennyLane has no smaller "
            f"gates for it: {HINT}"
        )
    parts = base.decomposition() if _is_native(base) else list(_parts(base))
    return [_with_controls(part, controls, values) for part in parts]


def _with_controls(operation: Operator, controls: list[int], values: list[bool]) -> Operator:
    return qml.ctrl(operation, control=controls, control_values=values)


def _controlled_phase(angle: Tensor, wires: list[int], values: list[bool]) -> list[Operator]:
    """The phase e^{i angle} where all wires have their values."""
    last, value = wires[-1], values[-1]
    flips = [] if value else [qml.X(last)]
    if len(wires) == 1:
        return [*flips, qml.PhaseShift(angle, wires=last), *flips]
    if len(wires) <= MAX_GATE_WIRES:
        shift = _with_controls(qml.PhaseShift(angle, wires=last), wires[:-1], values[:-1])
        return [*flips, shift, *flips]
    rotation = _with_controls(qml.RZ(angle, wires=last), wires[:-1], values[:-1])
    rest = _controlled_phase(angle / 2, wires[:-1], values[:-1])
    return [*flips, rotation, *flips, *rest]


def _controlled_rotation(base: Operator, controls: list[int], values: list[bool]) -> list[Operator]:
    """A rotation with many controls, by two rotations with one."""
    half = base.parameters[0] / 2
    forth, back = (
        _with_controls(type(base)(angle, wires=base.wires), controls[-1:], values[-1:])
        for angle in (half, -half)
    )
    flip = _with_controls(INVERTED_BY[base.name](base.wires), controls[:-1], values[:-1])
    return [flip, back, flip, forth]


def exponential(operation: Exp) -> list[Operator] | None:
    """exp(i t H) for a real t that may depend on inputs and weights.

    Returns:
        Rotations about the Pauli words of H if they commute, else the diagonal form of a constant
        H; None if H is neither, or has too many wires.
    """
    time = _time(operation)
    words = operation.base.pauli_rep
    if time is None or words is None:
        return None
    if all(a.commutes_with(b) for a in words for b in words):
        return [
            _pauli_rotation(-2 * time * _real(coefficient), word)
            for word, coefficient in words.items()
        ]
    if has_tensors(operation.base) or len(operation.wires) > MAX_GATE_WIRES:
        return None
    return _diagonal_form(time, qml.matrix(operation.base, wire_order=operation.wires), operation)


def _time(operation: Exp) -> Tensor | None:
    """The t of exp(i t H), or None if it has an imaginary part somewhere."""
    coefficient = operation.coeff
    if not isinstance(coefficient, Tensor):
        coefficient = torch.tensor(complex(coefficient), dtype=torch.complex128)
    if isinstance(operation, qml.ops.Evolution):
        return -operation.parameters[0] if has_tensors(operation) else coefficient.imag
    if not coefficient.is_complex() or _values(coefficient).real.abs().max() > ROUNDING:
        return None
    return coefficient.imag


def _values(tensor: Tensor) -> Tensor:
    """All values of a tensor of which `torch.func.vmap` shows one."""
    while torch._C._functorch.is_batchedtensor(tensor):
        tensor = torch._C._functorch.get_unwrapped(tensor)
    return tensor


def _real(coefficient: Tensor | complex) -> Tensor | float:
    if isinstance(coefficient, Tensor):
        return coefficient.real
    return complex(coefficient).real


def _pauli_rotation(angle: Tensor, word: qml.pauli.PauliWord) -> Operator:
    if not word:
        return qml.GlobalPhase(angle / 2)
    return qml.PauliRot(angle, "".join(word.values()), wires=list(word))


def _diagonal_form(time: Tensor, matrix: np.ndarray, operation: Exp) -> list[Operator]:
    """V exp(i t D) V^dag with D = sum_S c_S Z_S over the sets S of wires."""
    values, vectors = np.linalg.eigh(np.asarray(matrix))
    wires = list(operation.wires)
    bits = np.arange(len(values))[:, None] >> np.arange(len(wires))[::-1] & 1
    parts: list[Operator] = [qml.QubitUnitary(vectors.conj().T, wires=wires)]
    for chosen in range(len(values)):
        members = [i for i in range(len(wires)) if chosen >> i & 1]
        signs = (-1.0) ** bits[:, members].sum(1)
        coefficient = float(values @ signs) / len(values)
        if abs(coefficient) <= ROUNDING:
            continue
        angle = -2 * coefficient * time
        some = [wires[i] for i in members]
        parts.append(qml.MultiRZ(angle, wires=some) if some else qml.GlobalPhase(angle / 2))
    return [*parts, qml.QubitUnitary(vectors, wires=wires)]


def _is_native(operation: Operator) -> bool:
    if operation.name == "GlobalPhase":
        return True
    if not operation.wires:  # an adjoint or a power of a global phase is one
        return _innermost(operation).name != "GlobalPhase"
    constant = not has_tensors(operation)
    if len(operation.wires) > MAX_GATE_WIRES:
        by_rule = not constant and isinstance(operation, qml.ops.Controlled)
        if by_rule or operation.has_decomposition:
            return False
    if not operation.has_matrix or isinstance(operation, qml.ops.Conditional):
        return False
    if constant:
        return True
    hidden = _has_hidden_tensors(operation) or isinstance(_innermost(operation), Exp)
    return not hidden and sinusoid(operation) is not None


def _innermost(operation: Operator) -> Operator:
    """The operation inside adjoints, powers and controls."""
    while isinstance(operation, (Adjoint, Pow, qml.ops.Controlled)):
        operation = operation.base
    return operation


def has_tensors(operation: Operator) -> bool:
    """True if an operation has angles that may depend on inputs or weights."""
    visible = any(isinstance(parameter, Tensor) for parameter in operation.parameters)
    return visible or _has_hidden_tensors(operation)


def _has_hidden_tensors(operation: Operator) -> bool:
    """True if an operation holds tensors elsewhere than among its parameters."""
    if isinstance(operation, (SymbolicOp, CompositeOp)):
        inside = operation.operands if isinstance(operation, CompositeOp) else [operation.base]
        return any(map(_has_hidden_tensors, inside))
    return bool(operation.hyperparameters) and _holds_tensors(operation.hyperparameters)


def _holds_tensors(value: object) -> bool:
    if isinstance(value, Tensor):
        return True
    if isinstance(value, Operator):
        return has_tensors(value)
    if isinstance(value, Mapping):
        return any(map(_holds_tensors, value.values()))
    return isinstance(value, (list, tuple)) and any(map(_holds_tensors, value))


def sinusoid(operation: Operator) -> tuple[np.ndarray, float] | None:
    """A, B, C and the frequency of a gate of one angle, or None if it is not of this form."""
    if len(operation.parameters) != 1 or operation.parameters[0].ndim:
        return None
    kind = kind_of(operation)
    if kind is None:
        return _fit_sinusoid(operation)
    if kind not in _sinusoids:
        _sinusoids[kind] = _fit_sinusoid(operation)
    return _sinusoids[kind]


_sinusoids: dict[Hashable, tuple[np.ndarray, float] | None] = {}


def kind_of(operation: Operator) -> Hashable:
    """A key of the matrix of a gate as a function of its angle, or None if there is no such key."""
    if isinstance(operation, qml.ops.Controlled):
        of_base = kind_of(operation.base)
        return of_base and (type(operation), of_base, tuple(operation.control_values))
    options = tuple(operation.hyperparameters.items())
    if all(isinstance(value, (str, int, float, type(None))) for _, value in options):
        return type(operation), len(operation.wires), options
    return None


def _fit_sinusoid(operation: Operator) -> tuple[np.ndarray, float] | None:
    """A, B, C and the frequency, from the matrices at several angles."""

    def matrix(phase: float) -> np.ndarray:
        return matrix_of(bind_new_parameters(operation, [phase / frequency]))

    for frequency in FREQUENCIES:
        at_zero, at_pi = matrix(0.0), matrix(np.pi)
        constant, cosine = (at_zero + at_pi) / 2, (at_zero - at_pi) / 2
        sine = matrix(np.pi / 2) - constant
        if all(
            np.allclose(matrix(t), constant + np.cos(t) * cosine + np.sin(t) * sine, 0, ROUNDING)
            for t in (0.7, -2.3)
        ):
            return np.stack([_clean(m) for m in (constant, cosine, sine)]), frequency
    return None


def _clean(matrix: np.ndarray) -> np.ndarray:
    """The matrix with rounding errors in real and imaginary parts set to zero."""
    parts = matrix.view(np.float64)
    return np.where(np.abs(parts) < ROUNDING, 0, parts).view(np.complex128)
