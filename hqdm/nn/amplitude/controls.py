r"""Controls of Q-Dense and USS: maps of vectors in place of their circuit.

The names are those of `hqdm.nn.controls`, where `frozen` and `separable` are defined for any
circuit. The others map the n pixels p, with a label as one more number c (see
`hqdm.nn.amplitude.masks.label_number`), to the n pixels of the output of the network:

    linear       W (p, c)                            W trained
    orthogonal   W (p, c), orthonormal rows of W     fixed
    matched      V relu(W (p, c) + b) + d + D p      trained, as many numbers as angles
    identity     p
    zeros        0

In Q-Dense they stand for the circuit with its scale and the clamp to [0, 1]: an output of a linear
map that is cut off would have no gradient.
"""

import torch
from torch import Tensor, nn

from hqdm.nn.amplitude.masks import label_number
from hqdm.nn.controls import CONTROLS, check_control, own_stream
from hqdm.nn.parts import count
from hqdm.utils.errors import HQDMError

OF_CIRCUITS = ("frozen", "separable")
"""The controls that keep a circuit."""
UNKNOWN_TO_AMPLITUDES = ("classical", "cosines")
"""The controls that have no meaning for these networks."""


def check_amplitude_control(name: str, counterpart: str) -> None:
    """Refuse a control that a network of amplitudes does not have.

    Args:
        name: The name.
        counterpart: The classical network that the paper compares with.

    Raises:
        HQDMError: If there is no such control, or it has no meaning for amplitudes.
    """
    check_control(name)
    if name in UNKNOWN_TO_AMPLITUDES:
        raise HQDMError(
            f"control {name} has no meaning for circuits on amplitudes: use matched, or the "
            f"network {counterpart}"
        )


class Multiple(nn.Module):
    """The inputs times a fixed number.

    Attributes:
        factor: The number, `()`. It is a parameter that is not trained, since a model has the
            device and the precision of its parameters.
    """

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """Multiply `x`."""
        return self.factor * x


class MatchedDense(nn.Module):
    """A hidden layer with any number of parameters, V relu(W x + b) + d + D x.

    There are as many hidden units as the number of parameters allows. The parameters that are too
    few for another one are the numbers D, 0 at first: the factor of input i in output i for one i
    after the other, and then that of input i in output i + 1.

    Args:
        n_inputs: Number of inputs.
        n_outputs: Number of outputs.
        n_parameters: Number of parameters.

    Raises:
        HQDMError: If there are too few for one hidden unit.
    """

    def __init__(self, n_inputs: int, n_outputs: int, n_parameters: int) -> None:
        super().__init__()
        unit = n_inputs + 1 + n_outputs
        n_units, rest = divmod(n_parameters - n_outputs, unit)
        if n_units < 1:
            raise HQDMError(
                f"control matched: a hidden layer from {n_inputs} to {n_outputs} numbers has "
                f"{n_outputs + unit} parameters or more, the circuits have {n_parameters}: use "
                "circuits of more layers, or another control"
            )
        self.hidden = nn.Linear(n_inputs, n_units)
        self.out = nn.Linear(n_units, n_outputs)
        self.direct = nn.Parameter(torch.zeros(rest))
        steps = (divmod(k, n_inputs) for k in range(rest))
        self.ends = [(i, (i + step) % n_outputs) for step, i in steps]

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, n_inputs)` to `(B, n_outputs)`."""
        out = self.out(self.hidden(x).relu())
        if not self.ends:
            return out
        inputs, outputs = torch.tensor(self.ends, device=x.device).T
        return out.index_add(1, outputs, self.direct * x[:, inputs])


class DenseControl(nn.Module):
    """A map of vectors with labels.

    Args:
        map: From `(B, n)`, or `(B, n + 1)` with labels, to `(B, n)`.
        n_classes: Number of class labels; None for none, or a map that does not use them.
    """

    def __init__(self, map: nn.Module, n_classes: int | None) -> None:
        super().__init__()
        self.map = map
        self.n_classes = n_classes

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Apply the map, in the precision of its parameters.

        Args:
            x: Pixels `(B, n)`.
            y: Class labels `(B,)`; None is "no label".

        Raises:
            HQDMError: If the pixels are complex.
        """
        if x.is_complex():
            raise HQDMError("a control is a map of real images, got complex ones: use their moduli")
        x = x.to(next(self.parameters()).dtype)
        if self.n_classes is not None:
            x = torch.cat([x, label_number(y, self.n_classes, x)], 1)
        return self.map(x)


def dense_control(
    circuit: nn.Module, name: str | None, n: int, n_classes: int | None = None, beside: int = 0
) -> nn.Module:
    """A circuit, or its control; `circuit` is changed.

    Args:
        circuit: A new layer of circuits on amplitudes.
        name: The name of the control; None for none.
        n: Number of pixels that the network passes to the map, and takes from it.
        n_classes: Number of class labels, or None.
        beside: Number of trained parameters outside the circuit that a map replaces, too.

    Raises:
        HQDMError: If there is no such control, or it has no meaning for the circuit.
    """
    if name is None:
        return circuit
    check_amplitude_control(name, "FullyConnected")
    if name in OF_CIRCUITS:
        return CONTROLS[name](circuit, n, n)
    n_inputs = n + (n_classes is not None)
    with own_stream():
        if name in ("identity", "zeros"):
            return DenseControl(Multiple(float(name == "identity")), None)
        if name == "matched":
            n_parameters = count(circuit.parameters()) + beside
            return DenseControl(MatchedDense(n_inputs, n, n_parameters), n_classes)
        linear = nn.Linear(n_inputs, n, bias=False)
        nn.init.orthogonal_(linear.weight)
        return DenseControl(linear.requires_grad_(name == "linear"), n_classes)
