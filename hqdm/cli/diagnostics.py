"""The diagnostics of circuits for `hqdm inspect`: importance, gradients, distances, spectrum."""

from collections.abc import Sequence

from torch import Tensor

from hqdm.circuits import AngleEmbedding
from hqdm.diffusion.denoiser import Denoiser
from hqdm.evaluation.angles import angle_distances, angle_gradients
from hqdm.evaluation.importance import CHANGES, importance_map, importance_rows
from hqdm.evaluation.protocol import images_for
from hqdm.evaluation.spectrum import spectrum
from hqdm.nn.parts import quantum_layers
from hqdm.utils.errors import HQDMError
from hqdm.utils.tables import Sheet


def images_of(
    denoiser: Denoiser, data: str, classes: Sequence[int] | None, n: int
) -> tuple[Tensor, Tensor | None]:
    """The first test images of a data set in [-1, 1], and their labels if the model takes labels.

    Args:
        denoiser: The model.
        data: The name of the data set.
        classes: See `hqdm.data.load_images`.
        n: Largest number of images.

    Raises:
        HQDMError: If the data cannot be used.
    """
    x0, y = images_for(denoiser, data, "test", classes=classes)
    return x0[:n], None if y is None else y[:n]


def importance_sheet(denoiser: Denoiser, x0: Tensor, y: Tensor | None) -> Sheet:
    """The changes of the test loss of `hqdm.evaluation.importance`, by place."""
    loss, found = importance_map(denoiser, x0, y)
    return Sheet(
        f"change of the test loss {loss:.5f} of {len(x0)} images",
        ("place", *CHANGES.values()),
        importance_rows(loss, found),
    )


def gradient_sheet(denoiser: Denoiser, x0: Tensor, y: Tensor | None, batch: int) -> Sheet:
    """The gradients of `hqdm.evaluation.angles`, one row for each circuit."""
    rows = [
        (name, str(circuit), f"{norm:.3g}", f"{variance:.3g}")
        for name, found in angle_gradients(denoiser, x0, y, batch_size=batch).items()
        for circuit, (norm, variance) in enumerate(
            zip(found.norm.tolist(), found.variance.tolist(), strict=True)
        )
    ]
    title = f"gradients of angles, {len(x0) // batch} batches of {batch} images"
    return Sheet(title, ("layer", "circuit", "norm", "variance"), rows)


def angle_sheet(start: Denoiser, end: Denoiser) -> Sheet:
    """The distances of `hqdm.evaluation.angles`, one row for each circuit.

    Raises:
        HQDMError: If the model has no circuits.
    """
    rows = [
        (name, str(circuit), *(f"{number:.3g}" for number in numbers))
        for name, found in angle_distances(start, end).items()
        for circuit, numbers in enumerate(
            zip(found.mean.tolist(), found.largest.tolist(), found.random.tolist(), strict=True)
        )
    ]
    if not rows:
        raise HQDMError("--angles is of circuits, and the model has none: leave it out")
    columns = ("layer", "circuit", "mean", "largest", "mean of random angles")
    return Sheet("distances of angles from their start, in radians", columns, rows)


def spectrum_sheet(denoiser: Denoiser) -> Sheet:
    """The spectra of `hqdm.evaluation.spectrum`, one row for each layer.

    Raises:
        HQDMError: If no layer of the model embeds its features as angles.
    """
    layers = {
        name: layer
        for name, layer in quantum_layers(denoiser).items()
        if isinstance(layer.circuit.embedding, AngleEmbedding)
    }
    if not layers:
        raise HQDMError(
            "--spectrum is of circuits that embed features as angles, and the model has none: "
            "leave it out"
        )
    rows = []
    for name, layer in layers.items():
        found = spectrum(layer)
        shares = ", ".join(f"{k}: {share:.0%}" for k, share in enumerate(found.shares.tolist(), 1))
        rows.append((name, f"{found.scale:.3g}", shares, f"{found.deviation:.3g}"))
    columns = ("layer", "scale", "shares of the frequencies", "deviation")
    return Sheet("outputs as Fourier series of one feature", columns, rows)
