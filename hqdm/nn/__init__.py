"""Networks: the hybrid U-Net, its blocks, and quantum layers."""

from hqdm.nn.conv import Hybrid, HybridConv, WSConv2d
from hqdm.nn.quantum import QuantumLayer
from hqdm.nn.unet import FullQVUNet, QuanvUNet, QVUNet, UNet

__all__ = [
    "FullQVUNet",
    "Hybrid",
    "HybridConv",
    "QVUNet",
    "QuantumLayer",
    "QuanvUNet",
    "UNet",
    "WSConv2d",
]
