r"""Quantum convolution in closed form: that of the QU-Net of Koelle et al. (arXiv 2401.07049).

One circuit U with trainable angles acts on every patch of c_in h w numbers p, as the amplitudes

    a = (p + 0.1, 0.5, ..., 0.5)          2^n entries, divided by |a|,

where the zeros around an image are numbers, too, and the outcomes 0, 2, 4, ... are the channels,

    out_c = min(1, 2^(n-1) |<2c| U |a>|^2 / |a|^2),
    n = max(ceil(log2(c_in h w)), ceil(log2(c_out)) + 1).

U does not depend on the inputs, so that the row <2c| U is a complex kernel for the patch, and a
complex bias for the constants. The circuit is simulated for c_out basis states; the rest is a real
convolution with 2 c_out channels, squares, and sums of squares over patches.
"""

import math
from collections.abc import Sequence
from functools import reduce
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hqdm.circuits import AmplitudeEmbedding, Circuit
from hqdm.circuits.ansatz import StronglyEntangling
from hqdm.nn.amplitude.angles import TanhLayer, uniform
from hqdm.nn.operator import opaque
from hqdm.nn.qnode_layer import check_real
from hqdm.simulators.program.base import is_differentiated_forward, refuse_memory
from hqdm.simulators.unitary import UnitarySimulator, row_bytes
from hqdm.utils.checks import whole
from hqdm.utils.errors import HQDMError, unknown

OFFSET = 0.1  # added to the numbers of a patch
FILLING = 0.5  # the amplitudes beside those of the patch, before normalisation
UNIT = 2.0**-30  # of all amplitudes, whose squares are then finite up to numbers of 1e27 in float32
Pair = int | Sequence[int]


