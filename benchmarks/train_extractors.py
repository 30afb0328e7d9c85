"""Train the classifiers in whose feature space FID and KID are measured.

    python benchmarks/train_extractors.py mnist
    python benchmarks/train_extractors.py cifar10 --seed 1 --out /some/folder

Writes `NAME.safetensors` (float16 weights, with the settings of the training in its header), prints
the accuracy of the stored file on the test split, and updates the table in `docs/metrics.md`.
Batch normalisation is used in training and folded into the convolutions afterwards.
"""

import argparse
import json
import re
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import fuse_conv_bn_eval

from hqdm.data.images import ImageSet, load_images
from hqdm.metrics.features import (
    ClassifierExtractor,
    load_classifier,
    metadata,
    weights_path,
)
from hqdm.utils.pixels import to_float
from hqdm.utils.tables import markdown_row

BATCH = 128
DOCS = Path(__file__).parents[1] / "docs" / "metrics.md"


@dataclass(frozen=True)
class Recipe:
    """The training settings of a classifier.

    Attributes:
        widths: Channels of each stage.
        epochs: Passes over the training images.
        shift: Maximum random translation in pixels.
        flip: Whether to mirror half of the images.
        lr: Largest learning rate of the one-cycle schedule.
    """

    widths: tuple[int, ...]
    epochs: int
    shift: int
    flip: bool
    lr: float = 5e-3


RECIPES = {
    "digits": Recipe((16, 32, 64), epochs=60, shift=1, flip=False),
    "mnist": Recipe((16, 32, 64), epochs=12, shift=2, flip=False),
    "fashion_mnist": Recipe((16, 32, 64), epochs=16, shift=2, flip=True),
    "cifar10": Recipe((32, 64, 128), epochs=60, shift=4, flip=True),
}


def augment(x: Tensor, recipe: Recipe) -> Tensor:
    """Shift and mirror each image of a batch `(B, C, H, W)` independently."""
    b, _, h, w = x.shape
    if recipe.flip:
        x = torch.where(torch.rand(b, 1, 1, 1) < 0.5, x.flip(-1), x)
    padded = functional.pad(x, (recipe.shift,) * 4, value=-1.0)
    top, left = torch.randint(2 * recipe.shift + 1, (2, b, 1))
    rows, columns = top + torch.arange(h), left + torch.arange(w)
    batch = torch.arange(b).view(b, 1, 1)
    return padded.permute(0, 2, 3, 1)[batch, rows[:, :, None], columns[:, None]].permute(0, 3, 1, 2)


def with_batch_norm(body: nn.Sequential) -> nn.Sequential:
    """The same layers with a batch normalisation after each convolution."""
    layers: list[nn.Module] = []
    for layer in body:
        layers.append(layer)
        if isinstance(layer, nn.Conv2d):
            layers.append(nn.BatchNorm2d(layer.out_channels))
    return nn.Sequential(*layers)


def without_batch_norm(body: nn.Sequential) -> nn.Sequential:
    """Fold each batch normalisation into the convolution before it."""
    layers: list[nn.Module] = []
    for layer in body.eval():
        if isinstance(layer, nn.BatchNorm2d):
            layers[-1] = fuse_conv_bn_eval(layers[-1], layer)
        else:
            layers.append(layer)
    return nn.Sequential(*layers)


def train(model: ClassifierExtractor, data: ImageSet, recipe: Recipe) -> None:
    """Minimise the cross-entropy; bfloat16 and channels-last make it three times as fast."""
    model.body = with_batch_norm(model.body)
    model.to(memory_format=torch.channels_last)
    n_steps = len(data) // BATCH
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.lr, total_steps=recipe.epochs * n_steps
    )
    start = time.monotonic()
    for epoch in range(recipe.epochs):
        total = 0.0
        for indices in torch.randperm(len(data))[: n_steps * BATCH].split(BATCH):
            x = augment(to_float(data.images[indices]), recipe)
            x = x.to(memory_format=torch.channels_last)
            with torch.autocast("cpu", torch.bfloat16):
                loss = functional.cross_entropy(model.logits(x), data.labels[indices])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        seconds = time.monotonic() - start
        print(f"epoch {epoch + 1:3d}: loss {total / n_steps:.4f}, {seconds:.0f} s", flush=True)
    model.body = without_batch_norm(model.body)


@torch.inference_mode()
def accuracy(model: ClassifierExtractor, data: ImageSet) -> float:
    """Fraction of the images whose most probable class is correct."""
    predicted = torch.cat([model.logits(batch).argmax(1) for batch in data.images.split(500)])
    return (predicted == data.labels).double().mean().item()


def update_table() -> None:
    """Rewrite the rows of the documentation's first table from the headers of the shipped files."""
    text = DOCS.read_text()
    for name in RECIPES:
        made = metadata(name)
        shape = json.loads(made["arguments"])
        row = markdown_row(
            (
                f"`{name}`",
                f"{shape['channels']}x{shape['size']}x{shape['size']}",
                str(shape["widths"][-1]),
                f"{float(made['test_accuracy']):.2%}",
                *(made[key] for key in ("n_test", "n_train", "epochs", "seed", "seconds")),
            )
        )
        text = re.sub(rf"^\| `{name}` \|.*$", row, text, count=1, flags=re.MULTILINE)
    DOCS.write_text(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", choices=RECIPES)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=weights_path("digits").parent)
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    recipe = RECIPES[args.data]
    data, test = load_images(args.data, "train"), load_images(args.data, "test")
    arguments = {
        "size": data.images.shape[-1],
        "channels": data.images.shape[1],
        "widths": recipe.widths,
        "n_classes": len(data.classes),
    }
    model = ClassifierExtractor(args.data, **arguments)
    start = time.monotonic()
    train(model, data, recipe)
    seconds = time.monotonic() - start

    path = args.out / f"{args.data}.safetensors"
    weights = {key: value.half().contiguous() for key, value in model.state_dict().items()}
    save_file(weights, path, {"arguments": json.dumps(arguments)})
    stored = accuracy(load_classifier(args.data, path), test)
    header = {
        "arguments": json.dumps(arguments),
        "test_accuracy": f"{stored:.4f}",
        "n_train": str(len(data)),
        "n_test": str(len(test)),
        "seed": str(args.seed),
        "epochs": str(recipe.epochs),
        "seconds": f"{seconds:.0f}",
        "torch": torch.__version__,
    }
    save_file(weights, path, header)
    print(f"test accuracy {stored:.4f}, {seconds:.0f} s, {path.stat().st_size} bytes: {path}")
    if path == weights_path(args.data):
        update_table()


if __name__ == "__main__":
    main()
