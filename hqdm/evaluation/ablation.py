"""Ablation of the quantum part of a model.

The test loss is measured with the same times and noise for three variants: with trained circuits;
with random angles, as at the start of training; and with every output of a circuit replaced by its
mean over the batch, so that it carries no information about the sample. The second leaves the loss
unchanged if the angles were not trained, the third if the model does not use its circuits.
"""

import copy
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

from hqdm.diffusion.denoiser import Denoiser
from hqdm.nn.parts import QuantumModule, quantum_modules
from hqdm.utils.errors import HQDMError
from hqdm.utils.progress import Progress, silent, stepwise
from hqdm.utils.seeds import generator, seeded

RANDOM_DRAWS = 5


@dataclass(frozen=True)
class QuantumEffect:
    """Test losses with trained circuits, random angles and mean outputs.

    Attributes:
        loss: With trained circuits.
        random_angles: Median over draws of random angles.
        mean_output: With outputs replaced by their mean over the batch.
    """

    loss: float
    random_angles: float
    mean_output: float


def quantum_effect(
    denoiser: Denoiser,
    x0: Tensor,
    y: Tensor | None = None,
    seed: int = 0,
    batch_size: int = 128,
    progress: Progress = silent,
) -> QuantumEffect | None:
    """Measure the test loss with trained circuits, random angles and mean outputs.

    Args:
        denoiser: The model.
        x0: Test images `(N, C, H, W)` in [-1, 1].
        y: Their labels `(N,)`, or None.
        seed: Random seed of the times, the noise and the random angles.
        batch_size: Images per batch, over which mean outputs are taken, see `batches_of`.
        progress: Reports the batches of all losses.

    Returns:
        The losses, or None if the model has no circuits.
    """
    if not quantum_modules(denoiser):
        return None
    n_losses = RANDOM_DRAWS + 2
    done = stepwise(
        progress, "ablation of circuits", n_losses * len(batches_of(len(x0), batch_size))
    )

    def loss(variant: Denoiser) -> float:
        return mean_loss(variant, x0, y, seed, batch_size, done)

    changed = losses_without(denoiser, list(quantum_modules(denoiser)), seed, loss)
    return QuantumEffect(loss(denoiser), *changed)


def losses_without(
    denoiser: Denoiser, circuits: Sequence[str], seed: int, loss: Callable[[Denoiser], float]
) -> tuple[float, float]:
    """The losses with random angles, the median of `RANDOM_DRAWS` draws, and with mean outputs.

    Args:
        denoiser: The model.
        circuits: Names of the modules whose circuits are changed.
        seed: Random seed of the angles.
        loss: The loss of a model.
    """
    draws = [loss(with_random_angles(denoiser, seed, k, circuits)) for k in range(RANDOM_DRAWS)]
    return statistics.median(draws), loss(with_mean_output(denoiser, circuits))


def batches_of(n: int, batch_size: int) -> list[slice]:
    """The batches of n images; a last one below half the size is part of the one before.

    A mean over few images is close to each of them, and would silence little.

    Args:
        n: Number of images.
        batch_size: Images per batch.
    """
    starts = list(range(0, n, batch_size))
    if len(starts) > 1 and n - starts[-1] < batch_size / 2:
        starts.pop()
    return [slice(*ends) for ends in pairwise([*starts, n])]


@torch.no_grad()
def mean_loss(
    denoiser: Denoiser,
    x0: Tensor,
    y: Tensor | None = None,
    seed: int = 0,
    batch_size: int = 128,
    done: Callable[[], None] = lambda: None,
) -> float:
    """The mean loss of a model on images, with times and noise of a random seed.

    Args:
        denoiser: The model.
        x0: Images `(N, C, H, W)` in [-1, 1].
        y: Their labels `(N,)`, or None.
        seed: Random seed of the times and the noise.
        batch_size: Images per batch, see `batches_of`.
        done: Called after each batch.
    """
    device = next(denoiser.parameters()).device
    total = 0.0
    for own in batches_of(len(x0), batch_size):
        batch = x0[own].to(device)
        labels = None if y is None else y[own].to(device)
        draws = generator(seed, own.start)
        t = 1 - torch.rand(len(batch), generator=draws).to(batch)
        eps = torch.randn(batch.shape, generator=draws).to(batch)
        total += denoiser.loss(batch, labels, t=t, eps=eps).item() * len(batch)
        done()
    return total / len(x0)


def with_random_angles(denoiser: Denoiser, seed: int, draw: int, names: Iterable[str]) -> Denoiser:
    """A copy in which circuits have random angles.

    Args:
        denoiser: The model.
        seed: Random seed of the angles.
        draw: Number of the draw.
        names: The names of the modules of circuits.
    """
    device = next(denoiser.parameters()).device
    other = copy.deepcopy(denoiser).cpu()  # the same random angles for all devices
    with seeded(seed, draw):
        for name in names:
            _redraw(name, other.get_submodule(name))
    return other.to(device)


def _redraw(name: str, module: nn.Module) -> None:
    """Reinitialise the angles of a module, and check that they have changed.

    Raises:
        HQDMError: If they have not: the ablation would report that the circuits have no effect.
    """
    quantum = cast(QuantumModule, module)
    before = [parameter.detach().clone() for parameter in quantum.quantum_parameters()]
    quantum.reset_parameters()
    for old, new in zip(before, quantum.quantum_parameters(), strict=True):
        if old.numel() and torch.equal(old, new):
            raise HQDMError(
                f"reset_parameters of {name} ({type(module).__name__}) does not change its quantum "
                "parameters: reinitialise all of them there"
            )


def with_mean_output(denoiser: Denoiser, names: Iterable[str]) -> Denoiser:
    """A copy in which modules of some names return the mean over the batch for each sample."""
    other = copy.deepcopy(denoiser)
    for name in names:
        other.get_submodule(name).register_forward_hook(_mean_over_batch)
    return other


def _mean_over_batch(module: nn.Module, inputs: tuple[Tensor, ...], output: object) -> Tensor:
    """The mean over the batch, for each sample.

    Raises:
        HQDMError: If the output has no batch.
    """
    axis = getattr(module, "batch_axis", 0)
    if not isinstance(output, Tensor) or output.ndim <= axis:
        raise HQDMError(
            f"the outputs of {type(module).__name__} have no mean over the batch: return one "
            "tensor with the batch as its first axis"
        )
    return output.mean(dim=axis, keepdim=True).expand_as(output)
