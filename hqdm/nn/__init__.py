"""Networks: the hybrid U-Net, its blocks, and quantum layers.

Quantum layers are loaded when they are first asked for: PennyLane and Numba are slow to import, and
classical networks do not need them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from hqdm.nn.blocks import WSConv2d
from hqdm.nn.quantum_conv import Hybrid, HybridConv
from hqdm.nn.unet import FullQVUNet, QuanvUNet, QVUNet, UNet

if TYPE_CHECKING:
    from hqdm.nn.qnode_layer import QNodeLayer
    from hqdm.nn.quantum_layer import QuantumLayer

_LAYERS = {"QNodeLayer": "qnode_layer", "QuantumLayer": "quantum_layer"}

__all__ = [
    "FullQVUNet",
    "Hybrid",
    "HybridConv",
    "QNodeLayer",
    "QVUNet",
    "QuantumLayer",
    "QuanvUNet",
    "UNet",
    "WSConv2d",
]


def __getattr__(name: str) -> Any:
    """Load a quantum layer."""
    if name not in _LAYERS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LAYERS[name]}"), name)
