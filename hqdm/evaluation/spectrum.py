r"""The Fourier spectrum of quantum layers in one feature (Schuld, Sweke and Meyer, 2021).

Each output of a circuit that embeds a feature x r times by a Pauli rotation is (arXiv 2008.08605)

    f(x) = sum_(k = -r)^r c_k exp(i k x),      c_(-k) = conj(c_k),

with coefficients that depend on the other features. They follow exactly from 2 r + 1 values of f. A
trained factor s of the feature, `input_scale`, makes the frequencies k s.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from hqdm.circuits import AngleEmbedding
from hqdm.nn.quantum_layer import QuantumLayer
from hqdm.utils.errors import HQDMError
from hqdm.utils.seeds import generator

SAMPLES = 16  # of the other features


@dataclass(frozen=True)
class Spectrum:
    """Fourier coefficients of the outputs of a layer in each of its features.

    Attributes:
        coefficients: Root mean square of |c_k| over the circuits and random other features,
            `(n_inputs, n_outputs, r + 1)` for k = 0, ..., r.
        scale: Root mean square of the factors of the features, 1 without them.
    """

    coefficients: Tensor
    scale: float

    @property
    def shares(self) -> Tensor:
        """The shares of the frequencies 1, ..., r in the variance over a feature, `(r,)`.

        The variance of f over a period is twice the sum of |c_k|^2 over k from 1; it is summed
        over features and outputs.
        """
        power = self.coefficients[..., 1:].square().sum((0, 1))
        return power / power.sum().clamp_min(torch.finfo(power.dtype).tiny)

    @property
    def deviation(self) -> float:
        """The root mean square over outputs of the standard deviation over one feature, summed."""
        variance = 2 * self.coefficients[..., 1:].square().sum((0, 2))
        return float(variance.mean().sqrt())


@torch.no_grad()
def spectrum(layer: QuantumLayer, seed: int = 0, samples: int = SAMPLES) -> Spectrum:
    """Compute the Fourier coefficients of a layer.

    Args:
        layer: The layer.
        seed: Random seed of the other features, uniform in [0, 2 pi).
        samples: Number of draws of them.

    Raises:
        HQDMError: If the circuits do not embed their features as angles.
    """
    circuit = layer.circuit
    if not isinstance(circuit.embedding, AngleEmbedding):
        raise HQDMError(
            "a spectrum is of circuits that embed features as angles, got "
            f"{type(circuit.embedding).__name__}"
        )
    n_points = 2 * circuit.repeats + 1
    scale = torch.ones_like(layer.theta[:1]) if layer.scale is None else layer.scale
    grid = 2 * math.pi * torch.arange(n_points, dtype=torch.float64) / n_points
    draws = generator(seed)
    others = 2 * math.pi * torch.rand(samples, layer.n_circuits, circuit.n_inputs, generator=draws)
    rows = []
    for feature in range(circuit.n_inputs):
        x = others.double().repeat(n_points, 1, 1, 1)
        x[..., feature] = grid[:, None, None]
        values = layer(x.to(layer.theta) / (1 if layer.scale is None else layer.scale))
        c = torch.fft.rfft(values.double(), dim=0) / n_points
        rows.append(c.abs().square().mean((1, 2)).sqrt().T)
    return Spectrum(torch.stack(rows), float(scale.square().mean().sqrt()))
