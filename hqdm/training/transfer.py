"""Transfer learning: start from another model's weights, and freeze parts of the network.

The papers' recipe trains the classical U-Net, keeps its encoder and decoder, puts a quantum vertex
in and trains on: every tensor that has the same name and shape in both is taken over.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from hqdm.diffusion.denoiser import Denoiser
from hqdm.nn.parts import part
from hqdm.utils.errors import HQDMError


@dataclass(frozen=True)
class Transferred:
    """What a transfer took over.

    Attributes:
        taken: Names of the tensors that came from the source.
        fresh: Names of the tensors that the source lacks, or has in another shape.
    """

    taken: tuple[str, ...]
    fresh: tuple[str, ...]


def transfer(source: Denoiser, target: Denoiser) -> Transferred:
    """Copy every tensor that has the same name and shape in both.

    Raises:
        HQDMError: If there is none.
    """
    theirs, ours = source.state_dict(), target.state_dict()
    taken = {k: v for k, v in theirs.items() if k in ours and ours[k].shape == v.shape}
    if not taken:
        raise HQDMError(
            "the model to start from shares no tensor with the one that is configured: "
            "expected the same dim, mults and image size"
        )
    target.load_state_dict(taken, strict=False)
    return Transferred(tuple(taken), tuple(k for k in ours if k not in taken))


def freeze(denoiser: Denoiser, parts: Sequence[str]) -> None:
    """Keep parts of the network from being trained.

    Raises:
        HQDMError: If a part does not exist, or nothing would be left to train.
    """
    for name in parts:
        part(denoiser.network, name).requires_grad_(False)
    if not any(p.requires_grad for p in denoiser.parameters()):
        raise HQDMError(f"freezing {', '.join(parts)} leaves nothing to train: freeze fewer parts")
