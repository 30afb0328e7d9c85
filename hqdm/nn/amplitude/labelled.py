"""Circuits with common angles, one per class label.

The gates of a label are not trainable, so that each class has a circuit of its own with the same
parameters w. The samples of a batch are grouped by class and each group is one call of the
simulator, which may compute the unitary of the class once for all of them.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from hqdm.circuits import Circuit
from hqdm.nn.amplitude.angles import TanhLayer
from hqdm.nn.operator import opaque
from hqdm.simulators import Simulator
from hqdm.utils.errors import HQDMError


class LabelledLayer(TanhLayer):
    """A `TanhLayer` with one circuit per label.

    Args:
        circuits: The circuits of labels 0, 1, ..., of equal shapes.
        simulator: As for `QuantumLayer`.
    """

    def __init__(self, circuits: Sequence[Circuit], simulator: str | Simulator = "auto") -> None:
        super().__init__(circuits[0], simulator=simulator)
        self.circuits = tuple(circuits)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Evaluate the circuits.

        Args:
            x: Features, `(B, 1, n_inputs)`.
            y: Labels `(B,)`; None is the last label for all samples.

        Returns:
            `(B, 1, n_outputs)`, in the dtype of `theta`.

        Raises:
            HQDMError: If there is no circuit for a label.
        """
        # One tensor for the operator. The labels are exact in float32.
        exact = x.to(torch.promote_types(x.dtype, torch.float32))
        last = len(self.circuits) - 1
        labels = exact.new_full((len(x),), last) if y is None else y.to(exact)
        joined = torch.cat([exact, labels[:, None, None]], -1)
        if torch.compiler.is_compiling() or x.is_meta:
            return opaque(self.operator_name, joined, [self.theta])
        return self.evaluate(joined, [self.theta])

    def evaluate(self, x: Tensor, weights: list[Tensor]) -> Tensor:
        """Evaluate the circuits, see `forward`.

        Args:
            x: Features and label, `(B, 1, n_inputs + 1)`.
            weights: `theta`.
        """
        (theta,) = weights
        features, labels = x[..., :-1], x.detach()[:, 0, -1].long()
        order = labels.argsort(stable=True)
        present, sizes = labels.unique(return_counts=True)
        classes = present.tolist()
        if classes and not 0 <= classes[0] <= classes[-1] < len(self.circuits):
            raise HQDMError(
                f"labels {classes[0]} to {classes[-1]}: expected 0 to {len(self.circuits) - 1}"
            )
        groups = features[order].split(sizes.tolist())
        outputs = [
            self.run(self.circuits[label], group, theta)
            for label, group in zip(classes, groups, strict=True)
        ]
        if not outputs:
            return self.run(self.circuit, features, theta)
        return torch.cat(outputs)[order.argsort()]

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """See `QuantumLayer.output_shape`."""
        return *shape[:-1], self.circuit.n_outputs
