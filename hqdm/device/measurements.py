"""The measurements of a tape, from one evolution of its state.

Expectations of Pauli words in one basis per wire, and probabilities, are linear in what the kernels
measure (`hqdm.circuits.readout`), so that no state is stored. All others come from the state:
expectations and variances by sparse matrices, the rest by PennyLane's own functions of a state.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import cast

import pennylane as qml
from pennylane.devices.qubit import measure
from pennylane.measurements import ExpectationMP, MeasurementProcess, ProbabilityMP, VarianceMP
from pennylane.operation import Operator
from torch import Tensor

from hqdm.circuits.identity import state_of
from hqdm.circuits.readout import (
    BASIS_CHANGE,
    Expectation,
    Readout,
    Returned,
    UnsupportedQNode,
    read_measurement,
    readout,
)
from hqdm.device.gates import structure
from hqdm.device.observables import SparseObservable, sparse_observable
from hqdm.device.recent import Recent

MAX_PLANS = 256
MAX_ENTRIES = 2**22  # of a linear map, 32 MB


@dataclass(frozen=True, eq=False)
class Direct:
    """Measurements that are linear in what the kernels measure.

    Attributes:
        rotations: Gates that map the measured Pauli matrices to Z.
        wires: The measured wires.
        readout: The linear map.
    """

    rotations: tuple[Operator, ...]
    wires: tuple[int, ...]
    readout: Readout

    def __call__(self, values: Tensor) -> list[Tensor]:
        """The results, each with a leading axis of samples."""
        is_number = [places is None for places in self.readout.marginals]
        parts = self.readout.parts(values)
        return [part[:, 0] if one else part for part, one in zip(parts, is_number, strict=True)]


@dataclass(frozen=True, eq=False)
class FromState:
    """Measurements of a state.

    Attributes:
        observables: For each measurement its observable, or None if PennyLane computes the result.
    """

    observables: tuple[SparseObservable | None, ...]

    def __call__(
        self, measurements: Sequence[MeasurementProcess], states: Tensor, is_batched: bool
    ) -> list[Tensor]:
        """The results, with a leading axis of samples if the tape has one."""
        return [
            _measured(measurement, observable, states, is_batched)
            for measurement, observable in zip(measurements, self.observables, strict=True)
        ]


def _measured(
    measurement: MeasurementProcess,
    observable: SparseObservable | None,
    states: Tensor,
    is_batched: bool,
) -> Tensor:
    if observable is None:
        return measure(
            measurement, states if is_batched else states[0], is_state_batched=is_batched
        )
    of = observable.variance if isinstance(measurement, VarianceMP) else observable.expectation
    return of(states) if is_batched else of(states)[0]


Plan = Direct | FromState

plans: Recent[Plan] = Recent(MAX_PLANS)


def plan(measurements: Sequence[MeasurementProcess], may_be_direct: bool) -> Plan:
    """The plan of some measurements on integer wires, from the cache if there is an equal one.

    Args:
        measurements: The measurements.
        may_be_direct: Whether the kernels may measure; they need a real initial state.
    """
    keys = tuple(map(_key, measurements))
    if None in keys:
        return _made(measurements, may_be_direct)
    return plans.get((keys, may_be_direct), lambda: _made(measurements, may_be_direct))


def _key(measurement: MeasurementProcess) -> Hashable:
    """A key of a measurement with all numbers; None if it has trainable ones."""
    observable = measurement.obs
    if observable is None or measurement.mv is not None:
        return type(measurement), measurement.wires.labels, measurement.mv is None
    if any(map(qml.math.requires_grad, observable.data)):
        return None
    words = observable.pauli_rep
    if words is not None:
        terms = tuple((word, complex(number)) for word, number in words.items())
        return type(measurement), observable.wires.labels, terms
    numbers = tuple(state_of(qml.math.unwrap(number)) for number in observable.data)
    return type(measurement), structure(observable), numbers


def _made(measurements: Sequence[MeasurementProcess], may_be_direct: bool) -> Plan:
    direct = _direct(measurements) if may_be_direct else None
    return direct or FromState(tuple(map(sparse_observable, measurements)))


def _direct(measurements: Sequence[MeasurementProcess]) -> Direct | None:
    """The plan without a state, if the measurements allow it."""
    if not all(type(m) in (ExpectationMP, ProbabilityMP) and m.mv is None for m in measurements):
        return None
    try:
        returned = Returned("list", tuple(read_measurement(m, ()) for m in measurements))
        bases = cast(dict[int, str], returned.bases)
    except UnsupportedQNode:
        return None
    if not bases or _entries(returned) > MAX_ENTRIES:  # of identities only, or a large map
        return None
    with qml.QueuingManager.stop_recording():
        gates = [BASIS_CHANGE[letter](wire) for wire, letter in bases.items()]
    rotations = tuple(gate for gate in gates if gate is not None)
    return Direct(rotations, tuple(bases), readout(returned))


def _entries(returned: Returned) -> int:
    """The number of entries of the linear map of joint outcomes, see `readout`."""
    expectations = [m for m in returned.measurements if isinstance(m, Expectation)]
    words = [word for expectation in expectations for _, word in expectation.terms]
    if len(expectations) == len(returned.measurements) and max(map(len, words), default=0) < 2:
        return 0  # of single wires
    return len(expectations) * 2 ** len(returned.bases)
