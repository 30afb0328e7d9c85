"""Embeddings of one sample of classical features x in the state |x> of the qubits.

Angle embedding:      |x> = R(x_0 + s)|0> (x) R(x_1 + s)|0> (x) ...  (one feature per qubit)
Amplitude embedding:  |x> = sum_i x_i / |x|  |i>                      (2^n features in n qubits)
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from hqdm.circuits.lazy import qml
from hqdm.utils.checks import finite
from hqdm.utils.errors import HQDMError, unknown

ROTATIONS = ("X", "Y", "Z")


@runtime_checkable
class Embedding(Protocol):
    """The interface of an embedding: its sizes, and gates to queue."""

    @property
    def n_wires(self) -> int:
        """Number of qubits."""

    @property
    def n_inputs(self) -> int:
        """Number of input features of one sample."""

    def apply(self, x: Tensor) -> None:
        """Queue the PennyLane operations that load `x` of shape `(n_inputs,)`."""


@dataclass(frozen=True)
class AngleEmbedding:
    """One rotation per qubit, applied to |0...0>; the feature plus a shift is the angle in radians.

    Without a shift the expectation of Z after a rotation about X or Y is a cosine of the feature,
    whose slope at 0 is 0; with pi / 2 it is a sine.

    Attributes:
        n_wires: Number of qubits and of features.
        rotation: Axis of the rotation: "X", "Y" or "Z".
        shift: The shift s, in radians.

    Raises:
        HQDMError: If `n_wires` is not positive, the axis is unknown or the shift is not finite.
    """

    n_wires: int
    rotation: str = "X"
    shift: float = 0.0

    def __post_init__(self) -> None:
        if self.n_wires < 1:
            raise HQDMError(f"AngleEmbedding needs at least one wire, got {self.n_wires}")
        if self.rotation not in ROTATIONS:
            raise unknown("rotation", self.rotation, ROTATIONS)
        finite("shift", self.shift)

    @property
    def n_inputs(self) -> int:
        """Number of features of one sample: one per qubit."""
        return self.n_wires

    def apply(self, x: Tensor) -> None:
        """Queue the rotations.

        Args:
            x: Angles in radians, `(n_inputs,)`, or `(B, n_inputs)` for PennyLane's broadcasting.
        """
        _check_features(x, self)
        angles = x + self.shift if self.shift else x
        qml.AngleEmbedding(angles, wires=range(self.n_wires), rotation=self.rotation)


@dataclass(frozen=True)
class AmplitudeEmbedding:
    """The features, padded with zeros and normalised, as the amplitudes of the state.

    A zero sample cannot be normalised: it is embedded as |0...0>, with zero gradient.

    Attributes:
        n_wires: Number of qubits.
        n_inputs: Number of features, at most `2**n_wires`; all of them by default.

    Raises:
        HQDMError: If `n_wires` is not positive or the features do not fit.
    """

    n_wires: int
    n_inputs: int = 0  # replaced by 2**n_wires

    def __post_init__(self) -> None:
        if self.n_wires < 1:
            raise HQDMError(f"AmplitudeEmbedding needs at least one wire, got {self.n_wires}")
        n_inputs = self.n_inputs or 2**self.n_wires
        if not 1 <= n_inputs <= 2**self.n_wires:
            raise HQDMError(
                f"AmplitudeEmbedding on {self.n_wires} wires holds 1 to {2**self.n_wires} "
                f"features, got n_inputs={n_inputs}: use more wires"
            )
        object.__setattr__(self, "n_inputs", n_inputs)

    def amplitudes(self, x: Tensor) -> Tensor:
        """The amplitudes of the embedded state.

        Args:
            x: Features, `(..., n_inputs)`.

        Returns:
            Real amplitudes of norm one, `(..., 2**n_wires)`, in the dtype of `x`.
        """
        # Dividing by the largest entry first keeps the squares within the range of float32.
        largest = x.detach().abs().amax(-1, keepdim=True)
        is_zero = largest == 0
        scaled = x / torch.where(is_zero, 1, largest)
        norm = (scaled.square().sum(-1, keepdim=True) + is_zero).sqrt()
        padded = torch.nn.functional.pad(scaled / norm, (0, 2**self.n_wires - self.n_inputs))
        ground = torch.zeros_like(padded[..., 1:])
        return torch.where(
            is_zero, torch.cat([torch.ones_like(padded[..., :1]), ground], -1), padded
        )

    def apply(self, x: Tensor) -> None:
        """Queue the state preparation.

        Args:
            x: Features, `(n_inputs,)`, or `(B, n_inputs)` for PennyLane's broadcasting.
        """
        _check_features(x, self)
        # PennyLane's check of the norm has a float64 tolerance, which float32 does not meet.
        qml.AmplitudeEmbedding(self.amplitudes(x), wires=range(self.n_wires), validate_norm=False)


def _check_features(x: Tensor, embedding: AngleEmbedding | AmplitudeEmbedding) -> None:
    if not 1 <= x.ndim <= 2 or x.shape[-1] != embedding.n_inputs:
        n = embedding.n_inputs
        raise HQDMError(
            f"{type(embedding).__name__} needs features of shape ({n},) or (B, {n}), "
            f"got {tuple(x.shape)}"
        )