class QuantumConv2d(TanhLayer):
    """A quantum convolution with the arguments of `torch.nn.Conv2d`.

    Strongly entangling layers act on the patches; the angles are pi tanh(theta), with theta drawn
    from U(-pi/2, pi/2). The outputs are in [0, 1]. Inputs may have any sign, and magnitudes up to
    1e27 in float32; the paper's are in [0, 1]. A patch whose amplitudes are all zero (every number
    is -0.1, and c_in h w = 2^n) has outputs zero, with zero gradient.

    The final rotation about Z on each qubit of the last layer, `theta[0, -1, :, 2]`, has the
    gradient zero, since only CNOTs follow it; no other angle does.

    The precision is that of a `QuantumLayer`. All derivatives exist, in forward mode too.

    Args:
        in_channels: Number of input channels.
        out_channels: Number of output channels.
        kernel_size: Height and width of a patch, or one number for both.
        stride: Distance between patches.
        padding: Zeros on either side of the image, or "same" or "valid" as in torch.
        dilation: Distance between the numbers of a patch.
        n_layers: Layers of the circuit.

    Attributes:
        theta: The parameters of the angles, `(1, n_layers, n_wires, 3)`.
        groups: 1, since every output channel sees all input channels.

    Raises:
        HQDMError: If a number is out of range, or `padding` is an unknown word, or "same" with a
            stride.
    """

    groups = 1

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        stride: Pair = 1,
        padding: Pair | str = 0,
        dilation: Pair = 1,
        n_layers: int = 8,
    ) -> None:
        self.in_channels = whole("in_channels", in_channels, 1)
        self.out_channels = whole("out_channels", out_channels, 1)
        self.kernel_size = _pair("kernel_size", kernel_size, 1)
        self.stride = _pair("stride", stride, 1)
        self.dilation = _pair("dilation", dilation, 1)
        self.padding = padding if isinstance(padding, str) else _pair("padding", padding, 0)
        self.zeros = _zeros(self.padding, self.kernel_size, self.stride, self.dilation)
        self.patch_size = self.in_channels * math.prod(self.kernel_size)
        n_wires = max(_log2(self.patch_size), _log2(self.out_channels) + 1)
        circuit = Circuit(
            AmplitudeEmbedding(n_wires),
            StronglyEntangling(n_wires, whole("n_layers", n_layers, 1)),
            measure="probs",
            # The last wire is the most significant: the even outcomes come first.
            wires=(n_wires - 1, *range(n_wires - 1)),
            n_outcomes=self.out_channels,
        )
        super().__init__(circuit, simulator=UnitarySimulator(), init=uniform)

    def linear_map(self) -> nn.Module:
        """See `hqdm.nn.controls.QuantumMap`."""
        top, bottom, left, right = self.zeros
        conv = nn.Conv2d(
            self.in_channels,
            self.out_channels,
            self.kernel_size,
            self.stride,
            dilation=self.dilation,
            bias=False,
        )
        nn.init.orthogonal_(conv.weight)
        return nn.Sequential(nn.ZeroPad2d((left, right, top, bottom)), conv)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve.

        Args:
            x: Images `(B, in_channels, H, W)`.

        Returns:
            `(B, out_channels, H_out, W_out)` in [0, 1], in the dtype of `theta`.

        Raises:
            HQDMError: If the inputs are complex, or of another shape, or smaller than a patch.
        """
        check_real(x)
        if x.ndim != 4 or x.shape[1] != self.in_channels:
            raise HQDMError(
                f"QuantumConv2d needs inputs of shape (B, {self.in_channels}, H, W), "
                f"got {tuple(x.shape)}"
            )
        if min(self.output_shape(tuple(x.shape))[2:]) < 1:
            raise HQDMError(
                f"images of size {x.shape[2]} x {x.shape[3]} are smaller than a patch of "
                f"{self.kernel_size}, with padding {self.padding} and dilation {self.dilation}: "
                "use larger images or a smaller kernel"
            )
        if torch.compiler.is_compiling() or x.is_meta:
            return opaque(self.operator_name, x, [self.theta])
        return self.evaluate(x, [self.theta])

    def evaluate(self, x: Tensor, weights: list[Tensor]) -> Tensor:
        """Convolve, see `forward`.

        Args:
            x: Images `(B, in_channels, H, W)`.
            weights: `theta`.
        """
        (theta,) = weights
        precision = torch.promote_types(theta.dtype, torch.float32)
        with torch.autocast(x.device.type, enabled=False):
            outputs = self._convolve(x.to(precision), self.rows(theta.to(precision)))
        return outputs.to(theta.dtype)

    def rows(self, theta: Tensor) -> Tensor:
        """The rows <2c| U: all real parts, then all imaginary parts, `(2 c_out, 2**n_wires)`.

        Args:
            theta: As the parameter, in float32 or float64.
        """
        n, simulator = self.circuit.n_wires, UnitarySimulator()
        refuse_memory(
            f"the kernels of {self.out_channels} channels of {n} qubits",
            row_bytes(self.circuit, 1, 0, theta.element_size()),
            simulator.memory_limit,
        )
        compiled = theta.device.type == "cpu" and not is_differentiated_forward(theta)
        find = simulator.rows if compiled else simulator.rows_in_torch
        inputs = theta.new_zeros(1, 1, 2**n)  # of no influence: there is no gate of the inputs
        real, imag = find(self.circuit, inputs, self.angles(theta))
        return torch.cat([real[0], imag[0]], 1).T

    def _convolve(self, x: Tensor, rows: Tensor) -> Tensor:
        """The outputs for images and rows."""
        kernels, filling = rows.tensor_split([self.patch_size], dim=1)
        # Contiguous: convolutions take a third longer otherwise.
        kernels = kernels.contiguous().view(-1, self.in_channels, *self.kernel_size)
        top, bottom, left, right = self.zeros
        padded = F.pad(x, (left, right, top, bottom))
        numbers = torch.add(padded.new_tensor(UNIT * OFFSET), padded, alpha=UNIT)
        constant = filling.shape[1] * (UNIT * FILLING) ** 2
        norm = self._sums(numbers.square().sum(1, keepdim=True)) + constant
        norm = norm + (norm == 0)
        bias = UNIT * FILLING * filling.sum(1)
        amplitudes = F.conv2d(numbers, kernels, bias, self.stride, dilation=self.dilation)
        highest = norm / 2 ** (self.circuit.n_wires - 1)
        outputs: Tensor = _Shares.apply(amplitudes, highest)
        return outputs

    def _sums(self, x: Tensor) -> Tensor:
        """Sums over patches of one channel."""
        # Along one axis after the other, in half the time of a pooling.
        for axis, size, distance in zip((2, 3), self.kernel_size, self.dilation, strict=True):
            n = x.shape[axis] - distance * (size - 1)
            x = reduce(torch.add, (x.narrow(axis, i * distance, n) for i in range(size)))
        down, right = self.stride
        return x[:, :, ::down, ::right]

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of the outputs for inputs of a shape."""
        top, bottom, left, right = self.zeros
        sizes = shape[2] + top + bottom, shape[3] + left + right
        windows = zip(sizes, self.kernel_size, self.stride, self.dilation, strict=True)
        places = ((n - d * (k - 1) - 1) // s + 1 for n, k, s, d in windows)
        return shape[0], self.out_channels, *places

    def n_samples(self, shape: tuple[int, ...]) -> int:
        """See `QuantumLayer.n_samples`: the number of patches."""
        n, _, height, width = self.output_shape(shape)
        return n * height * width

    def extra_repr(self) -> str:
        """The sizes, for `print`."""
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
            f"stride={self.stride}, padding={self.padding}, dilation={self.dilation}, "
            f"{self.circuit.n_wires} qubits, {self.circuit.weights_shape[0]} layers"
        )


