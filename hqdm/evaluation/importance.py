r"""The importance of the places of a trained network: what it costs to silence one of them.

    Delta = L' / L - 1

is the change of the test loss, with the same images, times and noise, when in one place each output
of the convolutions, or of the circuits in them, is replaced by its mean over the batch, or the
circuits have random angles. It changes a trained network without training it again: see
`docs/study.md` for what follows from it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from hqdm.diffusion.denoiser import Denoiser
from hqdm.evaluation.ablation import (
    RANDOM_DRAWS,
    batches_of,
    losses_without,
    mean_loss,
    with_mean_output,
)
from hqdm.nn.parts import places, quantum_modules
from hqdm.utils.progress import Progress, silent, stepwise

CHANGES = {
    "silenced": "silenced",
    "circuits_silenced": "circuits silenced",
    "random_angles": "random angles",
}
"""The changes of a place and their names in tables."""


@dataclass(frozen=True)
class Importance:
    """Test losses with one place changed.

    Attributes:
        place: The name of the place.
        silenced: With the mean outputs of its convolutions.
        circuits_silenced: With the mean outputs of its circuits; None if it has none.
        random_angles: Median over draws of random angles; None if it has no circuits.
    """

    place: str
    silenced: float
    circuits_silenced: float | None
    random_angles: float | None

    def changes(self, loss: float) -> dict[str, float | None]:
        """The losses relative to that of the model, minus 1, with the keys of `CHANGES`.

        Args:
            loss: The test loss of the model.
        """
        losses: Mapping[str, float | None] = vars(self)
        return {
            name: None if (value := losses[name]) is None else value / loss - 1 for name in CHANGES
        }


def importance_map(
    denoiser: Denoiser,
    x0: Tensor,
    y: Tensor | None = None,
    seed: int = 0,
    batch_size: int = 128,
    progress: Progress = silent,
) -> tuple[float, list[Importance]]:
    """Measure the importance of every place.

    Args:
        denoiser: The model, which is left as it is.
        x0: Test images `(N, C, H, W)` in [-1, 1].
        y: Their labels `(N,)`, or None.
        seed: Random seed of the times, the noise and the random angles.
        batch_size: Images per batch, over which mean outputs are taken, see `batches_of` of
            `hqdm.evaluation.ablation`.
        progress: Reports the batches of all losses.

    Returns:
        The test loss of the model, and the losses for its places, see `hqdm.nn.parts.places`.
    """
    circuits = list(quantum_modules(denoiser))
    of_place = {
        place: ([f"network.{name}" for name in names], _inside(circuits, names))
        for place, names in places(denoiser.network).items()
    }
    n_losses = 1 + sum(1 + (RANDOM_DRAWS + 1) * bool(own) for _, own in of_place.values())
    n_batches = len(batches_of(len(x0), batch_size))
    done = stepwise(progress, "importance of places", n_losses * n_batches)

    def loss(variant: Denoiser) -> float:
        return mean_loss(variant, x0, y, seed, batch_size, done)

    found = []
    for place, (modules, own) in of_place.items():
        silenced = loss(with_mean_output(denoiser, modules))
        random, mean = losses_without(denoiser, own, seed, loss) if own else (None, None)
        found.append(Importance(place, silenced, mean, random))
    return loss(denoiser), found


def _inside(circuits: list[str], names: list[str]) -> list[str]:
    """The circuits that are, or are inside of, modules of the network."""
    whole = {f"network.{name}" for name in names}
    return [c for c in circuits if any(c == name or c.startswith(f"{name}.") for name in whole)]


def importance_rows(loss: float, found: list[Importance]) -> list[tuple[str, ...]]:
    """The changes of the loss in per cent, by place."""

    def change(value: float | None) -> str:
        return "" if value is None else f"{value:+.2%}"

    return [(one.place, *map(change, one.changes(loss).values())) for one in found]
