"""The simulator "auto": per call the fastest exact simulator, by the estimates of `costs`.

On the CPU it chooses among the compiled kernels, the unitary path and the torch state vector; on
other devices among the last two, in torch operations.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import torch
from torch import Tensor

from hqdm.circuits import Circuit
from hqdm.simulators.compiled.cpu import CompiledSimulator
from hqdm.simulators.costs import (
    Work,
    compiled_seconds,
    statevector_seconds,
    unitary_seconds,
    unitary_torch_seconds,
)
from hqdm.simulators.program.base import Simulator, check_shapes
from hqdm.simulators.program.statevector import StatevectorSimulator
from hqdm.simulators.unitary import UnitarySimulator


@dataclass(frozen=True)
class Choice:
    """A choice of "auto" and its reason.

    Attributes:
        simulator: The chosen simulator.
        seconds: Estimated seconds by name; infinite if a simulator cannot run the circuit.
        reason: The reason in words.
    """

    simulator: Simulator
    seconds: dict[str, float]
    reason: str


@lru_cache(maxsize=1024)
def choose(work: Work, device: torch.device) -> Choice:
    """Choose the fastest exact simulator for a call.

    Args:
        work: The call.
        device: Device of the inputs.
    """
    statevector = StatevectorSimulator(work.memory_limit)
    by_rows = UnitarySimulator(work.memory_limit)
    candidates: dict[Simulator, float] = {statevector: statevector_seconds(work)}
    if device.type == "cpu":
        candidates[CompiledSimulator(work.memory_limit)] = compiled_seconds(work)
        candidates[by_rows] = unitary_seconds(work)
        estimated = "estimated"
    else:
        candidates[by_rows] = unitary_torch_seconds(work)
        estimated = f"inputs are on {device.type}; estimated with the rates of a CPU"
    best = min(candidates, key=candidates.__getitem__)
    seconds = {simulator.name: estimate for simulator, estimate in candidates.items()}
    return Choice(best, seconds, f"{estimated} {_in_words(seconds)}")


def _in_words(seconds: dict[str, float]) -> str:
    return ", ".join(
        f"{name} {'not possible' if math.isinf(estimate) else f'{1e3 * estimate:.1f} ms'}"
        for name, estimate in sorted(seconds.items(), key=lambda item: item[1])
    )


@dataclass(frozen=True)
class AutoSimulator:
    """A simulator that runs each call on the simulator of `choose`.

    Attributes:
        memory_limit: Memory limit of the chosen simulator in bytes.
    """

    memory_limit: int = 2**30

    name: ClassVar[str] = "auto"

    def __call__(self, circuit: Circuit, inputs: Tensor, weights: Tensor) -> Tensor:
        """Evaluate the circuits; see `Simulator`.

        Raises:
            HQDMError: Under the conditions of the chosen simulator.
        """
        check_shapes(circuit, inputs, weights)
        gradients = torch.is_grad_enabled() and (inputs.requires_grad or weights.requires_grad)
        work = Work(
            circuit,
            n_circuits=inputs.shape[0],
            n_samples=inputs.shape[1],
            itemsize=inputs.element_size(),
            gradients=gradients,
            memory_limit=self.memory_limit,
        )
        return choose(work, inputs.device).simulator(circuit, inputs, weights)
