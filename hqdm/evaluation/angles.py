r"""Circuit angles in training: their gradients, circuit by circuit, and how far they moved.

For the gradient g_b of the loss of batch b with respect to the m parameters of one circuit,

    norm = mean_b |g_b|,        variance = mean over the m components of Var_b.

A variance that falls exponentially with the number of qubits is a barren plateau (McClean et al.,
arXiv 1803.11173). The distance between two sets of angles is the root mean square of their
differences, modulo 2 pi.
"""

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from hqdm.diffusion.denoiser import Denoiser
from hqdm.nn.parts import quantum_layers
from hqdm.utils.errors import HQDMError
from hqdm.utils.seeds import generator


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


@torch.no_grad()
def angle_distances(start: Denoiser, end: Denoiser) -> dict[str, float]:
    """The distance that the angles of each layer of circuits moved, in radians.

    Args:
        start: The model at the start.
        end: The same model after training.

    Raises:
        HQDMError: If the models have different circuits.
    """
    before, after = quantum_layers(start), quantum_layers(end)
    if {k: v.circuit for k, v in before.items()} != {k: v.circuit for k, v in after.items()}:
        raise HQDMError("the models have different circuits: expected one model at two times")
    distances = {}
    for name, layer in after.items():
        first = before[name]
        change = layer.angles(layer.theta) - first.angles(first.theta).to(layer.theta)
        turns = change / (2 * math.pi)
        distances[name] = 2 * math.pi * float((turns - turns.round()).square().mean().sqrt())
    return distances
