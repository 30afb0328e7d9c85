r"""The least one-step error of any unitary matrix, beside that of a `StateNetwork`.

The pairs are (p_t, p_s), s = t - 1 / steps, of images and one draw of the noise each, at all times
t = 1 / steps, ..., 1 of the objective `step`, in pixels in [0, 1]. The error of a matrix A is the
mean of |A p_t - p_s|^2 per amplitude: of the identity, which leaves images as they are, of the
network, and of the best unitary matrix (`hqdm.nn.amplitude.procrustes`), below which no circuit
without an ancilla is, at any depth. With an ancilla A is a contraction, which may be below it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hqdm.diffusion.denoiser import Denoiser
from hqdm.diffusion.objective import Levels, Objective, StepBack
from hqdm.diffusion.schedule import Schedule
from hqdm.nn.amplitude.procrustes import BestUnitary, Pairs
from hqdm.nn.amplitude.states import StateNetwork, rows_by_label
from hqdm.nn.network import check_labels
from hqdm.utils.errors import HQDMError
from hqdm.utils.seeds import ImageNoise

BATCH = 32  # images, of which each has a pair per step


@dataclass(frozen=True)
class UnitaryBound:
    """Mean squared errors of one step, in pixels in [0, 1].

    Attributes:
        identity: Of images that are left as they are.
        network: Of the network.
        best_unitary: Of the best unitary matrix.
    """

    identity: float
    network: float
    best_unitary: float


def unitary_bound(
    denoiser: Denoiser, x0: Tensor, y: Tensor | None = None, seed: int = 0
) -> UnitaryBound | None:
    """The errors of one step of a network and of the best unitary matrix.

    Args:
        denoiser: The model.
        x0: Images `(N, C, H, W)` in [-1, 1].
        y: Their labels `(N,)`, or None.
        seed: Random seed of the noise.

    Returns:
        The errors; None if the model is not one of a `StateNetwork` with a circuit and the
        objective `step`.

    Raises:
        HQDMError: If a label is not one of the network.
    """
    network, objective = denoiser.network, denoiser.objective
    if not isinstance(network, StateNetwork) or not network.is_quantum:
        return None
    if not _predicts_images(objective):
        return None
    if network.n_classes is not None:
        check_labels(y, len(x0), network.n_classes, dropped=False)
    labels = None if network.n_classes is None else y
    every, squares = Pairs(network.dim), 0.0
    for label, rows in rows_by_label(labels, len(x0)):
        own = Pairs(network.dim)
        for x_t, x_s in step_pairs(objective, denoiser.schedule, x0, rows, seed):
            pair = network.pixels(x_t), network.pixels(x_s)
            own.add(*pair)
            every.add(*pair)
        with torch.no_grad():
            squares += own.n * own.loss(network.kraus(label)[0].cpu())
    identity = every.loss(torch.eye(network.dim, dtype=torch.float64))
    return UnitaryBound(identity, squares / every.n, every.bound())


def bound_rows(errors: dict[str, float] | None) -> list[tuple[str, str]]:
    """Rows of a table of the errors of `UnitaryBound`; none if there are none."""
    if errors is None:
        return []
    names = {
        "network": "squared error of one step",
        "identity": "  of no change",
        "best_unitary": "  of the best unitary",
    }
    return [(text, f"{errors[key]:.3e}") for key, text in names.items()]


def best_unitary(
    objective: Objective, schedule: Schedule, x0: Tensor, seed: int = 0
) -> tuple[BestUnitary, float]:
    """The best unitary matrix for images, as a network.

    Args:
        objective: The objective `step`, with images as output.
        schedule: The noise schedule.
        x0: Images `(N, C, S, S)` in [-1, 1].
        seed: Random seed of the noise, one draw per image.

    Returns:
        The network, and its mean squared error of one step, see `UnitaryBound`.

    Raises:
        HQDMError: If the objective is another one.
    """
    if not _predicts_images(objective):
        raise HQDMError(
            f"the best unitary is one of the objective 'step' with output 'data', got "
            f"{objective.name!r}"
        )
    network = BestUnitary(x0.shape[1], x0.shape[2])
    pairs = Pairs(network.dim)
    for x_t, x_s in step_pairs(objective, schedule, x0, torch.arange(len(x0)), seed):
        pairs.add(network.pixels(x_t), network.pixels(x_s))
    return network, network.fit(pairs)


def step_pairs(
    objective: Objective, schedule: Schedule, x0: Tensor, rows: Tensor, seed: int = 0
) -> Iterator[tuple[Tensor, Tensor]]:
    """Images with the images one step back, at all times of the objective `step`.

    Args:
        objective: The objective.
        schedule: The noise schedule.
        x0: Images `(N, C, H, W)` in [-1, 1].
        rows: The images that are taken, `(M,)`; the noise of an image depends on its row only.
        seed: Random seed of the noise.

    Yields:
        x_t and x_s, `(B, C, H, W)` in float64; the pairs of an image follow one another.
    """
    assert isinstance(objective, StepBack)
    every = replace(objective, pairs=True)
    noise = ImageNoise(seed, len(x0)).draw(x0.shape[1:])
    for part in rows.split(BATCH):
        clean, eps = (images[part].cpu().double() for images in (x0, noise))
        batch = every.batch(clean, None, clean.new_ones(len(part)), eps)
        levels = Levels.at(schedule, batch.t, batch.x0)
        x_t = every.network_input(levels.alpha * batch.x0 + levels.sigma * batch.eps, levels)
        yield x_t, every.target(batch.x0, batch.eps, levels)


def _predicts_images(objective: Objective) -> bool:
    return isinstance(objective, StepBack) and objective.output == "data"
