r"""Controls: what stands in place of the circuits of a convolution in a comparison.

Bowles, Ahmed and Schuld (arXiv 2403.07059) ask which part of a hybrid model its score is due to. A
control is the same network with

    classical     the package's own convolution, for all channels                        trained
    matched       a convolution with exactly as many parameters as the circuits          trained
    frozen        the circuits with angles at their random start                         fixed
    separable     the circuits without entangling gates, see `hqdm.circuits.Separable`   trained
    cosines       what these compute, cos(2 pi a) cos(x + 2 pi b) for each wire          trained
    linear        a linear map of the numbers that a circuit gets, to those it returns   trained
    orthogonal    the same at its random start, with orthonormal rows or columns         fixed
    identity      the inputs
    zeros         zeros

The circuits are built first, and a control draws from a random stream of its own: all other
parameters of the network start from the values that they have without it. The names are also those
of the controls of networks on amplitudes, see `hqdm.nn.amplitude.controls`.
"""

import math
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hqdm.circuits import AngleEmbedding, Ansatz, Separable
from hqdm.nn.blocks import WSConv2d
from hqdm.nn.parts import count, quantum_modules, quantum_parameters
from hqdm.utils.errors import HQDMError, unknown
from hqdm.utils.seeds import seeded

STREAM = 14  # of the random numbers of controls
LEAST_SIDE = 3  # of the kernels of a matched convolution
LEAST_WEIGHTS = 2  # of each of its kernels, since one number standardised is zero


@runtime_checkable
class QuantumMap(Protocol):
    """A module of circuits that maps images to images of the same height and width.

    Attributes:
        in_channels: Number of input channels.
        out_channels: Number of output channels.
        groups: Number of groups of neighbouring channels that do not see each other.
    """

    in_channels: int
    out_channels: int
    groups: int

    def linear_map(self) -> nn.Module:
        """A linear map of the same patches and sizes, with orthonormal rows or columns at first."""
        ...


class Zeros(nn.Module):
    """Zeros, `(B, C_in, H, W)` to `(B, out_channels, H, W)`."""

    def __init__(self, out_channels: int) -> None:
        super().__init__()
        self.out_channels = out_channels

    def forward(self, x: Tensor) -> Tensor:
        """Zeros for images `x`."""
        return x.new_zeros(len(x), self.out_channels, *x.shape[2:])


