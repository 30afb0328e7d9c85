"""Other forms of the U-Net's torch path: the time of a training step and of an evaluation.

    OMP_NUM_THREADS=1 python benchmarks/torch_options.py [--turns 9] [--quick] [--write FILE]

Each form replaces one operation, or the layout of the memory, by another one of torch:

    mean of squares   channel normalisation by mean and mean of squares, in place of `var_mean`
    layer_norm        the same by `layer_norm` over a transposed copy
    scaled dot product    attention of the vertex by `scaled_dot_product_attention`
    channels-last     weights and images in torch's memory format of this name

Seconds are processor time, so that other work of the machine does not count. The forms take turns,
of which the first is excluded; the table has the factor by which each is faster than the network as
it is, within a turn, with the 95 % interval of its median, and the largest difference of the
results relative to the largest number.
"""

import argparse
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from time import process_time
from unittest import mock

import torch
import torch.nn.functional as F
from backends import SEED, milliseconds, ratios
from rich.console import Console
from torch import Tensor

from hqdm import CosineSchedule, Denoiser, UNet
from hqdm.nn.attention import Attention, ChannelNorm
from hqdm.nn.compiled.choice import VARIABLE
from hqdm.utils.files import write_file
from hqdm.utils.tables import Sheet
from hqdm.utils.versions import versions

SIZES = ((10, 128), (64, 32))  # width, batch
QUICK_SIZES = ((4, 2),)
COLUMNS = ("form", "training step", "factor", "evaluation", "factor", "difference")


def mean_of_squares(self: ChannelNorm, x: Tensor) -> Tensor:
    """Channel normalisation with the variance E[x^2] - E[x]^2."""
    mean = x.mean(1, keepdim=True)
    var = (x.square().mean(1, keepdim=True) - mean.square()).clamp_min(0)
    return (x - mean) * (var + self.eps).rsqrt() * self.gain


def transposed(self: ChannelNorm, x: Tensor) -> Tensor:
    """Channel normalisation along the last axis of a transposed copy."""
    last = x.movedim(1, -1)
    gain = self.gain.flatten()
    return F.layer_norm(last, gain.shape, gain, None, self.eps).movedim(-1, 1)


def dot_product(self: Attention, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Full attention in one call of torch."""
    q, k = F.normalize(q, dim=self.norm_axis), F.normalize(k, dim=self.norm_axis)
    q, k, v = (part.transpose(2, 3) for part in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, scale=self.similarity_scale).transpose(2, 3)


@contextmanager
def channels_last(network: UNet) -> Iterator[None]:
    """The network in the memory format channels-last."""
    network.to(memory_format=torch.channels_last)
    yield
    network.to(memory_format=torch.contiguous_format)


Form = Callable[[UNet], AbstractContextManager[object]]
FORMS: dict[str, Form] = {
    "as it is": lambda _: nullcontext(),
    "mean of squares": lambda _: mock.patch.object(ChannelNorm, "forward", mean_of_squares),
    "layer_norm": lambda _: mock.patch.object(ChannelNorm, "forward", transposed),
    "scaled dot product": lambda _: mock.patch.object(Attention, "_attend", dot_product),
    "channels-last": channels_last,
}
USUAL = next(iter(FORMS))


def layout(images: Tensor, form: str) -> Tensor:
    """Images in the memory format of a form."""
    last = form == "channels-last"
    return images.contiguous(memory_format=torch.channels_last) if last else images


def measure(width: int, batch: int, turns: int) -> Sheet:
    """The table of one width."""
    torch.manual_seed(SEED)
    network = UNet(dim=width)
    denoiser = Denoiser(network, CosineSchedule())
    optimizer = torch.optim.Adam(denoiser.parameters(), lr=0.0)  # the same gradient in every turn
    images = 2 * torch.rand(batch, 1, 28, 28) - 1
    t, eps = torch.rand(batch), torch.randn_like(images)

    def step(form: str) -> Tensor:
        optimizer.zero_grad()
        denoiser.loss(layout(images, form), t=t, eps=eps).backward()
        optimizer.step()
        return denoiser.network.get_submodule("stem").weight.grad.clone().contiguous()

    @torch.no_grad()
    def evaluate(form: str) -> Tensor:
        return network(layout(images, form), t).contiguous()

    works = {"step": step, "evaluation": evaluate}
    seconds: dict[tuple[str, str], list[float]] = {(f, w): [] for f in FORMS for w in works}
    results: dict[tuple[str, str], Tensor] = {}
    for turn in range(turns + 1):
        for key, taken in seconds.items():
            with FORMS[key[0]](network):
                started = process_time()
                results[key] = works[key[1]](key[0])
                if turn:
                    taken.append(process_time() - started)
    rows = []
    for form in FORMS:
        row, differences = [form], []
        for work in works:
            usual, taken = seconds[USUAL, work], seconds[form, work]
            row += [milliseconds(taken), "-" if form == USUAL else ratios(usual, taken)]
            exact = results[USUAL, work]
            difference = (results[form, work] - exact).abs().max() / exact.abs().max()
            differences.append(float(difference))
        rows.append([*row, f"{max(differences):.0e}"])
    return Sheet(f"### Width {width}, batch {batch}", COLUMNS, rows)


def main() -> None:
    """Measure, print and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=9, help="of each form (9)")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, one turn, as a test")
    parser.add_argument("--write", type=Path, help="Markdown file of the tables")
    options = parser.parse_args()
    os.environ[VARIABLE] = "torch"
    turns = 1 if options.quick else options.turns
    found = [measure(*size, turns) for size in (QUICK_SIZES if options.quick else SIZES)]
    for sheet in found:
        Console().print(sheet.rich(), crop=False)
    packages = ", ".join(f"{name} {version}" for name, version in versions().items())
    note = f"{torch.get_num_threads()} threads, {packages}, seed {SEED}."
    print(note)
    if options.write:
        text = "\n".join(sheet.markdown() for sheet in found)
        write_file(options.write, f"# The U-Net's torch path in other forms\n\n{text}\n{note}\n")


if __name__ == "__main__":
    main()
