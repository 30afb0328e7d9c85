r"""Strongly entangling layers that carry a class label (Koelle et al., arXiv 2401.07049).

    U_c(w) = S(w_r) R_c ... S(w_2) R_c S(w_1) R_c,      the layers w = (w_1, ..., w_r) in r parts.

S are PennyLane's `StronglyEntanglingLayers` on all wires, whose ranges begin anew in each part. R_c
acts on the last wire, the ancilla: RX(2 pi c / K) for class c of K. Without a label it is
RY(pi / 2), which prepares (|0> + |1>) / sqrt(2): its overlap with the ancilla of every class is
1/2.

A label that is uploaded once may be in the amplitudes of the inputs instead, since up to a phase

    RX(phi) |0> = RZ(-pi / 2) (cos(phi / 2) |0> + sin(phi / 2) |1>).

One circuit, with R = RZ(-pi / 2), then serves all classes.
"""

import math
from dataclasses import dataclass

from torch import Tensor

from hqdm.circuits.ansatz import StronglyEntangling
from hqdm.circuits.lazy import qml


@dataclass(frozen=True)
class LabelledLayers(StronglyEntangling):
    """Strongly entangling layers with the label of one class on the last wire.

    Attributes:
        n_classes: Number of classes, K.
        label: The class, from 0; `n_classes` is "no label". None is a label in the amplitudes.
        uploads: Number of parts of the layers, split as by `numpy.array_split`, each of which
            begins with the label.
    """

    n_classes: int = 2
    label: int | None = 0
    uploads: int = 1

    def queue(self, weights: Tensor) -> None:
        """Queue label and layers, part by part."""
        for part in weights.tensor_split(self.uploads):
            if len(part):
                self._queue_label()
                qml.StronglyEntanglingLayers(part, wires=range(self.n_wires))

    def _queue_label(self) -> None:
        ancilla = self.n_wires - 1
        if self.label is None:
            qml.RZ(-math.pi / 2, wires=ancilla)
        elif self.label == self.n_classes:
            qml.RY(math.pi / 2, wires=ancilla)
        else:
            qml.RX(2 * math.pi * self.label / self.n_classes, wires=ancilla)
