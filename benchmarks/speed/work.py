"""Tasks for a simulator: circuits, and random inputs and weights."""

from dataclasses import dataclass, field

import numpy as np
import torch

from hqdm.circuits import Circuit
from speed.settings import SEED


@dataclass(frozen=True)
class Work:
    """Circuits to run forward and backward.

    Attributes:
        name: The name of the task.
        circuit: The common circuit.
        n_circuits: Number of circuits, each with its own weights.
        n_samples: Batch size of each.
        targets: Required ratio of times to hqdm, by contestant.
    """

    name: str
    circuit: Circuit
    n_circuits: int
    n_samples: int
    targets: dict[str, float] = field(default_factory=dict)

    def operands(self) -> list[np.ndarray]:
        """Random inputs, weights and cotangents in float32."""
        generator = np.random.default_rng(SEED)
        shape = (self.n_circuits, self.n_samples)
        weights = torch.Size(self.circuit.weights_shape).numel()
        arrays = [
            generator.normal(size=(*shape, self.circuit.n_inputs)),
            generator.uniform(0, 2 * np.pi, size=(self.n_circuits, weights)),
            generator.normal(size=(*shape, self.circuit.n_outputs)),
        ]
        return [array.astype(np.float32) for array in arrays]
