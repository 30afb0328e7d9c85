"""Circuits with common angles, such as one per class label.

The gates of a label are not trainable: circuits of different labels have the same parameters w. The
samples of a batch are grouped by their circuit and each group is one call of the simulator, which
may compute the unitary of the circuit once for all of them.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from hqdm.circuits import Ansatz, Circuit
from hqdm.nn.amplitude.angles import TanhLayer
from hqdm.nn.operator import opaque
from hqdm.simulators import Simulator
from hqdm.utils.errors import HQDMError


class LabelledLayer(TanhLayer):
    """A `TanhLayer` with several circuits, of which each sample takes one.

    Args:
        circuits: The circuits, of equal shapes.
        simulator: As for `QuantumLayer`.
    """

    def __init__(self, circuits: Sequence[Circuit], simulator: str | Simulator = "auto") -> None:
        super().__init__(circuits[0], simulator=simulator)
        self.circuits = tuple(circuits)

    def replace_ansatz(self, convert: Callable[[Ansatz], Ansatz]) -> None:
        """See `QuantumLayer.replace_ansatz`."""
        super().replace_ansatz(convert)
        self.circuits = tuple(
            replace(circuit, ansatz=convert(circuit.ansatz))
            for circuit in self.circuits
            if isinstance(circuit.ansatz, Ansatz)
        )

    def forward(self, x: Tensor, which: Tensor | None = None) -> Tensor:
        """Evaluate the circuits.

        Args:
            x: Features, `(B, 1, n_inputs)`.
            which: Indices of the circuits `(B,)`; None is the first one for all samples.

        Returns:
            `(B, 1, n_outputs)`, in the dtype of `theta`.

        Raises:
            HQDMError: If there is no circuit of an index, the features have another shape, or are
                not real.
        """
        self.check(x)
        # One tensor for the operator. The indices are exact in float32.
        exact = x.to(torch.promote_types(x.dtype, torch.float32))
        indices = exact.new_zeros(len(x)) if which is None else which.to(exact)
        joined = torch.cat([exact, indices[:, None, None]], -1)
        if torch.compiler.is_compiling() or x.is_meta:
            return opaque(self.operator_name, joined, [self.theta])
        return self.evaluate(joined, [self.theta])

    def evaluate(self, x: Tensor, weights: list[Tensor]) -> Tensor:
        """Evaluate the circuits, see `forward`.

        Args:
            x: Features and index of the circuit, `(B, 1, n_inputs + 1)`.
            weights: `theta`.
        """
        (theta,) = weights
        features, which = x[..., :-1], x.detach()[:, 0, -1].long()
        indices, sizes = (part.tolist() for part in which.unique(return_counts=True))
        if not indices:
            return self.run(self.circuit, features, theta)
        if not 0 <= indices[0] <= indices[-1] < len(self.circuits):
            raise HQDMError(
                f"labels {indices[0]} to {indices[-1]}: expected 0 to {len(self.circuits) - 1}"
            )
        if len(indices) == 1:
            return self.run(self.circuits[indices[0]], features, theta)
        order = which.argsort(stable=True)
        groups = features[order].split(sizes)
        outputs = [
            self.run(self.circuits[index], group, theta)
            for index, group in zip(indices, groups, strict=True)
        ]
        return torch.cat(outputs)[order.argsort()]

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """See `QuantumLayer.output_shape`."""
        return *shape[:-1], self.circuit.n_outputs
