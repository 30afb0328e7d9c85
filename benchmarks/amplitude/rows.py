"""Rows of the reproduction table: models of Koelle et al. (arXiv 2401.07049), controls, baselines.

Each row is a model in a task, the data it is trained on, and the configuration of `hqdm fit`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import torch
from torch import Tensor

from hqdm.data.images import ImageSet, load_images, register_data
from hqdm.utils.pixels import to_uint8

TAU = 10  # steps in training
FACTORS = (1 / 3, 1.0, 3.0, 10.0)  # of the paper's learning rate, tried first
EMA = {"sigma_rel": 0.1, "every": 1, "start": 0}
UNKNOWN_RATE = 0.003  # where the paper gives no learning rate


@dataclass(frozen=True)
class Source:
    """Images of a data set.

    Attributes:
        name: Name of the data set in hqdm.
        size: Height and width.
        classes: The classes that are taken; None takes all.
        train: Number of training images, the first ones.
        val: Number of validation images, those after them.
        test: Number of test images, and of samples.
        seeds: Number of random seeds.
        least: Smallest number of updates.
        updates: Largest number of updates.
        batch: Images per batch, each with all pairs of steps; None for those of the paper. Of 20
            images of 28x28 an update takes up to 0.8 s.
    """

    name: str
    size: int
    classes: tuple[int, ...] | None = (0, 1)
    train: int = 80
    val: int = 100
    test: int = 1000
    seeds: int = 3
    least: int = 1000
    updates: int = 2000
    batch: int | None = 4


SOURCES = {
    # Zeros and ones of scikit-learn in its order: the first 80 are those of the paper's training.
    "digits": Source(
        "digits", 8, val=80, test=200, seeds=5, least=3000, updates=10_000, batch=None
    ),
    "mnist": Source("mnist", 28),
    "fashion": Source("fashion_mnist", 28),  # T-shirts and trousers
    "cifar10": Source("cifar10", 32, classes=None),  # in grey
}


@dataclass(frozen=True)
class Row:
    """A model and its task.

    Attributes:
        model: Name in the table.
        network: Registered name of the network.
        options: Its options.
        rate: The paper's learning rate, or `UNKNOWN_RATE`.
        paper: The paper's scores.
        batch: Images per batch, each with all pairs of steps.
        sampler: Name of the sampler.
        data: Key of `SOURCES`.
        guided: Whether the network takes labels.
        target: "data" or "noise" of the mixing process, or "x0" of the Gaussian process.
    """

    model: str
    network: str
    options: dict[str, Any] = field(default_factory=dict)
    rate: float = UNKNOWN_RATE
    paper: str = ""
    batch: int = 20
    sampler: str = "iterate"
    data: str = "digits"
    guided: bool = False
    target: str = "data"

    @property
    def key(self) -> str:
        """The row in one line."""
        return f"{self.model}; {self.data}; {self.task}"

    @property
    def task(self) -> str:
        """The task in words."""
        process = "x0 of the Gaussian process" if self.target == "x0" else self.target
        return f"{'guided' if self.guided else 'unguided'}, {process}"

    @property
    def is_control(self) -> bool:
        """True if something else takes the place of the circuits of a model."""
        return self.network == CONTROL or "control" in self.options

    @property
    def rates(self) -> tuple[float, ...]:
        """The learning rates that are tried first; an unused one for a closed form."""
        if self.network == CONTROL:
            return (1.0,)
        return tuple(rounded(factor * self.rate) for factor in FACTORS)


def rounded(rate: float) -> float:
    """A learning rate of three digits."""
    return float(f"{rate:.3g}")


CONTROL = "BestUnitary"
QUANTUM = Q, QU, USS = "QDense", "QUNet", "USS"
DENSE, DCN, UNET = "FullyConnected", "DeepConv", "SmallUNet"


def qunet(model: str, widths: Sequence[int], n_layers: int, rate: float, paper: str = "") -> Row:
    """A QU-Net with the paper's batch of 10 images."""
    options = {"widths": list(widths), "n_layers": n_layers}
    return Row(f"QU-Net {model}", QU, options, rate, paper, batch=10)


def unet(*widths: int, rate: float, paper: str = "") -> Row:
    """A classical U-Net."""
    return Row(f"U-Net {widths}", UNET, {"widths": list(widths)}, rate, paper)


def controlled(row: Row, *controls: str) -> tuple[Row, ...]:
    """A model with its circuits replaced by controls."""
    return tuple(
        replace(row, model=f"{row.model}, {control}", options={**row.options, "control": control})
        for control in controls
    )


