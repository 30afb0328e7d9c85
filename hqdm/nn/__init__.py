"""Networks: the hybrid U-Net, its blocks, and quantum layers.

Quantum layers are loaded when they are first asked for: PennyLane and Numba are slow to import, and
classical networks do not need them.
"""

from typing import TYPE_CHECKING

from hqdm.nn.blocks import WSConv2d
from hqdm.nn.quantum_conv import Hybrid, HybridConv
from hqdm.nn.unet import FullQVUNet, QuanvUNet, QVUNet, UNet
from hqdm.utils import loader

if TYPE_CHECKING:
    from hqdm.nn.qnode_layer import QNodeLayer
    from hqdm.nn.quantum_layer import QuantumLayer

__getattr__ = loader(
    __name__,
    {"hqdm.nn.qnode_layer": ("QNodeLayer",), "hqdm.nn.quantum_layer": ("QuantumLayer",)},
)

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
