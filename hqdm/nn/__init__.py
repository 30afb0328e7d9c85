"""Networks: the hybrid U-Net, its blocks, and quantum layers."""

from hqdm.nn.blocks import WSConv2d
from hqdm.nn.qnode_layer import QNodeLayer
from hqdm.nn.quantum_conv import Hybrid, HybridConv
from hqdm.nn.quantum_layer import QuantumLayer
from hqdm.nn.unet import FullQVUNet, QuanvUNet, QVUNet, UNet

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