def alike(parameters: int, dense: float = 0.0025, dcn: float = 0.0076) -> tuple[Row, ...]:
    """The baselines that match a number of parameters."""
    options = {"parameters": parameters}
    return (
        Row(f"Dense like {parameters:,}", DENSE, options, dense),
        Row(f"DCN like {parameters:,}", DCN, options, dcn),
        Row(f"U-Net like {parameters:,}", UNET, options, 0.0047),
    )


QUANTUM_100, CLASSICAL_120 = "FID about 100", "FID about 120"
TASKS: dict[tuple[str, bool, str], tuple[Row, ...]] = {
    ("digits", True, "data"): (
        Row("Q-Dense 47", Q, {"n_layers": 47}, 9.7e-4, QUANTUM_100),
        Row("Q-Dense 47, 7 uploads", Q, {"n_layers": 47, "uploads": 7}, 3.62e-3, "FID 10 lower"),
        qunet("(2, 4, 8), 12 layers", (2, 4, 8), 12, 8.15e-3),
        *controlled(
            Row("Q-Dense 47", Q, {"n_layers": 47}, 9.7e-4), "frozen", "separable", "linear"
        ),
        *controlled(qunet("(2, 4, 8), 12 layers", (2, 4, 8), 12, 8.15e-3), "frozen", "matched"),
        Row("USS 47", USS, {"n_layers": 47}, 7.21e-3, sampler="uss"),
        Row("Dense like 987", DENSE, {"parameters": 987}, 2.5e-3, CLASSICAL_120),
        Row("DCN like 987", DCN, {"parameters": 987}, 7.59e-3, CLASSICAL_120),
        unet(3, 6, rate=4.7e-3, paper=CLASSICAL_120),
        unet(2, 4, 8, rate=3.2e-3),
        unet(4, 8, 16, rate=5.7e-3),
    ),
    ("digits", False, "data"): (
        Row("Q-Dense 50", Q, {"n_layers": 50}, 6.5e-4),
        Row("Q-Dense 47, ancilla", Q, {"n_layers": 47, "ancilla": True}, 6.5e-4),
        qunet("(2, 4, 8), 8 layers", (2, 4, 8), 8, 2.3e-4),
        qunet("(2, 4, 8), 12 layers", (2, 4, 8), 12, 8.15e-3),
        Row("USS 56", USS, {"n_layers": 56}, 1.72e-3, sampler="uss"),
        Row("best unitary", CONTROL, sampler="uss"),
        Row("Dense like 990", DENSE, {"parameters": 990}, 2.5e-3),
        Row("DCN (10, 10)", DCN, {"widths": [10, 10]}, 7.59e-3),
        Row("DCN (6, 6, 6, 6)", DCN, {"widths": [6, 6, 6, 6]}, 1.3e-4),
        Row("U-Net like 990", UNET, {"parameters": 990}, 4.7e-3),
        unet(2, 4, 8, rate=5.07e-3),
    ),
    ("digits", False, "noise"): (
        Row("Q-Dense 55", Q, {"n_layers": 55}, 1.6e-3),
        qunet("(2, 4, 8), 8 layers", (2, 4, 8), 8, 1.13e-3),
        qunet("(2, 4, 8), 12 layers", (2, 4, 8), 12, 9.12e-3),
        Row("Dense like 990", DENSE, {"parameters": 990}, 2.5e-3),
        Row("DCN (9, 10)", DCN, {"widths": [9, 10]}, 5.32e-3),
        Row("U-Net like 990", UNET, {"parameters": 990}, 4.7e-3),
        unet(2, 4, 8, rate=1.339e-2),
    ),
    ("digits", True, "x0"): (
        Row("Q-Dense 47", Q, {"n_layers": 47}, 9.7e-4),
        qunet("(2, 4, 8), 12 layers", (2, 4, 8), 12, 8.15e-3),
        *alike(987),
    ),
    ("mnist", True, "noise"): (
        Row("Q-Dense 30", Q, {"n_layers": 30}, 4.09e-3),
        Row("Q-Dense 60", Q, {"n_layers": 60}, 2.11e-3),
        qunet("(2, 4, 8), 9 layers", (2, 4, 8), 9, 2.87e-3),
        qunet("(2, 4, 8), 19 layers", (2, 4, 8), 19, 1.479e-2),
        unet(3, 6, rate=1.719e-2),
        unet(2, 4, 8, rate=6.41e-3),
        *alike(1980),
    ),
    ("fashion", True, "noise"): (
        Row("Q-Dense 60", Q, {"n_layers": 60}, 7.23e-3),
        Row("Q-Dense 121", Q, {"n_layers": 121}, 1.4e-4, "FID 280"),
        qunet("(3, 6, 12), 8 layers", (3, 6, 12), 8, 5.1e-4),
        qunet("(3, 6, 12), 12 layers", (3, 6, 12), 12, 2.9e-4),
        unet(7, 14, rate=1.27e-2),
        *alike(1980),
        *alike(3993, dcn=1.016e-2),
    ),
    ("cifar10", False, "data"): (
        Row("Q-Dense 133", Q, {"n_layers": 133}, paper="FID 399.38, PSNR 10.06, SSIM 0.061"),
        qunet(
            "(3, 6, 12), 12 layers",
            *((3, 6, 12), 12, UNKNOWN_RATE),
            paper="FID 271.03, PSNR 9.60, SSIM 0.086",
        ),
        Row("USS 133", USS, {"n_layers": 133}, 1.9e-3, sampler="uss"),
        Row("best unitary", CONTROL, sampler="uss"),
        unet(7, 14, rate=UNKNOWN_RATE, paper="FID 395.47, PSNR 8.95, SSIM 0.026"),
        *alike(3990),
    ),
}


