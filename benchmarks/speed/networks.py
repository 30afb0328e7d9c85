"""The U-Nets of benchmarks/neighbours.py: ours and those of other libraries, in one harness.

All networks get the same images and times, and stand behind the same loss, optimiser and sampler,
those of hqdm. Each runs in a separate process (see `speed.worker`), which imports its library.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Any, ClassVar
from unittest.mock import MagicMock

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import hqdm
from speed.step import Trained

TIMES = 1000  # the last time of the other libraries; that of hqdm is 1
EVALUATIONS = 10  # of a sample
LAYERS_PER_BLOCK = (1, 2)  # of diffusers
UNUSED = (
    *("accelerate", "ema_pytorch", "pytorch_fid", "pytorch_fid.fid_score"),
    *("pytorch_fid.inception", "torchvision", "torchvision.transforms"),
    "torchvision.transforms.functional",
)
"""What denoising-diffusion-pytorch imports for its trainer; its U-Net uses none of them."""


@dataclass(frozen=True)
class Shape:
    """The sizes of a U-Net.

    Attributes:
        size: Height and width of the images.
        dim: Width of the first level.
        mults: Width multipliers, one per level.
    """

    size: int
    dim: int
    mults: tuple[int, ...]

    @property
    def widths(self) -> tuple[int, ...]:
        """The width of each level."""
        return tuple(self.dim * mult for mult in self.mults)


class Neighbour(nn.Module):
    """A U-Net of another library behind the interface of `hqdm.nn.network`.

    Args:
        inner: Called as `inner(x, times)` with times up to `TIMES`.
        size: Height and width of the images.
    """

    config: ClassVar[dict[str, Any]] = {}

    def __init__(self, inner: nn.Module, size: int) -> None:
        super().__init__()
        self.inner = inner
        self.sample_shape = (1, size, size)
        self.parts = {"network": inner}

    @classmethod
    def from_config(cls, config: Any) -> "Neighbour":
        """Part of the interface; benchmarks build the networks directly."""
        raise NotImplementedError("benchmarks build the networks directly")

    def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        """The output `(B, 1, size, size)`; diffusers has it in the field `sample`."""
        output = self.inner(x, TIMES * t)
        return getattr(output, "sample", output)


def preset(name: str, shape: Shape) -> nn.Module:
    """A network of hqdm."""
    return getattr(hqdm, name)(size=shape.size, channels=1, dim=shape.dim, mults=shape.mults)


def lucidrains(shape: Shape) -> nn.Module:
    """The U-Net of denoising-diffusion-pytorch."""
    stand_ins = {name: MagicMock() for name in UNUSED if name not in sys.modules}
    sys.modules.update(stand_ins)
    try:
        from denoising_diffusion_pytorch import Unet
    finally:
        for name in stand_ins:
            del sys.modules[name]
    return Neighbour(Unet(shape.dim, channels=1, dim_mults=shape.mults), shape.size)


def diffusers(n_attention: int | None, shape: Shape) -> nn.Module:
    """UNet2DModel with the number of layers per block that comes closest to the UNet of hqdm.

    Args:
        n_attention: Number of levels with attention, the coarsest; None for all.
        shape: The sizes.
    """
    from diffusers import UNet2DModel

    n_plain = 0 if n_attention is None else max(0, len(shape.mults) - n_attention)
    kinds = ["" if level < n_plain else "Attn" for level in range(len(shape.mults))]
    candidates = [
        UNet2DModel(
            sample_size=shape.size,
            in_channels=1,
            out_channels=1,
            block_out_channels=shape.widths,
            layers_per_block=layers,
            down_block_types=[f"{kind}DownBlock2D" for kind in kinds],
            up_block_types=[f"{kind}UpBlock2D" for kind in reversed(kinds)],
            norm_num_groups=shape.dim // 2,
            attention_head_dim=shape.dim,
        )
        for layers in LAYERS_PER_BLOCK
    ]
    aim = n_parameters(preset("UNet", shape))
    nearest = min(candidates, key=lambda network: abs(n_parameters(network) - aim))
    return Neighbour(nearest, shape.size)


def n_parameters(network: nn.Module) -> int:
    """The number of parameters."""
    return sum(parameter.numel() for parameter in network.parameters())


@dataclass(frozen=True)
class Kind:
    """A network of a library.

    Attributes:
        build: Builds it.
        library: The distribution.
        differs: What it has in place of the parts of the UNet of hqdm.
        installed: True if the library is installed with hqdm, not into `.venv-bench`.
    """

    build: Callable[[Shape], nn.Module]
    library: str
    differs: str
    installed: bool = True


OF_DIFFUSERS = (
    "1 or 2 layers per block, whichever is closer to the parameters of the UNet of hqdm; 3x3 stem, "
    "no weight standardisation"
)
KINDS = {
    "hqdm UNet": Kind(
        partial(preset, "UNet"),
        "hqdm",
        "linear attention of 4 heads of 32 features at every level, softmax attention at the "
        "vertex; weight-standardised convolutions, 7x7 stem",
    ),
    "hqdm FullQVUNet": Kind(
        partial(preset, "FullQVUNet"),
        "hqdm",
        "circuits in place of the convolutions of the vertex; their work is not in the "
        "multiply-adds",
    ),
    "lucidrains Unet": Kind(
        lucidrains,
        "denoising-diffusion-pytorch",
        "as the UNet of hqdm, with root mean square normalisation in place of group normalisation "
        "and weight standardisation, softmax attention also at the coarsest level, and 4 learned "
        "keys and values per attention",
        installed=False,
    ),
    "diffusers UNet2DModel": Kind(
        partial(diffusers, 2),
        "diffusers",
        f"softmax attention at the two coarsest levels and the middle; {OF_DIFFUSERS}",
    ),
    "diffusers UNet2DModel, attention everywhere": Kind(
        partial(diffusers, None),
        "diffusers",
        f"softmax attention at every level and the middle; {OF_DIFFUSERS}",
    ),
}
OURS = next(iter(KINDS))


class Runner(Trained):
    """A network that is trained on random images, and sampled.

    Args:
        name: A key of `KINDS`.
        shape: The sizes.
        batch: Images per training step and per batch of samples.
    """

    def __init__(self, name: str, shape: Shape, batch: int) -> None:
        self.kind = KINDS[name]
        super().__init__(lambda: self.kind.build(shape), batch)

    def facts(self) -> dict[str, Any]:
        """Version, parameters, and multiply-adds of an evaluation of one image.

        They are counted in torch's operations, with gradients, where no compiled kernel runs.
        """
        with FlopCounterMode(display=False) as counter:
            self.denoiser.network(self.images[:1], torch.full((1,), 0.5), None)
        return {
            "version": version(self.kind.library),
            "parameters": n_parameters(self.denoiser),
            "multiply_adds": counter.get_total_flops() // 2,
        }

    def train(self) -> float:
        """Seconds of a training step."""
        self.denoiser.train()
        return self.seconds()

    def sample(self) -> float:
        """Seconds of a batch of samples by UniPC."""
        from hqdm.generation.sampling import sample_images

        self.denoiser.eval()
        started = time.perf_counter()
        sample_images(self.denoiser, hqdm.UniPC(steps=EVALUATIONS), len(self.images))
        return time.perf_counter() - started
