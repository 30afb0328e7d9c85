r"""Unitary single sampling: one circuit U that moves a state one step towards the data.

    |x_t> = p_t / |p_t|,     a = |p_t| <0|_ancilla U |x_t>|0>,
    x' = 2 a - 1,            p = (x + 1) / 2.

U consists of strongly entangling layers with the angles pi tanh(w), w ~ N(0, 0.4^2) at the start.
It is trained with the objective `step` on complex amplitudes, with the squared error
|x' - x_s|^2 = 4 ((Re a - p_s)^2 + (Im a)^2) or the absolute error |x' - x_s|, s = t - 1 / steps.
Since the norm of p_t is taken out and put back, this is the error of U|x_t> from the target
p_s / |p_t|, times |p_t|^2 or |p_t|.

With labels, an ancilla that starts in |0> carries the label before each of the `uploads` parts of
the layers (`hqdm.circuits.labels`), and the amplitudes of its outcome 0 are kept as they are.
Without labels there is no ancilla unless `ancilla` asks for one. Source: Koelle et al., arXiv
2401.07049.
"""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from hqdm.circuits import AmplitudeEmbedding, Ansatz, Circuit, StronglyEntangling
from hqdm.circuits.labels import LabelledLayers
from hqdm.nn.amplitude.controls import DenseControl, dense_control
from hqdm.nn.amplitude.states import StateNetwork, norms_of
from hqdm.nn.network import check_labels, register_network
from hqdm.utils.checks import whole
from hqdm.utils.errors import HQDMError

if TYPE_CHECKING:
    from hqdm.nn.amplitude.angles import TanhLayer
    from hqdm.nn.amplitude.labelled import LabelledLayer


