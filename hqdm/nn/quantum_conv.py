"""Hybrid convolutions, with the interface of classical ones: `(B, C_in, H, W) -> (B, C_out, H, W)`.

The quantum convolution is that of De Falco et al. (arXiv 2402.16147, KI 2024): a circuit is applied
to the 2x2 patches of a group of up to three channels with stride 2, and replaces each number of a
patch by an expectation value. On overlapping 3x3 patches with stride 1 it replaces the number in
the middle.

Further kinds of convolutions are registered in `CONVOLUTIONS` by rooms above this one, and chosen
by `Hybrid.convolution`.

Every U-Net imports this file. PennyLane and the simulators, which are slow to import, are imported
when a convolution is configured or built.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_type_hints

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hqdm.circuits import ANSATZE, AngleEmbedding, Ansatz, Basic, Circuit, build_ansatz
from hqdm.circuits.ansatz import ansatz_options
from hqdm.nn.blocks import WSConv2d
from hqdm.nn.controls import LinearMaps, check_control, controlled
from hqdm.utils.checks import check_fields, check_types, positive, whole
from hqdm.utils.errors import HQDMError, check_names
from hqdm.utils.registry import Registry

if TYPE_CHECKING:
    from hqdm.nn.quantum_layer import QuantumLayer
    from hqdm.simulators import Simulator

KERNEL_SIZES = (2, 3)  # sides of a patch: with stride 2, and with stride 1
MAX_WIRES = 12  # of a circuit: three channels of 2x2, or one of 3x3
REST_KERNEL = 3  # side of the classical kernels
SINGLE_LAYERS = 4  # layers of the one-channel circuits of a fully quantum convolution

CONVOLUTIONS: Registry[Callable[..., nn.Module]] = Registry("convolution")
"""Factories of convolutions by name: `(in_channels, out_channels, **options)` to a module from
`(B, in_channels, H, W)` to `(B, out_channels, H, W)`."""

Factory = TypeVar("Factory", bound=Callable[..., nn.Module])


def register_convolution(name: str) -> Callable[[Factory], Factory]:
    """Decorator: make a factory of convolutions available by a name, see `CONVOLUTIONS`."""
    return CONVOLUTIONS.decorator(name)


class PatchCircuits(nn.Module):
    """Circuits on the patches of groups of channels, one circuit per group.

    Wire `k^2 * channel + k * row + column` of a group reads that position of a k x k patch. With
    k = 2 the patches have the stride 2, and each wire writes its position. Images of odd height or
    width are padded with a zero row or column, which is cropped from the output. With k = 3 the
    patches overlap, with stride 1 and a zero on each side of the image, and the wire in the middle
    of each channel writes its position.

    Args:
        layer: The circuits; `n_inputs` is k^2 times the channels of a group, `n_outputs` the same,
            or the number of channels for k = 3.
        kernel_size: The side k of a patch, 2 or 3.
    """

    def __init__(self, layer: "QuantumLayer", kernel_size: int = 2) -> None:
        super().__init__()
        self.layer: nn.Module = layer
        self.kernel_size = kernel_size
        self.groups = layer.n_circuits
        self.in_channels = self.groups * (layer.circuit.n_inputs // kernel_size**2)
        self.out_channels = self.in_channels

    def linear_map(self) -> nn.Module:
        """See `hqdm.nn.controls.QuantumMap`."""
        channels = self.in_channels // self.groups
        n_inputs = channels * self.kernel_size**2
        self.layer = LinearMaps(self.groups, n_inputs, n_inputs if self._tiles else channels)
        return self

    @property
    def _tiles(self) -> bool:
        """True if the patches tile the image."""
        return self.kernel_size % 2 == 0

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, n_circuits * channels_per_group, H, W)` to the same shape."""
        return self._on_tiles(x) if self._tiles else self._on_windows(x)

    def _on_tiles(self, x: Tensor) -> Tensor:
        (height, width), k = x.shape[-2:], self.kernel_size
        x = F.pad(x, (0, -width % k, 0, -height % k))
        rows, columns = x.shape[-2] // k, x.shape[-1] // k
        groups, channels = self.groups, self.in_channels // self.groups
        # (B, group, channel, row, i, column, j) -> (B, row, column, group, channel, i, j)
        patches = x.reshape(len(x), groups, channels, rows, k, columns, k)
        patches = patches.permute(0, 3, 5, 1, 2, 4, 6)
        out = self.layer(patches.flatten(4)).reshape(patches.shape)
        return out.permute(0, 3, 4, 1, 5, 2, 6).reshape(x.shape)[..., :height, :width]

    def _on_windows(self, x: Tensor) -> Tensor:
        k = self.kernel_size
        windows = F.pad(x, (k // 2,) * 4).unfold(2, k, 1).unfold(3, k, 1)
        # (B, C, H, W, i, j) -> (B, H, W, group, channel i j)
        patches = windows.permute(0, 2, 3, 1, 4, 5).flatten(3).unflatten(3, (self.groups, -1))
        return self.layer(patches).flatten(3).permute(0, 3, 1, 2)


@register_convolution("HybridConv")
class HybridConv(nn.Module):
    """A convolution whose first channels are quantum and whose others are classical.

    Circuits on patches map the first `groups * channels_per_group` channels, whose values are
    angles, to expectations in [-1, 1] at the same positions. A narrower `WSConv2d` maps the
    remaining channels. Its kernels have variance `1 / fan_in`, so that both kinds of output have
    the same magnitude (an addition to the paper, without parameters; the classical network is
    unchanged). With `groups="all"` there is no classical part: there are as many groups as fit, and
    each remaining channel has its own circuit (`Basic`, four layers). More channels in than out, as
    in a decoder beside a skip connection, are then added first, channels j, j + C_out, ... to one:
    RX(a) RX(b) = RX(a + b), so that a circuit embeds all of them.

    The options from `kernel_size` on are those of later experiments; by default the circuits are
    as published.

    Args:
        in_channels: Number of input channels.
        out_channels: Number of output channels.
        groups: Number of groups, or "all".
        channels_per_group: 1, 2 or 3, for 4, 8 or 12 qubits; unused if `ansatz` is an object.
        ansatz: A name in `hqdm.circuits.ANSATZE`, or an ansatz on 4, 8 or 12 wires.
        n_layers: Layers of an ansatz given by name.
        simulator: A simulator or its name, see `hqdm.simulators.resolve_simulator`.
        ansatz_options: Further fields of an ansatz given by name.
        kernel_size: Side of the patches, 2 or 3, see `PatchCircuits`; circuits on 3x3 patches are
            of one channel, on 9 qubits.
        shift: Added to the features, in radians, see `hqdm.circuits.AngleEmbedding`.
        repeats: How often the features are embedded, see `hqdm.circuits.Circuit`.
        input_scale: Whether features have trainable factors, see `QuantumLayer`.
        observable: Number of wires of trainable observables, or None for Z, see `QuantumLayer`.
        angle_std: Standard deviation of the initial angles, or None, see `QuantumLayer`.

    Raises:
        HQDMError: If there are too few channels, or an option is out of range.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        groups: int | Literal["all"] = 1,
        channels_per_group: int = 3,
        ansatz: str | Ansatz = "FQConv",
        n_layers: int = 3,
        simulator: "str | Simulator" = "auto",
        ansatz_options: Mapping[str, Any] | None = None,
        kernel_size: int = 2,
        shift: float = 0.0,
        repeats: int = 1,
        input_scale: bool = False,
        observable: int | None = None,
        angle_std: float | None = None,
    ) -> None:
        from hqdm.nn.quantum_layer import QuantumLayer

        super().__init__()
        if isinstance(ansatz, Ansatz):
            channels_per_group = channels_of(ansatz, kernel_size)
        _check_groups(groups, channels_per_group, kernel_size)
        if not isinstance(ansatz, Ansatz):
            n_wires = kernel_size**2 * channels_per_group
            ansatz = build_ansatz(ansatz, n_wires, n_layers, **(ansatz_options or {}))

        def circuits(ansatz: Ansatz, number: int) -> PatchCircuits:
            circuit = patch_circuit(ansatz, kernel_size, shift, repeats)
            layer = QuantumLayer(circuit, number, simulator, input_scale, observable, angle_std)
            return PatchCircuits(layer, kernel_size)

        _check_channels(in_channels, out_channels, groups, channels_per_group)
        self.width = out_channels if groups == "all" else in_channels
        n_groups = self.width // channels_per_group if groups == "all" else groups
        self.quantum_channels = n_groups * channels_per_group
        rest_in, rest_out = (n - self.quantum_channels for n in (self.width, out_channels))
        self.quantum: nn.Module = circuits(ansatz, n_groups)
        self.rest: nn.Module | None = None
        if groups == "all" and rest_in:
            self.rest = circuits(Basic(kernel_size**2, SINGLE_LAYERS), rest_in)
        elif rest_in:
            # Outputs of unit-variance kernels have the magnitude of the square root of the fan-in
            # (18 for 37 channels), against expectations in [-1, 1]. The subsequent normalisation
            # mixes both kinds in one group and would suppress the quantum outputs.
            fan_in = rest_in * REST_KERNEL**2
            self.rest = WSConv2d(rest_in, rest_out, REST_KERNEL, gain=fan_in**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve `x` of shape `(B, in_channels, H, W)`; the first output channels are quantum."""
        x = self.added(x)
        out = self.quantum(x[:, : self.quantum_channels])
        if self.rest is None:
            return out
        return torch.cat([out, self.rest(x[:, self.quantum_channels :])], 1)

    def added(self, x: Tensor) -> Tensor:
        """The channels of `x`, axis 1, of which those that one circuit embeds are added."""
        total, *others = x.split(self.width, 1)
        for other in others:
            n = other.shape[1]
            total = torch.cat([total[:, :n] + other, total[:, n:]], 1)
        return total


HYBRID = HybridConv.__name__
OF_OTHERS = ("convolution", "options")
"""The fields of `Hybrid` that describe a convolution other than `HybridConv`."""
CONTROL = "control"
LATER = (
    CONTROL,
    *("kernel_size", "shift", "repeats", "input_scale", "observable", "angle_std"),
)
"""The fields of `Hybrid` that earlier versions do not know."""


@dataclass(frozen=True)
class Hybrid:
    """Configuration of the convolutions of a block, and their factory.

    All attributes but `convolution`, `options` and `control` are those of a `HybridConv`.

    Attributes:
        groups: Number of quantum channel groups, or "all".
        channels_per_group: 1, 2 or 3, for 4, 8 or 12 qubits.
        ansatz: A name in `hqdm.circuits.ANSATZE`. A registered ansatz object is replaced by its
            name, layers, options and channels per group.
        n_layers: Layers of the ansatz.
        simulator: A name for `hqdm.simulators.resolve_simulator`.
        ansatz_options: Further fields of the ansatz.
        convolution: A name in `CONVOLUTIONS`, such as "QuantumConv2d".
        options: The options of a convolution other than `HybridConv`.
        control: What takes the place of the circuits, see `hqdm.nn.controls`; None for nothing.
        kernel_size: Side of the patches, 2 or 3.
        shift: Added to the features, in radians.
        repeats: How often the features are embedded.
        input_scale: Whether features have trainable factors.
        observable: Number of wires of trainable observables, or None for Z.
        angle_std: Standard deviation of the initial angles in radians, or None.

    Raises:
        HQDMError: If an option is out of range or belongs to another convolution, or a name is
            unknown.
    """

    groups: int | Literal["all"] = 1
    channels_per_group: int = 3
    ansatz: str | Ansatz = "FQConv"
    n_layers: int = 3
    simulator: str = "auto"
    ansatz_options: dict[str, Any] = field(default_factory=dict)
    convolution: str = HYBRID
    options: dict[str, Any] = field(default_factory=dict)
    control: str | None = None
    kernel_size: int = 2
    shift: float = 0.0
    repeats: int = 1
    input_scale: bool = False
    observable: int | None = None
    angle_std: float | None = None

    def __post_init__(self) -> None:
        if self.control is not None:
            check_control(self.control)
        if self.convolution != HYBRID:
            self._check_other()
            return
        from hqdm.simulators import resolve_simulator

        if self.options:
            raise HQDMError("options are for convolutions other than HybridConv: leave them out")
        if isinstance(self.ansatz, Ansatz):
            self._replace_object(self.ansatz)
        _check_groups(self.groups, self.channels_per_group, self.kernel_size)
        n_wires = self.kernel_size**2 * self.channels_per_group
        ansatz = build_ansatz(str(self.ansatz), n_wires, self.n_layers, **self.ansatz_options)
        patch_circuit(ansatz, self.kernel_size, self.shift, self.repeats)
        if self.observable is not None:
            whole("observable", self.observable, 1, min(n_wires, self.kernel_size**2))
        if self.angle_std is not None:
            positive("angle_std", self.angle_std)
        resolve_simulator(self.simulator)

    def _check_other(self) -> None:
        """Check the options of a convolution other than `HybridConv`."""
        hints = get_type_hints(CONVOLUTIONS[self.convolution])
        known = set(hints) - {"in_channels", "out_channels", "return"}
        default = Hybrid()
        for key in (f.name for f in fields(self) if f.name not in (*OF_OTHERS, CONTROL)):
            if getattr(self, key) != getattr(default, key):
                raise HQDMError(
                    f"{key} is an option of HybridConv: give the options of {self.convolution} "
                    "under options"
                )
        check_names(f"option of the convolution {self.convolution}", self.options, known)
        check_types(self.options, hints, "options.")

    def _replace_object(self, ansatz: Ansatz) -> None:
        """Replace an ansatz object by its name and plain options."""
        name = ANSATZE.name_of(type(ansatz))
        if name is None:
            raise HQDMError(
                f"the ansatz {type(ansatz).__name__} is not registered: decorate the class with "
                "hqdm.register_ansatz"
            )
        taken = {
            "ansatz": name,
            "n_layers": ansatz.n_layers,
            "channels_per_group": channels_of(ansatz, self.kernel_size),
            "ansatz_options": ansatz_options(ansatz),
        }
        for key, value in taken.items():
            object.__setattr__(self, key, value)

    def conv(self, in_channels: int, out_channels: int) -> nn.Module:
        """Build a convolution with this configuration.

        Raises:
            HQDMError: If the numbers of channels do not fit, or the control has no meaning for the
                convolution.
        """
        if self.convolution != HYBRID:
            conv = CONVOLUTIONS[self.convolution](in_channels, out_channels, **self.options)
        else:
            options = {key: value for key, value in self.to_dict().items() if key != CONTROL}
            conv = HybridConv(in_channels, out_channels, **options)
        if self.control is None:
            return conv
        return controlled(conv, self.control, in_channels, out_channels)

    def to_dict(self) -> dict[str, Any]:
        """The options as plain types: those of the chosen convolution, later ones if they are set.

        Earlier versions read the configuration of a network without later options.
        """
        others = self.convolution != HYBRID
        return {
            key: value
            for key, value in asdict(self).items()
            if (key == CONTROL or (key in OF_OTHERS) == others)
            and not (key in LATER and value == getattr(Hybrid, key))
        }

    @classmethod
    def from_dict(cls, options: Mapping[str, Any], prefix: str = "") -> "Hybrid":
        """Build a configuration from plain options.

        Args:
            options: The fields by name.
            prefix: What stands before the name of a field in a message.

        Raises:
            HQDMError: If an option is unknown or a value is not allowed.
        """
        if not isinstance(options, Mapping):
            where = prefix.rstrip(".") or "a hybrid convolution"
            raise HQDMError(f"{where}: expected keys with values, got {options!r}")
        check_fields("option of a hybrid convolution", options, cls, prefix)
        return cls(**options)


def patch_circuit(ansatz: Ansatz, kernel_size: int, shift: float, repeats: int) -> Circuit:
    """The circuit of a patch, which measures the wires whose positions it writes."""
    size = kernel_size**2
    middle = None if kernel_size % 2 == 0 else tuple(range(size // 2, ansatz.n_wires, size))
    embedding = AngleEmbedding(ansatz.n_wires, shift=shift)
    return Circuit(embedding, ansatz, wires=middle, repeats=repeats)


def channels_of(ansatz: Ansatz, kernel_size: int = 2) -> int:
    """The number of channels per group for an ansatz.

    Raises:
        HQDMError: If the number of wires is not 4, 8 or 12, or 9 for 3x3 patches.
    """
    _check_kernel_size(kernel_size)
    channels, rest = divmod(ansatz.n_wires, kernel_size**2)
    if rest or channels not in range(1, _most_channels(kernel_size) + 1):
        expected = "4, 8 or 12" if kernel_size == 2 else "9"
        raise HQDMError(
            f"a quantum convolution needs an ansatz on {expected} wires, got {ansatz.n_wires}"
        )
    return channels


def _most_channels(kernel_size: int) -> int:
    return MAX_WIRES // kernel_size**2


def _check_kernel_size(kernel_size: int) -> None:
    if kernel_size not in KERNEL_SIZES:
        raise HQDMError(f"kernel_size must be 2 or 3, got {kernel_size!r}")


def _check_groups(groups: int | str, channels_per_group: int, kernel_size: int) -> None:
    if groups != "all" and not (isinstance(groups, int) and groups >= 1):
        raise HQDMError(f"groups must be a positive number or 'all', got {groups!r}")
    _check_kernel_size(kernel_size)
    most = _most_channels(kernel_size)
    if channels_per_group not in range(1, most + 1):
        expected = f"1 to {most}" if most > 1 else "1 with kernel_size 3"
        raise HQDMError(f"channels_per_group must be {expected}, got {channels_per_group!r}")


def _check_channels(
    in_channels: int, out_channels: int, groups: int | str, channels_per_group: int
) -> None:
    have = f"got {in_channels} -> {out_channels} channels"
    if groups == "all":
        if in_channels < out_channels or out_channels < channels_per_group:
            raise HQDMError(
                f"groups='all' needs as many channels in as out or more, and enough for one group: "
                f"{have}"
            )
        return
    assert isinstance(groups, int)
    taken = groups * channels_per_group
    rest = in_channels - taken, out_channels - taken
    if min(rest) < 0:
        raise HQDMError(
            f"groups={groups} take {taken} channels in and out, {have}: use fewer groups, fewer "
            "channels_per_group or a wider network"
        )
    if (rest[0] == 0) != (rest[1] == 0):
        raise HQDMError(
            f"groups={groups} take {taken} channels and leave {rest[0]} -> {rest[1]} to the "
            "classical convolution: use fewer groups"
        )
