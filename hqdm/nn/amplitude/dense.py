r"""Q-Dense: pixels in the amplitudes of one state, probabilities as pixels (arXiv 2401.07049).

With the pixels p = (x + 1) / 2 of an image of N numbers, in n = ceil(log2 N) qubits,

    |p> = sum_i p_i / |p|_2 |i>,   P_i = |<i| U(w) |p>|^2,   out = 2 clamp(s P_i, 0, 1) - 1,

U are strongly entangling layers with angles pi tanh(w). With an ancilla, the last qubit, U acts on
|p> (x) |0> and P_i is the probability of i together with outcome 0 of the ancilla: the sum of P may
be below 1, and the brightness of the image is free. The ancilla carries the class label, see
`hqdm.circuits.labels`. The scale s is one of

    pixels    s = N
    learned   s = exp(a), one trainable number a, N at first
    norm      s = |p|_2, the paper's rule.

With the last one |out|_2 = |p|_2 sqrt(sum_i P_i^2) <= |p|_2 in pixels, so that images become darker
in every step. The state does not depend on |p|_2, nor on t.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, Self, get_type_hints

import torch
from torch import Tensor, nn

from hqdm.circuits import AmplitudeEmbedding, Ansatz, Circuit, StronglyEntangling
from hqdm.circuits.labels import LabelledLayers
from hqdm.nn.amplitude.controls import DenseControl, dense_control
from hqdm.nn.network import check_images, check_labels, register_network
from hqdm.utils.checks import check_types, whole
from hqdm.utils.errors import HQDMError, unknown

if TYPE_CHECKING:
    from hqdm.nn.amplitude.angles import TanhLayer
    from hqdm.nn.amplitude.labelled import LabelledLayer

SCALES = ("pixels", "norm", "learned")


@register_network
class QDense(nn.Module):
    """A dense quantum circuit as a denoiser.

    Args:
        channels: Image channels C.
        size: Height and width S of the images; N = C S^2 numbers.
        n_layers: Strongly entangling layers, of three angles per qubit.
        n_classes: Number of class labels, carried by an ancilla; None for none. Label `n_classes`
            is "no label", see `hqdm.circuits.labels`.
        ancilla: Add the ancilla also without labels.
        uploads: Number of times that the label is uploaded.
        scale: The scale of the probabilities, see the module.
        allow_fading: Allow training with `scale="norm"`.
        simulator: A simulator of `hqdm.simulators.resolve_simulator`, by name.
        control: What takes the place of the circuit, see `hqdm.nn.amplitude.controls`; None for
            nothing.

    Raises:
        HQDMError: If an option is out of range, or the control has no meaning here.
    """

    def __init__(
        self,
        channels: int = 1,
        size: int = 8,
        n_layers: int = 47,
        n_classes: int | None = None,
        ancilla: bool = False,
        uploads: int = 1,
        scale: Literal["pixels", "norm", "learned"] = "pixels",
        allow_fading: bool = False,
        simulator: str = "auto",
        control: str | None = None,
    ) -> None:
        super().__init__()
        for name, value in (("channels", channels), ("size", size), ("n_layers", n_layers)):
            whole(f"network.{name}", value, 1)
        whole("network.uploads", uploads, 1, n_layers)
        if n_classes is not None:
            whole("network.n_classes", n_classes, 1)
        elif uploads > 1:
            raise HQDMError(f"uploads={uploads} without labels: set n_classes, or leave it out")
        if scale not in SCALES:
            raise unknown("scale of QDense", scale, SCALES)
        self.config: dict[str, Any] = {
            "channels": channels,
            "size": size,
            "n_layers": n_layers,
            "n_classes": n_classes,
            "ancilla": ancilla,
            "uploads": uploads,
            "scale": scale,
            "allow_fading": allow_fading,
            "simulator": simulator,
            **({} if control is None else {"control": control}),
        }
        self.sample_shape = channels, size, size
        self.n_classes = n_classes
        self.scale, self.allow_fading = scale, allow_fading
        self.n_pixels = math.prod(self.sample_shape)
        self.has_ancilla = ancilla or n_classes is not None
        circuit, learned = self._circuit(n_layers, uploads, simulator), scale == "learned"
        self.circuit: nn.Module = dense_control(
            circuit, control, self.n_pixels, n_classes, beside=int(learned)
        )
        if learned and not isinstance(self.circuit, DenseControl):
            self.log_scale = nn.Parameter(torch.tensor(math.log(self.n_pixels)))
        self.parts: Mapping[str, nn.Module] = {"circuit": self.circuit}

    def _circuit(self, n_layers: int, uploads: int, simulator: str) -> "TanhLayer | LabelledLayer":
        """The circuit, or those of labels: one of all classes and one of "no label", or all."""
        from hqdm.nn.amplitude.angles import TanhLayer  # imports PennyLane and the simulators
        from hqdm.nn.amplitude.labelled import LabelledLayer

        n_wires = max(1, (self.n_pixels - 1).bit_length()) + self.has_ancilla
        if self.n_classes is None:
            circuit = self._measured(StronglyEntangling(n_wires, n_layers))
            return TanhLayer(circuit, simulator=simulator)
        labels = (None, self.n_classes) if uploads == 1 else range(self.n_classes + 1)
        circuits = [
            self._measured(LabelledLayers(n_wires, n_layers, self.n_classes, label, uploads))
            for label in labels
        ]
        return LabelledLayer(circuits, simulator)

    def _measured(self, ansatz: Ansatz) -> Circuit:
        """The circuit of an ansatz, with the probabilities of one outcome per pixel.

        The ancilla is the first measured wire, so that its outcome 0 comes first.
        """
        n = ansatz.n_wires
        wires = (n - 1, *range(n - 1)) if self.has_ancilla else None
        embedding = AmplitudeEmbedding(n, n_inputs=self.n_pixels * (2 if self.has_ancilla else 1))
        return Circuit(embedding, ansatz, "probs", wires, self.n_pixels)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """See `hqdm.nn.network.Network`."""
        check_types(config, get_type_hints(cls.__init__), "network.")
        return cls(**config)

    def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        """Predict an image.

        Args:
            x: Noisy images `(B, C, S, S)`; a black one, of pixels 0, has the state |0...0>.
            t: Times `(B,)`; unused.
            y: Class labels `(B,)`; None is "no label".

        Returns:
            Images `(B, C, S, S)` in [-1, 1].

        Raises:
            HQDMError: If the images have another shape than the network was built for, labels
                are not classes of the network, one per image, or in training as `check_training`.
        """
        check_images(x, self.sample_shape)
        check_labels(y, len(x), self.n_classes)
        if self.training and torch.is_grad_enabled():
            self.check_training()
        exact = x.flatten(1).to(torch.promote_types(x.dtype, torch.float32))
        pixels = (exact + 1) / 2
        if isinstance(self.circuit, DenseControl):
            out = self.circuit(pixels, y)
        else:
            out = self._scaled(self._probabilities(pixels, y), pixels).clamp(0, 1)
        return (2 * out - 1).to(x.dtype).view_as(x)

    def check_training(self) -> None:
        """See `hqdm.nn.network.Network`.

        Raises:
            HQDMError: If `scale` is "norm", unless `allow_fading`.
        """
        if self.scale == "norm" and not self.allow_fading:
            raise HQDMError(
                "scale='norm' darkens images in every step, |out| <= |x|, until they are black: "
                "use pixels or learned, or set allow_fading to train it"
            )

    def _probabilities(self, pixels: Tensor, y: Tensor | None) -> Tensor:
        """The probabilities of the outcomes `(B, N)` for pixels `(B, N)`."""
        if not self.has_ancilla:
            return self.circuit(pixels[:, None])[:, 0]
        turn = pixels.new_zeros(len(pixels))  # half the angle of the label
        circuits: tuple[Tensor, ...] = ()
        if self.n_classes is not None:
            none = self.n_classes
            y = turn.new_full(turn.shape, none, dtype=torch.long) if y is None else y
            if self.config["uploads"] == 1:
                turn = torch.where(y == none, 0, y).to(turn) * (math.pi / none)
                circuits = ((y == none).long(),)
            else:
                circuits = (y,)
        ancilla = torch.stack([turn.cos(), turn.sin()], -1)
        amplitudes = (pixels[..., None] * ancilla[:, None]).flatten(1)
        return self.circuit(amplitudes[:, None], *circuits)[:, 0]

    def _scaled(self, probabilities: Tensor, pixels: Tensor) -> Tensor:
        """Pixels `(B, N)` from the probabilities."""
        if self.scale == "norm":
            return probabilities * torch.linalg.vector_norm(pixels, dim=1, keepdim=True)
        if self.scale == "learned":
            return probabilities * self.log_scale.exp()
        return probabilities * self.n_pixels
