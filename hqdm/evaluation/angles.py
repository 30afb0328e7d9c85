r"""Circuit angles in training: their gradients, circuit by circuit, and how far they moved.

For the gradient g_b of the loss of batch b with respect to the m parameters of one circuit,

    norm = mean_b |g_b|,        variance = mean over the m components of Var_b.

A variance that falls exponentially with the number of qubits is a barren plateau (McClean et al.,
arXiv 1803.11173). The distance of two angles is that on the circle,

    d(a, b) = |a - b - 2 pi round((a - b) / (2 pi))|,    0 <= d <= pi.

That of independent angles which are uniform on the circle is pi / 2 in the mean.
"""

import copy
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hqdm.diffusion.denoiser import Denoiser
from hqdm.nn.parts import quantum_layers
from hqdm.utils.errors import HQDMError
from hqdm.utils.seeds import generator, seeded

if TYPE_CHECKING:
    from hqdm.nn.quantum_layer import QuantumLayer

RANDOM_DRAWS = 100
"""Draws of random angles: their mean distance for 10 angles is off by some 0.03."""


@dataclass(frozen=True)
class AngleGradients:
    """Gradients of the parameters `theta` of the circuits of a layer.

    Attributes:
        norm: Mean norm over batches, one for each circuit.
        variance: Variance over batches, averaged over components, one for each circuit.
    """

    norm: Tensor
    variance: Tensor


def angle_gradients(
    denoiser: Denoiser, x0: Tensor, y: Tensor | None = None, seed: int = 0, batch_size: int = 128
) -> dict[str, AngleGradients]:
    """Measure the gradients of the loss with respect to the angles of a model as it is.

    Args:
        denoiser: The model, which is left as it is.
        x0: Images `(N, C, H, W)` in [-1, 1]; an incomplete last batch is left out.
        y: Their labels `(N,)`, or None.
        seed: Random seed of the times and the noise.
        batch_size: Images per batch.

    Returns:
        The gradients by the name of the layer; frozen angles count as well.

    Raises:
        HQDMError: If there are fewer than two batches.
    """
    n_batches = len(x0) // batch_size
    if n_batches < 2:
        raise HQDMError(
            f"gradients need two batches of {batch_size} images, got {len(x0)} images: use more "
            "images or smaller batches"
        )
    model = copy.deepcopy(denoiser).requires_grad_(True)
    layers = quantum_layers(model)
    thetas = [layer.theta for layer in layers.values()]
    found: list[list[Tensor]] = [[] for _ in thetas]
    for batch in range(n_batches):
        own = slice(batch * batch_size, (batch + 1) * batch_size)
        draws = generator(seed, batch)
        t = 1 - torch.rand(batch_size, generator=draws)
        eps = torch.randn(x0[own].shape, generator=draws)
        loss = model.loss(x0[own], None if y is None else y[own], t=t, eps=eps)
        for kept, gradient in zip(found, torch.autograd.grad(loss, thetas), strict=True):
            kept.append(gradient.flatten(1))
    gradients = [torch.stack(kept) for kept in found]  # (batches, circuits, components)
    return {
        name: AngleGradients(g.norm(dim=2).mean(0), g.var(0).mean(1))
        for name, g in zip(layers, gradients, strict=True)
    }


@dataclass(frozen=True)
class AngleDistances:
    """Distances of the angles of the circuits of a layer from their start, in radians.

    Attributes:
        mean: Mean over the angles of a circuit, one for each circuit.
        largest: The largest one, for each circuit.
        random: The mean distance of other random angles from the same start, for each circuit.
    """

    mean: Tensor
    largest: Tensor
    random: Tensor


@torch.no_grad()
def angle_distances(start: Denoiser, end: Denoiser, seed: int = 0) -> dict[str, AngleDistances]:
    """The distances that angles moved, and those of angles that are drawn as at the start.

    Args:
        start: The model at the start.
        end: The same model after training.
        seed: Random seed of the other random angles, of which there are `RANDOM_DRAWS` draws.

    Returns:
        The distances by the name of the layer.

    Raises:
        HQDMError: If the models have different circuits.
    """
    before, after = quantum_layers(start), quantum_layers(end)
    if {k: v.circuit for k, v in before.items()} != {k: v.circuit for k, v in after.items()}:
        raise HQDMError("the models have different circuits: expected one model at two times")
    found = {}
    with seeded(seed):
        for name, layer in after.items():
            first, moved = (_angles(one) for one in (before[name], layer))
            redrawn = copy.deepcopy(before[name])
            draws = []
            for _ in range(RANDOM_DRAWS):
                redrawn.reset_parameters()
                draws.append(_on_circle(_angles(redrawn) - first).mean(1))
            distance = _on_circle(moved - first)
            random = torch.stack(draws).mean(0)
            found[name] = AngleDistances(distance.mean(1), distance.amax(1), random)
    return found


def _angles(layer: "QuantumLayer") -> Tensor:
    """The angles of a layer, `(n_circuits, n_angles)`, in float64 on the CPU."""
    return layer.angles(layer.theta.cpu().double()).flatten(1)


def _on_circle(difference: Tensor) -> Tensor:
    """The distances on the circle for differences of angles."""
    turns = difference / (2 * math.pi)
    return 2 * math.pi * (turns - turns.round()).abs()
