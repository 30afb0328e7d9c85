"""A tape as a simulation: its initial state, its operations, and what is measured.

A projector, which postselects the outcome of a measurement before the end, divides the operations:

    |psi> -> P |psi> / |P psi|.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pennylane as qml
import torch
from pennylane import math
from pennylane.devices.qubit import apply_operation, measure_with_samples
from pennylane.measurements import ShotCopies, Shots
from pennylane.operation import Operator, StatePrepBase
from pennylane.tape import QuantumScript
from torch import Tensor

from hqdm.device.arrays import as_numpy, precision
from hqdm.device.gates import Step, takes_angles
from hqdm.device.measurements import Direct, plan
from hqdm.device.programs import STATE, run
from hqdm.simulators import Simulator
from hqdm.utils.errors import HQDMError

IMPOSSIBLE = 1e-8  # norm of a projected state below which the outcome does not occur


class Simulation:
    """A tape that runs on a simulator.

    Args:
        tape: The tape, preprocessed by the device.
        simulator: The simulator.
        dtype: The real dtype of the computation; None for that of the parameters.
        tensors: Tensors that replace parameters, by their places among those of the tape.

    Attributes:
        in_torch: Whether a parameter is a torch tensor.
    """

    def __init__(
        self,
        tape: QuantumScript,
        simulator: Simulator,
        dtype: torch.dtype | None = None,
        tensors: Mapping[int, Tensor] | None = None,
    ) -> None:
        tensors = tensors or {}
        if not are_angles(tape, tensors):
            tape = tape.bind_new_parameters(list(tensors.values()), list(tensors))
            tensors = {}
        self.tape = tape.map_to_standard_wires()
        self.simulator = simulator
        self.steps = list(replaced(self.tape.operations, tensors))
        numbers = [number for _, data in self.steps for number in data]
        numbers += [number for m in self.tape.measurements if m.obs for number in m.obs.data]
        devices = [number.device for number in numbers if isinstance(number, Tensor)]
        self.in_torch = bool(devices)
        self.device = next((d for d in devices if d.type != "cpu"), torch.device("cpu"))
        self.dtype = dtype or precision(numbers)
        self.n_wires = max(len(self.tape.wires), 1)
        self.is_batched = self.tape.batch_size is not None
        self.n_samples = self.tape.batch_size if self.is_batched else 1

    def results(self) -> list[Tensor]:
        """The results of the measurements."""
        measurements = self.tape.measurements
        initial, steps = self._initial()
        projects = any(isinstance(operation, qml.Projector) for operation, _ in steps)
        is_real = initial is None or not initial.is_complex()
        chosen = plan(measurements, is_real and not projects)
        if isinstance(chosen, Direct):
            measured = chosen.readout.measure, chosen.wires
            rotations = [(gate, gate.data) for gate in chosen.rotations]
            values = self._run([*steps, *rotations], initial, measured)
            results = chosen(values)
            return results if self.is_batched else [result[0] for result in results]
        states = self._states(initial, steps)
        return chosen(measurements, states, self.is_batched)

    def samples(self, rng: np.random.Generator, postselect_mode: str | None) -> Any:
        """The results of the measurements from the shots of the tape.

        Args:
            rng: The generator of the samples.
            postselect_mode: "fill-shots" to draw all shots with the postselected outcome, otherwise
                those of other outcomes are discarded.

        Raises:
            HQDMError: If all shots are to have an outcome that does not occur.
        """
        self.dtype = torch.float64  # sampling checks that probabilities have the sum one
        with torch.no_grad():
            states = as_numpy(self._states(*self._initial()))
        shots = self._shots(rng, postselect_mode)
        results = measure_with_samples(
            list(self.tape.measurements),
            states if self.is_batched else states[0],
            shots,
            is_state_batched=self.is_batched,
            rng=rng,
        )
        if len(self.tape.measurements) > 1:
            return results
        return tuple(r[0] for r in results) if shots.has_partitioned_shots else results[0]

    def _initial(self) -> tuple[Tensor | None, list[Step]]:
        """The initial state if it is prepared first, and the other operations."""
        steps = self.steps
        if not steps or not isinstance(steps[0][0], StatePrepBase):
            return None, steps
        (first, _), *steps = steps
        if isinstance(first, qml.BasisState):
            bits = np.asarray(math.unwrap(first.parameters[0])).astype(int).reshape(-1)
            with qml.QueuingManager.stop_recording():
                flips = [qml.X(w) for w, bit in zip(first.wires, bits, strict=True) if bit]
            return None, [*((flip, ()) for flip in flips), *steps]
        vector = first.state_vector(wire_order=range(self.n_wires))
        if hasattr(vector, "toarray"):
            vector = vector.toarray()
        state = torch.as_tensor(vector, device=self.device).reshape(-1, 2**self.n_wires)
        if state.is_complex() and not state.requires_grad and not state.imag.any():
            state = state.real
        return state.to(self.dtype.to_complex() if state.is_complex() else self.dtype), steps

    def _states(self, initial: Tensor | None, steps: Sequence[Step]) -> Tensor:
        """The final states, `(B, 2, ..., 2)`."""
        self.norms: list[Tensor] = []
        start = 0
        shape = (self.n_samples, *(2,) * self.n_wires)
        for place, (operation, _) in enumerate(steps):
            if isinstance(operation, qml.Projector):
                states = self._run(steps[start:place], initial, STATE).reshape(shape)
                initial, start = self._projected(states, operation).flatten(1), place + 1
        return self._run(steps[start:], initial, STATE).reshape(shape)

    def _projected(self, states: Tensor, projector: Operator) -> Tensor:
        projected = apply_operation(projector, states, is_state_batched=True)
        norms = torch.view_as_real(projected).square().flatten(1).sum(1).sqrt()
        norms = torch.where(norms < IMPOSSIBLE, 0, norms)  # results are nan then, not noise
        self.norms.append(norms.detach())
        return projected / norms.reshape(-1, *(1,) * self.n_wires)

    def _run(self, steps: Sequence[Step], initial: Tensor | None, readout: Any) -> Tensor:
        return run(
            self.simulator,
            steps,
            self.n_wires,
            initial,
            self.n_samples,
            self.dtype,
            self.device,
            readout,
        )

    def _shots(self, rng: np.random.Generator, postselect_mode: str | None) -> Any:
        """The shots that remain after postselection."""
        shots = self.tape.shots
        if not self.norms:
            return shots
        if self.is_batched:
            raise HQDMError("shots, postselection and batched parameters do not go together")
        probability = float(torch.stack(self.norms).square().prod())
        if postselect_mode == "fill-shots":
            if not probability:
                raise HQDMError("a postselected outcome has probability 0: no shots have it")
            return shots
        return Remaining([int(rng.binomial(n, min(probability, 1.0))) for n in shots])


class Remaining(Shots):
    """Shots that remain of those asked for, of which there may be none.

    Args:
        counts: The number of shots of each part.
    """

    def __init__(self, counts: Sequence[int]) -> None:
        self.total_shots = sum(counts)
        self.shot_vector = tuple(ShotCopies(count, 1) for count in counts)


def are_angles(tape: QuantumScript, places: Collection[int]) -> bool:
    """True if all parameters at some places are angles of operations."""
    if not places:
        return True
    owners = [operation for operation in tape.operations for _ in operation.data]
    return max(places) < len(owners) and all(takes_angles(owners[place]) for place in places)


def replaced(operations: Sequence[Operator], tensors: Mapping[int, Tensor]) -> Iterator[Step]:
    """Operations and their parameters, some of which are replaced by tensors."""
    place = 0
    for operation in operations:
        data = operation.data
        if tensors and data:
            numbers = enumerate(data, place)
            yield operation, [tensors.get(i, number) for i, number in numbers]
        else:
            yield operation, data
        place += len(data)
