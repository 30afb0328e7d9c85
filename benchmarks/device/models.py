"""The networks of the comparisons and of the training steps."""

import torch
from torch import nn

from hqdm import CosineSchedule, Denoiser, FullQVUNet, UNet
from hqdm.nn.quantum_layer import QuantumLayer
from hqdm.simulators import Simulator

NETWORKS = {"UNet": UNet, "FullQVUNet": FullQVUNet}


def denoiser(name: str, seed: int, quick: bool) -> Denoiser:
    """A preset for 28x28 images with one channel, or a tiny one, with random weights."""
    torch.manual_seed(seed)
    network = NETWORKS[name]
    if quick:
        return Denoiser(network(size=8, dim=6, mults=(1, 2)), CosineSchedule())
    return Denoiser(network(), CosineSchedule())


def use_simulator(model: nn.Module, simulator: Simulator) -> None:
    """Run all quantum layers of a model on a simulator."""
    for module in model.modules():
        if isinstance(module, QuantumLayer):
            module.simulator = simulator
