"""Transfer learning: copy weights from another model, and freeze parts of the network.

In the papers a classical U-Net is trained, its vertex is replaced by a quantum one, and training
continues: every tensor that has the same name and shape in both networks is copied, except the
angles of another circuit.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from hqdm.diffusion.model import Model
from hqdm.nn.parts import part, quantum_layers
from hqdm.utils.errors import HQDMError


@dataclass(frozen=True)
class Transferred:
    """The result of a transfer.

    Attributes:
        taken: Names of the tensors that were copied from the source.
        fresh: Names of the tensors that the source lacks, or has with another shape or for another
            circuit.
    """

    taken: tuple[str, ...]
    fresh: tuple[str, ...]


def transfer(source: Model, target: Model) -> Transferred:
    """Copy every tensor that has the same name and shape, and the same circuit, in both.

    Raises:
        HQDMError: If there is no such tensor.
    """
    given, own = source.state_dict(), target.state_dict()
    circuits = quantum_layers(source)
    other = tuple(
        f"{name}."
        for name, layer in quantum_layers(target).items()
        if name in circuits and circuits[name].circuit != layer.circuit
    )
    taken = {
        k: v
        for k, v in given.items()
        if k in own and own[k].shape == v.shape and not k.startswith(other)
    }
    if not taken:
        raise HQDMError(
            "the initial model shares no tensor with the configured one: "
            "expected the same dim, mults and image size"
        )
    target.load_state_dict(taken, strict=False)
    return Transferred(tuple(taken), tuple(k for k in own if k not in taken))


def freeze(denoiser: Model, parts: Sequence[str]) -> None:
    """Exclude parts of the network from training.

    Raises:
        HQDMError: If a part does not exist, or no parameter would be left to train.
    """
    for name in parts:
        part(denoiser.network, name).requires_grad_(False)
    if parts and not any(p.requires_grad for p in denoiser.parameters()):
        raise HQDMError(f"freezing {', '.join(parts)} leaves nothing to train: freeze fewer parts")
