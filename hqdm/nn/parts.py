"""The parts of a network: its circuit angles, its classical parameters and its named parts.

A module that holds circuits declares them, independently of the parametrisation of its angles, by
the methods `quantum_parameters()` and `reset_parameters()`, see `QuantumModule`.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol, cast

from torch import nn

from hqdm.nn.blocks import ResnetBlock
from hqdm.nn.network import Network
from hqdm.utils.errors import unknown

if TYPE_CHECKING:
    from hqdm.nn.quantum_layer import QuantumLayer


class QuantumModule(Protocol):
    """A `torch.nn.Module` that holds circuits.

    Its output has the batch as its first axis, or as that of its attribute `batch_axis`.
    """

    def quantum_parameters(self) -> Iterator[nn.Parameter]:
        """The parameters from which the angles of the circuits are computed."""
        ...

    def reset_parameters(self) -> None:
        """Reinitialise these parameters from torch's generator, as at the start of training."""
        ...


def quantum_modules(module: nn.Module) -> dict[str, nn.Module]:
    """The modules that hold circuits inside a module, by name."""
    return {
        name: inner
        for name, inner in module.named_modules()
        if hasattr(inner, "quantum_parameters") and hasattr(inner, "reset_parameters")
    }


def quantum_layers(module: nn.Module) -> "dict[str, QuantumLayer]":
    """The quantum layers inside a module, by name."""
    modules = quantum_modules(module)
    if not modules:
        return {}
    from hqdm.nn.quantum_layer import QuantumLayer  # imports PennyLane and the simulators

    return {name: m for name, m in modules.items() if isinstance(m, QuantumLayer)}


def quantum_parameters(module: nn.Module) -> Iterator[nn.Parameter]:
    """The circuit angles inside a module, each once."""
    seen: set[int] = set()
    for inner in quantum_modules(module).values():
        for parameter in cast(QuantumModule, inner).quantum_parameters():
            if id(parameter) not in seen:
                seen.add(id(parameter))
                yield parameter


def classical_parameters(module: nn.Module) -> Iterator[nn.Parameter]:
    """Every parameter that is not a circuit angle."""
    quantum = {id(p) for p in quantum_parameters(module)}
    return (p for p in module.parameters() if id(p) not in quantum)


def part(network: Network, name: str) -> nn.Module:
    """A part of a network by name.

    Raises:
        HQDMError: If there is no such part.
    """
    parts = network.parts
    if name not in parts:
        raise unknown("part of the network", name, parts)
    return parts[name]


def places(network: Network) -> dict[str, list[str]]:
    """The places of a network, and the modules in each whose outputs can be silenced, by name.

    Those of a U-Net are its levels, its vertex and its head, with the convolutions of their ResNet
    blocks; those of another network are its parts, or the members of a part that is a list.
    """
    module = cast(nn.Module, network)
    found: dict[str, list[str]] = {}
    for name, block in module.named_modules():
        if isinstance(block, ResnetBlock):
            place = name.rpartition(".")[0]
            found.setdefault(place, []).extend([f"{name}.conv_1", f"{name}.conv_2"])
    if found:
        return found
    for name, part in network.parts.items():
        inner = [f"{name}.{i}" for i in range(len(part))] if isinstance(part, nn.ModuleList) else []
        found |= {place: [place] for place in inner or [name]}
    return found


def count(parameters: Iterator[nn.Parameter]) -> int:
    """The total number of elements of the parameters."""
    return sum(p.numel() for p in parameters)