class _Shares(torch.autograd.Function):
    """The outputs min(1, |a|^2 / h) of complex amplitudes a.

    Autograd would run twice as many operations on arrays of this size, which take longer than
    the convolution.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(amplitudes: Tensor, highest: Tensor) -> Tensor:
        """The outputs.

        Args:
            amplitudes: Real, then imaginary parts, `(B, 2 C, H, W)`.
            highest: The numbers h, `(B, 1, H, W)`.
        """
        real, imag = amplitudes.square().chunk(2, dim=1)
        return ((real + imag) / highest).clamp(max=1)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        """Keep what the derivatives need."""
        ctx.save_for_backward(*inputs, output)
        ctx.save_for_forward(*inputs, output)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        """The derivatives, 2 a / h and -|a|^2 / h^2 where the output is less than 1."""
        amplitudes, highest, output = ctx.saved_tensors
        # Divided by h once: 1 / h^2 overflows.
        scaled = (grad / highest).masked_fill(output == 1, 0)
        parts = amplitudes.unflatten(1, (2, -1)) * (2 * scaled).unsqueeze(1)
        return parts.flatten(1, 2), -(scaled * output).sum(1, keepdim=True)

    @staticmethod
    def jvp(ctx: Any, d_amplitudes: Tensor, d_highest: Tensor) -> Tensor:
        """The change of the outputs."""
        amplitudes, highest, output = ctx.saved_tensors
        real, imag = (2 * amplitudes * d_amplitudes).chunk(2, dim=1)
        return ((real + imag - output * d_highest) / highest).masked_fill(output == 1, 0)


def _log2(number: int) -> int:
    """The logarithm, rounded up."""
    return (number - 1).bit_length()


def _pair(name: str, value: object, least: int) -> tuple[int, int]:
    """One number for both axes, or two.

    Raises:
        HQDMError: If the value is neither, or a number is out of range.
    """
    if isinstance(value, Sequence) and not isinstance(value, str):
        if len(value) != 2:
            raise HQDMError(f"{name} needs one whole number or two, got {value!r}")
        first, second = (whole(name, one, least) for one in value)
        return first, second
    number = whole(name, value, least)
    return number, number


def _zeros(
    padding: str | tuple[int, int],
    kernel_size: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
) -> tuple[int, int, int, int]:
    """The width of the padding above, below, on the left and on the right.

    Raises:
        HQDMError: If a padding in words is unknown, or is "same" and comes with a stride.
    """
    if not isinstance(padding, str):
        rows, columns = padding
        return rows, rows, columns, columns
    if padding == "valid":
        return 0, 0, 0, 0
    if padding != "same":
        raise unknown("padding", padding, ("same", "valid"))
    if stride != (1, 1):
        raise HQDMError(f"padding 'same' needs the stride 1, got {stride}: use numbers")
    down, right = (d * (k - 1) for k, d in zip(kernel_size, dilation, strict=True))
    return down // 2, down - down // 2, right // 2, right - right // 2
