"""The parts of a denoiser: which parameters are quantum, and which belong to a named part."""

from collections.abc import Iterator

from torch import nn

from hqdm.nn.quantum_layer import QuantumLayer
from hqdm.nn.unet import PARTS, UNet
from hqdm.utils.errors import unknown


def quantum_layers(module: nn.Module) -> dict[str, QuantumLayer]:
    """The quantum layers inside a module, by name."""
    return {name: m for name, m in module.named_modules() if isinstance(m, QuantumLayer)}


def quantum_parameters(module: nn.Module) -> Iterator[nn.Parameter]:
    """The circuit angles inside a module."""
    for layer in quantum_layers(module).values():
        yield from layer.parameters(recurse=False)


def classical_parameters(module: nn.Module) -> Iterator[nn.Parameter]:
    """Every parameter that is not a circuit angle."""
    quantum = {id(p) for p in quantum_parameters(module)}
    return (p for p in module.parameters() if id(p) not in quantum)


def part(network: UNet, name: str) -> nn.Module:
    """The part of that name.

    Raises:
        HQDMError: If there is no such part.
    """
    if name not in PARTS:
        raise unknown("part of the network", name, PARTS)
    return network.get_submodule(name)


def count(parameters: Iterator[nn.Parameter]) -> int:
    """How many numbers these parameters hold."""
    return sum(p.numel() for p in parameters)