class LinearMaps(nn.Module):
    """Independent linear maps, `(..., n_maps, n_inputs)` to `(..., n_maps, n_outputs)`.

    Attributes:
        weight: The matrices, with orthonormal rows or columns at first.
    """

    def __init__(self, n_maps: int, n_inputs: int, n_outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_maps, n_outputs, n_inputs))
        for matrix in self.weight.detach():
            nn.init.orthogonal_(matrix)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the maps."""
        return torch.einsum("...gi,goi->...go", x, self.weight)


class Cosines(nn.Module):
    r"""The closed form of separable circuits of angles x, one product of cosines for each wire.

    A one-qubit unitary after RX(x) turns the Bloch vector (0, -sin x, cos x). The expectation of Z
    is A cos x + B sin x with A^2 + B^2 <= 1, which is cos(2 pi a) cos(x + 2 pi b) for some a, b.

    Args:
        n_circuits: Number of circuits.
        wires: The measured wires.
        scaled: Whether the angles have trainable factors.

    Attributes:
        theta: a and b, `(2, n_circuits, n_measured)`, drawn as the angles of a `QuantumLayer`.
        scale: The factors `(n_circuits, n_measured)`, 1 at first, or None.
    """

    def __init__(self, n_circuits: int, wires: Sequence[int], scaled: bool = False) -> None:
        super().__init__()
        self.wires = list(wires)
        self.theta = nn.Parameter(torch.rand(2, n_circuits, len(wires)))
        self.scale = nn.Parameter(torch.ones(n_circuits, len(wires))) if scaled else None

    def forward(self, x: Tensor) -> Tensor:
        """The products `(..., n_circuits, n_measured)` for angles `(..., n_circuits, n_wires)`."""
        a, b = 2 * math.pi * self.theta
        x = x[..., self.wires]
        x = x if self.scale is None else self.scale * x
        return a.cos() * (x + b).cos()


class MatchedConv2d(nn.Module):
    """A weight-standardised convolution with any number of parameters.

    It keeps height and width. Each kernel consists of the positions nearest to its centre, as many
    as the number of parameters allows, and is standardised over them to mean zero and variance
    `1 / n_positions`, as those of the classical channels of a `HybridConv`. The side of the kernels
    is three, or more if there are more parameters.

    Args:
        in_channels: Number of input channels.
        out_channels: Number of output channels.
        groups: Number of groups of channels that do not see each other.
        n_parameters: Number of parameters, those of the bias included.

    Raises:
        HQDMError: If there are less than three parameters for each output channel.
    """

    index: Tensor
    fan_in: Tensor

    def __init__(self, in_channels: int, out_channels: int, groups: int, n_parameters: int) -> None:
        super().__init__()
        n_weights = n_parameters - out_channels
        least = LEAST_WEIGHTS * out_channels
        if n_weights < least:
            raise HQDMError(
                f"control matched: a convolution to {out_channels} channels has "
                f"{out_channels + least} parameters or more, the circuits have {n_parameters}: use "
                "circuits of more layers, or another control"
            )
        self.groups = groups
        per_group = out_channels // groups
        every, rest = divmod(n_weights // groups, per_group)
        left = n_weights % groups  # none for equal circuits
        sizes = [
            every + (o % per_group < rest) + (o % per_group == rest and o // per_group < left)
            for o in range(out_channels)
        ]
        c_in = in_channels // groups
        self.side = LEAST_SIDE
        while c_in * self.side**2 < max(sizes):
            self.side += 2
        nearest = _from_the_centre(c_in, self.side)
        n = len(nearest)
        index = [o * n + place for o, size in enumerate(sizes) for place in nearest[:size]]
        self.shape = out_channels, c_in, self.side, self.side
        self.register_buffer("index", torch.tensor(index), persistent=False)
        fan_in = torch.tensor(sizes).float().reshape(-1, 1)
        self.register_buffer("fan_in", fan_in, persistent=False)
        self.weight = nn.Parameter(torch.empty(n_weights))
        self.bias = nn.Parameter(torch.empty(out_channels))
        bound = every**-0.5
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def kernels(self, eps: float = 1e-5) -> Tensor:
        """The standardised kernels, `(out_channels, in_channels / groups, side, side)`."""
        flat = self.weight.new_zeros(math.prod(self.shape))
        mask = flat.scatter(0, self.index, torch.ones_like(self.weight)).view(len(self.bias), -1)
        kernels = flat.scatter(0, self.index, self.weight).view(len(self.bias), -1)
        fan_in = self.fan_in.to(kernels)
        centred = mask * (kernels - kernels.sum(1, keepdim=True) / fan_in)
        variance = centred.square().sum(1, keepdim=True) / fan_in
        return (centred * (fan_in * (variance + eps)).rsqrt()).view(self.shape)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve `x` of shape `(B, in_channels, H, W)`."""
        return F.conv2d(x, self.kernels(), self.bias, padding=self.side // 2, groups=self.groups)


def _from_the_centre(channels: int, side: int) -> list[int]:
    """The positions in a kernel `(channels, side, side)`, nearest to the centre first."""
    middle = side // 2
    positions = [
        ((row - middle) ** 2 + (column - middle) ** 2, row, column, channel)
        for channel in range(channels)
        for row in range(side)
        for column in range(side)
    ]
    return [(channel * side + row) * side + column for _, row, column, channel in sorted(positions)]


Control = Callable[[nn.Module, int, int], nn.Module]
"""From a convolution with circuits and its numbers of channels to the one that replaces it."""


def _of_maps(name: str, build: Callable[[QuantumMap], nn.Module]) -> Control:
    """A control that replaces the circuits of a convolution, and not its classical channels."""

    def control(conv: nn.Module, in_channels: int, out_channels: int) -> nn.Module:
        names = [key for key, module in conv.named_modules() if isinstance(module, QuantumMap)]
        if not names:
            raise HQDMError(
                f"control {name} needs the patches of the circuits, which {type(conv).__name__} "
                "does not tell: use classical or frozen"
            )
        for key in names:
            module = conv.get_submodule(key)
            assert isinstance(module, QuantumMap)
            built = build(module)
            if not key:
                return built
            parent, _, own = key.rpartition(".")
            setattr(conv.get_submodule(parent), own, built)
        return conv

    return control


def _classical(conv: nn.Module, in_channels: int, out_channels: int) -> nn.Module:
    return WSConv2d(in_channels, out_channels)


def _frozen(conv: nn.Module, in_channels: int, out_channels: int) -> nn.Module:
    for parameter in quantum_parameters(conv):
        parameter.requires_grad_(False)
    return conv


def _separable(conv: nn.Module, in_channels: int, out_channels: int) -> nn.Module:
    from hqdm.nn.quantum_layer import QuantumLayer  # imports PennyLane

    for layer in quantum_modules(conv).values():
        ansatz = layer.circuit.ansatz if isinstance(layer, QuantumLayer) else None
        if not isinstance(layer, QuantumLayer) or not isinstance(ansatz, Ansatz):
            raise HQDMError(
                "control separable needs circuits of an embedding and an ansatz, got "
                f"{type(layer).__name__}: use another control"
            )
        layer.replace_ansatz(lambda a: Separable(a.n_wires, a.n_layers, ansatz=a))
    return conv


def _cosines(quantum: Any) -> nn.Module:
    layer: Any = getattr(quantum, "layer", None)
    circuit = getattr(layer, "circuit", None)
    if circuit is None or not isinstance(circuit.embedding, AngleEmbedding):
        raise HQDMError(
            "control cosines is the closed form of circuits of angles, and the inputs of "
            f"{type(quantum).__name__} are amplitudes: use another control, such as separable"
        )
    if circuit.repeats > 1 or layer.observables is not None:
        raise HQDMError(
            "control cosines is the closed form of circuits that embed their inputs once and "
            "measure Z: leave out repeats and observable, or use separable"
        )
    scaled = layer.scale is not None
    quantum.layer = Cosines(layer.n_circuits, circuit.measured_wires, scaled)
    return quantum


def _linear(quantum: QuantumMap) -> nn.Module:
    return quantum.linear_map()


def _orthogonal(quantum: QuantumMap) -> nn.Module:
    return quantum.linear_map().requires_grad_(False)


def _matched(quantum: QuantumMap) -> nn.Module:
    assert isinstance(quantum, nn.Module)
    n_parameters = count(quantum.parameters())
    return MatchedConv2d(quantum.in_channels, quantum.out_channels, quantum.groups, n_parameters)


def _identity(quantum: QuantumMap) -> nn.Module:
    if quantum.in_channels != quantum.out_channels:
        raise HQDMError(
            "control identity needs as many channels out as in, got "
            f"{quantum.in_channels} -> {quantum.out_channels}: use another control, such as zeros"
        )
    return nn.Identity()


def _zeros(quantum: QuantumMap) -> nn.Module:
    return Zeros(quantum.out_channels)


CONTROLS: Mapping[str, Control] = {
    "classical": _classical,
    "frozen": _frozen,
    "separable": _separable,
    **{
        build.__name__.removeprefix("_"): _of_maps(build.__name__.removeprefix("_"), build)
        for build in (_matched, _cosines, _linear, _orthogonal, _identity, _zeros)
    },
}
"""The controls by name, see the module."""


def check_control(name: str) -> None:
    """Refuse a control that does not exist.

    Raises:
        HQDMError: If there is none of that name.
    """
    if name not in CONTROLS:
        raise unknown("control", name, CONTROLS)


def controlled(conv: nn.Module, name: str, in_channels: int, out_channels: int) -> nn.Module:
    """The convolution with a control in place of its circuits; `conv` is changed.

    Args:
        conv: A new convolution with circuits.
        name: A name in `CONTROLS`.
        in_channels: Its number of input channels.
        out_channels: Its number of output channels.

    Raises:
        HQDMError: If there is no such control, or it has no meaning for these circuits.
    """
    check_control(name)
    if not quantum_modules(conv):
        raise HQDMError(
            f"control {name} is for convolutions with circuits, {type(conv).__name__} has none: "
            "leave it out"
        )
    with own_stream():
        return CONTROLS[name](conv, in_channels, out_channels)


@contextmanager
def own_stream() -> Iterator[None]:
    """Draw from a stream of its own, which follows from the state of torch's generator."""
    state = zlib.crc32(torch.get_rng_state().numpy().tobytes())
    with seeded(state, STREAM):
        yield