def rows() -> Iterator[Row]:
    """All rows of the table."""
    for (data, is_guided, target), models in TASKS.items():
        for row in models:
            given = {**vars(row), "data": data, "guided": is_guided, "target": target}
            given["batch"] = SOURCES[data].batch or row.batch
            if target == "x0":  # one time per image, not all pairs
                given |= {"sampler": "ddim", "batch": SOURCES[data].train}
            yield Row(**given)


ROWS = tuple(rows())


@cache
def images_of(key: str) -> dict[str, tuple[Tensor, Tensor]]:
    """Training, validation and test images of a data set in uint8, with labels 0, 1, ..."""
    source = SOURCES[key]
    ends = source.train, source.train + source.val
    if source.name == "digits":
        from sklearn.datasets import load_digits

        digits = load_digits(n_class=2)
        every = to_uint8(torch.from_numpy(digits.images / 8 - 1)[:, None]), digits.target
        first = tested = every[0], torch.from_numpy(every[1])
        held_out = slice(ends[1], ends[1] + source.test)
    else:
        first, tested = (_chosen(source, split) for split in ("train", "test"))
        held_out = slice(source.test)
    return {
        "train": (first[0][: ends[0]], first[1][: ends[0]]),
        "val": (first[0][slice(*ends)], first[1][slice(*ends)]),
        "test": (tested[0][held_out], tested[1][held_out]),
    }


def _chosen(source: Source, split: str) -> tuple[Tensor, Tensor]:
    """The images of a split that are of the classes of a source."""
    found: ImageSet = load_images(source.name, split, size=source.size, channels=1)
    assert found.labels is not None
    if source.classes is None:
        return found.images, found.labels
    places = torch.full((len(found.classes),), -1)
    places[list(source.classes)] = torch.arange(len(source.classes))
    labels = places[found.labels]
    return found.images[labels >= 0], labels[labels >= 0]


def name_of(key: str) -> str:
    """The name of a source as a data set of hqdm."""
    return f"amplitude_table_{key}"


def register_sources() -> None:
    """Make training and validation images available to configurations."""
    for key in SOURCES:

        def load(split: str, key: str = key) -> tuple[Tensor, Tensor]:
            return images_of(key)["train" if split == "train" else "val"]

        register_data(name_of(key))(load)


def configuration(row: Row, rate: float, seed: int) -> dict[str, Any]:
    """The configuration of `hqdm fit`."""
    source = SOURCES[row.data]
    gaussian = row.target == "x0"
    step = {"steps": TAU, "output": row.target, "clamp": True, "pairs": True}
    return {
        "seed_everything": seed,
        "data": {
            **{"name": name_of(row.data), "size": source.size, "channels": 1},
            **{"batch_size": row.batch, "labelled": row.guided},
        },
        "model": {
            "network": {
                **{"name": row.network, "options": row.options},
                "n_classes": len(source.classes or range(10)) if row.guided else None,
            },
            "schedule": "cosine" if gaussian else "mixing",
            "predict": "x0" if gaussian else "step",
            "predict_options": {} if gaussian else step,
            **{"weight": "uniform", "lr": rate, "betas": [0.9, 0.999], "label_dropout": 0.0},
            "ema": EMA,
        },
    }
