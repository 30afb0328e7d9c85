"""The effect of scaling the classical channels of a hybrid convolution at the start of training.

Prints, for the 28x28 QVU-Net with one FQConv group and a batch of uniform random images: the size
of the angles of each quantum convolution of the vertex, the standard deviation of its outputs over
samples, and the gradient norm of its angles; without the scaling (kernels of unit variance)
and with it.

    python benchmarks/channel_balance.py
"""

import torch
from rich.console import Console
from torch import Tensor, nn

from hqdm import CosineSchedule, Denoiser, HybridConv, QVUNet
from hqdm.nn import WSConv2d
from hqdm.utils.tables import Sheet

SEED = 0
BATCH = 64


def measure(balanced: bool) -> list[tuple[float, float, float]]:
    """Angle size, spread of outputs over samples, gradient norm; one row per convolution."""
    torch.manual_seed(SEED)
    network = QVUNet()
    seen: dict[nn.Module, tuple[Tensor, Tensor]] = {}

    def remember(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        seen[module] = inputs[0].detach(), output.detach()

    convs = [m for m in network.modules() if isinstance(m, HybridConv)]
    for conv in convs:
        conv.quantum.register_forward_hook(remember)
        if not balanced and isinstance(conv.rest, WSConv2d):
            conv.rest.gain = 1.0
    Denoiser(network, CosineSchedule()).loss(2 * torch.rand(BATCH, 1, 28, 28) - 1).backward()
    rows = []
    for conv in convs:
        angles, outputs = seen[conv.quantum]
        gradient = conv.quantum.layer.theta.grad
        assert gradient is not None
        rows.append((angles.std().item(), outputs.std(dim=0).mean().item(), gradient.norm().item()))
    return rows


def main() -> None:
    title = f"QVU-Net, seed {SEED}, batch {BATCH}: unit variance -> 1 / fan_in"
    columns = ("convolution", "angles (std)", "outputs (std over samples)", "gradient norm")
    names = ("block 1, conv 1", "block 1, conv 2", "block 2, conv 1", "block 2, conv 2")
    rows = []
    for name, plain, balanced in zip(names, measure(False), measure(True), strict=True):
        cells = (f"{a:.2g} -> {b:.2g}" for a, b in zip(plain, balanced, strict=True))
        rows.append((name, *cells))
    Console().print(Sheet(title, columns, rows).rich())


if __name__ == "__main__":
    main()