@register_network
class USS(StateNetwork):
    """The network of unitary single sampling.

    Args:
        channels: Channels of the images.
        size: Height and width of the images.
        n_layers: Number of strongly entangling layers.
        n_classes: Number of class labels, or None.
        ancilla: Add an ancilla to a network without labels; one with labels always has it.
        uploads: Number of times that the label is loaded, at most `n_layers`.
        simulator: A simulator of `hqdm.simulators.resolve_simulator`, by name.
        control: What takes the place of the circuit, see `hqdm.nn.amplitude.controls`; None for
            nothing.

    Attributes:
        circuit: The layer of the circuit, with `n_layers * n_wires * 3` angles.

    Raises:
        HQDMError: If an option is out of range, labels are to be loaded that there are not, or the
            control has no meaning here.
    """

    circuit: nn.Module

    def __init__(
        self,
        channels: int = 1,
        size: int = 8,
        n_layers: int = 56,
        n_classes: int | None = None,
        ancilla: bool = False,
        uploads: int = 1,
        simulator: str = "auto",
        control: str | None = None,
    ) -> None:
        super().__init__(channels, size)
        whole("network.n_layers", n_layers, 1)
        whole("network.uploads", uploads, 1, n_layers)
        if n_classes is not None:
            whole("network.n_classes", n_classes, 1)
        elif uploads > 1:
            raise HQDMError(f"uploads={uploads} without labels: set n_classes, or leave it out")
        self.config: dict[str, Any] = {
            **{"channels": channels, "size": size, "n_layers": n_layers, "n_classes": n_classes},
            **{"ancilla": ancilla, "uploads": uploads, "simulator": simulator},
            **({} if control is None else {"control": control}),
        }
        self.n_classes = n_classes
        self._with_ancilla = ancilla or n_classes is not None
        self.circuit = dense_control(self._circuit(simulator), control, self.dim, n_classes)
        self.is_quantum = not isinstance(self.circuit, DenseControl)
        self.parts = {"circuit": self.circuit}

    def _circuit(self, simulator: str) -> "TanhLayer | LabelledLayer":
        """The circuit, or one per label."""
        from hqdm.nn.amplitude.angles import TanhLayer  # imports PennyLane and the simulators
        from hqdm.nn.amplitude.labelled import LabelledLayer

        circuits = [
            Circuit(AmplitudeEmbedding(self.n_wires), self._ansatz(label), measure="state")
            for label in range(self._label(None) + 1)
        ]
        if self.n_classes is None:
            return TanhLayer(circuits[0], simulator=simulator)
        return LabelledLayer(circuits, simulator)

    def _ansatz(self, label: int) -> Ansatz:
        """The layers with a label."""
        n_layers, n_classes = self.config["n_layers"], self.n_classes
        if n_classes is None:
            return StronglyEntangling(self.n_wires, n_layers)
        return LabelledLayers(self.n_wires, n_layers, n_classes, label, self.config["uploads"])

    @property
    def n_wires(self) -> int:
        """See `StateNetwork`."""
        return self.n_qubits + self._with_ancilla

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        """The complex images one step back, `(B, C, H, W)`; the times are not used.

        Args:
            x_t: Noisy images `(B, C, H, W)`, real or complex.
            t: Times `(B,)`.
            y: Class labels `(B,)`; None, or the label `n_classes`, is no label.

        Raises:
            HQDMError: If the images have another shape than the network was built for, or labels
                are not classes of the network, one per image.
        """
        check_labels(y, len(x_t), self.n_classes)
        pixels = self.pixels(x_t)
        if not self.is_quantum:
            return self.images(self.circuit(pixels, y))
        if not pixels.is_complex():
            return self.images(self._evolved(pixels, y)[..., 0])
        real, imag = (self._evolved(part, y)[..., 0] for part in (pixels.real, pixels.imag))
        return self.images(real + 1j * imag)

    def _evolved(self, vectors: Tensor, y: Tensor | None) -> Tensor:
        """U on real vectors `(B, d)`: amplitudes per outcome of the ancilla, `(B, d, 1 or 2)`.

        The circuit normalises a vector, whose norm is then put back.
        """
        outcomes = 2**self.has_ancilla
        unused = vectors.new_zeros(*vectors.shape, outcomes - 1)
        features = torch.cat([vectors[..., None], unused], -1).flatten(1)[:, None]
        if y is None and self.n_classes is not None:
            y = torch.full(vectors.shape[:1], self.n_classes, device=vectors.device)
        labels = () if self.n_classes is None else (y,)
        numbers = self.circuit(features, *labels)[:, 0]
        numbers = numbers.to(torch.promote_types(numbers.dtype, torch.float32))
        numbers = norms_of(vectors) * numbers
        return torch.view_as_complex(numbers.unflatten(1, (self.dim, outcomes, 2)).contiguous())

    def kraus(self, y: int | None = None) -> Tensor:
        """See `StateNetwork`."""
        theta = self.layer().theta
        basis = torch.eye(self.dim, dtype=theta.dtype, device=theta.device)
        labels = None if y is None else torch.full((self.dim,), y, device=theta.device)
        return self._evolved(basis, labels).permute(2, 1, 0)

    def queue(self, y: int | None = None) -> None:
        """See `StateNetwork`."""
        from hqdm.nn.amplitude.labelled import LabelledLayer

        layer = self.layer()
        circuit = layer.circuit
        if isinstance(layer, LabelledLayer):
            circuit = layer.circuits[self._label(y)]
        assert isinstance(circuit.ansatz, Ansatz)
        circuit.ansatz.queue(layer.angles(layer.theta.detach().cpu().double())[0])

    def _label(self, y: int | None) -> int:
        """The index of a label; None, or `n_classes`, is no label."""
        n_classes = self.n_classes or 0
        return n_classes if y is None else whole("a label", y, 0, n_classes)

    def layer(self) -> "TanhLayer":
        """The layer of the circuit.

        Raises:
            HQDMError: If a control stands in its place.
        """
        from hqdm.nn.amplitude.angles import TanhLayer

        if not isinstance(self.circuit, TanhLayer):
            raise HQDMError(
                f"the control {self.config['control']} stands in place of the circuit, which has "
                "no matrix and no gates: use frozen or separable"
            )
        return self.circuit
