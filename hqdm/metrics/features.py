"""Feature extractors: the networks in whose feature space FID and KID measure distances.

The package contains four small classifiers, trained by `benchmarks/train_extractors.py`, and
supports the standard Inception network and DINOv2 (`hqdm.metrics.dino`), whose weights the user
provides. Each maps images to the features before its last linear layer, `(N, D)`, and to logits,
`(N, K)`, for the Inception Score.
"""

import importlib
import json
import pickle
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn import functional

from hqdm.data.images import canonical_name
from hqdm.utils.errors import HQDMError
from hqdm.utils.pixels import to_float, to_uint8
from hqdm.utils.registry import Registry

CLASSIFIERS = ("digits", "mnist", "fashion_mnist", "cifar10")
"""Extractors whose weights the package contains, named after their training data."""

INCEPTION = "inception"
INCEPTION_FILE = "pt-inception-2015-12-05-6726825d.pth"
"""File name of the weights as published by torch-fidelity."""

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in grey (ITU-R BT.601), as in Pillow."""


def as_float(images: Tensor) -> Tensor:
    """Convert images to the common format of the metrics, float32 clamped to [-1, 1].

    Args:
        images: Float in [-1, 1] or uint8 in 0..255, `(N, C, H, W)`, C = 1 or 3.

    Returns:
        The images `(N, C, H, W)` in [-1, 1]; uint8 is converted by `to_float`.

    Raises:
        HQDMError: If the shape is another one, or a value is not finite.
    """
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise HQDMError(f"images of shape {tuple(images.shape)}: expected (N, 1 or 3, H, W)")
    if images.dtype == torch.uint8:
        return to_float(images)
    if not images.is_floating_point() or not images.isfinite().all():
        raise HQDMError(
            f"images of type {images.dtype} with values that are not finite or not in [-1, 1]: "
            "expected finite floats in [-1, 1] or uint8"
        )
    return images.to(torch.float32).clamp(-1, 1)


def match_channels(images: Tensor, channels: int) -> Tensor:
    """Convert `(N, C, H, W)` to `(N, channels, H, W)`: grey is repeated, RGB weighted by `LUMA`."""
    if images.shape[1] == channels:
        return images
    if channels == 3:
        return images.expand(-1, 3, -1, -1)
    return (images * images.new_tensor(LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)


class FeatureExtractor(nn.Module, ABC):
    """A frozen network that maps images to features.

    `forward` takes images as `as_float` does, of any size, and returns features of shape
    `(N, num_features)`.

    Attributes:
        name: Name of the extractor in `load_extractor`.
        num_features: Number of features D.
        size: Side of the network's input images.
        channels: Channels of the network's input images.
    """

    def __init__(self, name: str, num_features: int, size: int, channels: int) -> None:
        super().__init__()
        self.name = name
        self.num_features = num_features
        self.size = size
        self.channels = channels

    def prepare(self, images: Tensor) -> Tensor:
        """The network's input: `as_float`, `match_channels`, then a bilinear antialiased resize.

        Args:
            images: Images `(N, C, H, W)`, see `as_float`.

        Returns:
            float32 of shape `(N, channels, size, size)` in [-1, 1].
        """
        images = match_channels(as_float(images), self.channels)
        if images.shape[-2:] == (self.size, self.size):
            return images
        return functional.interpolate(
            images, size=(self.size, self.size), mode="bilinear", antialias=True
        )

    @abstractmethod
    def features_and_logits(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features `(N, num_features)` and logits `(N, K)` of images, in one pass."""

    def forward(self, images: Tensor) -> Tensor:
        """Features `(N, num_features)` of images."""
        return self.features_and_logits(images)[0]

    def logits(self, images: Tensor) -> Tensor:
        """Unnormalised log-probabilities `(N, K)` of the network's classes."""
        return self.features_and_logits(images)[1]


class ClassifierExtractor(FeatureExtractor):
    """A small convolutional classifier.

    It has stages of two 3x3 convolutions with ReLU at the given widths, and 2x2 max pooling between
    stages. The features are the mean over positions of the last stage; a linear layer maps them to
    logits.

    Args:
        name: Name of the extractor.
        size: Side of the images.
        channels: Channels of the images.
        widths: Channels of each stage; the last is the number of features.
        n_classes: Number of classes K.
    """

    def __init__(
        self, name: str, size: int, channels: int, widths: Sequence[int], n_classes: int
    ) -> None:
        super().__init__(name, widths[-1], size, channels)
        layers: list[nn.Module] = []
        n_in = channels
        for stage, width in enumerate(widths):
            if stage > 0:
                layers.append(nn.MaxPool2d(2))
            for _ in range(2):
                layers += [nn.Conv2d(n_in, width, 3, padding=1), nn.ReLU()]
                n_in = width
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(n_in, n_classes)

    def features_and_logits(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features `(N, widths[-1])` and logits `(N, n_classes)`."""
        features = self.body(self.prepare(images)).mean((2, 3))
        return features, self.head(features)


class InceptionExtractor(FeatureExtractor):
    """Inception v3 with the weights of published FIDs: 2,048 features, 1,008 logits.

    The network is torch-fidelity's port of the original graph, which includes that graph's resize
    to 299x299.

    Args:
        weights: Path of `INCEPTION_FILE`; None is refused, since nothing is downloaded.

    Raises:
        HQDMError: If torch-fidelity or the weights are missing, or the file has other contents.
    """

    def __init__(self, weights: str | Path | None) -> None:
        super().__init__(INCEPTION, num_features=2048, size=299, channels=3)
        try:
            # An optional dependency of the package.
            module: Any = importlib.import_module("torch_fidelity.feature_extractor_inceptionv3")
        except ImportError as error:
            raise HQDMError(
                "the inception extractor needs torch-fidelity: pip install 'hqdm[fid]', and give "
                f"its weights with --fid-weights PATH ({INCEPTION_FILE})"
            ) from error
        if weights is None or not Path(weights).is_file():
            raise HQDMError(
                f"the inception extractor needs its weights, got {weights}: give the file "
                f"{INCEPTION_FILE} with --fid-weights PATH"
            )
        try:
            self.network = module.FeatureExtractorInceptionV3(
                "inception-v3-compat",
                ["2048", "logits_unbiased"],
                feature_extractor_weights_path=str(weights),
            )
        except (OSError, RuntimeError, pickle.UnpicklingError) as error:
            raise HQDMError(
                f"{weights} does not hold the weights of Inception: expected {INCEPTION_FILE}"
            ) from error

    def prepare(self, images: Tensor) -> Tensor:
        """uint8 images `(N, 3, H, W)`, in their original size."""
        return to_uint8(match_channels(as_float(images), self.channels))

    def features_and_logits(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features `(N, 2048)` and logits without bias `(N, 1008)`."""
        features, logits = self.network(self.prepare(images))
        return features, logits


ExtractorFactory = Callable[[str | Path | None], FeatureExtractor]

EXTRACTORS: Registry[ExtractorFactory] = Registry("extractor")
"""Factories of feature extractors by name; each takes the path of `--fid-weights`, or None."""


def register_extractor(name: str) -> Callable[[ExtractorFactory], ExtractorFactory]:
    """Decorator: make an extractor available by a name.

    It is also the default for a data set of that name.
    """
    return EXTRACTORS.decorator(name)


def _shipped(name: str, fid_weights: str | Path | None) -> FeatureExtractor:
    return load_classifier(name, weights_path(name))


for _name in CLASSIFIERS:
    EXTRACTORS.register(_name, partial(_shipped, _name))
EXTRACTORS.register(INCEPTION, InceptionExtractor)


def load_extractor(name: str, fid_weights: str | Path | None = None) -> FeatureExtractor:
    """Load a feature extractor, frozen and in evaluation mode, on the CPU.

    Args:
        name: A key of `EXTRACTORS`.
        fid_weights: The weights of `"inception"`, a file, or of `"dinov2"`, a folder.

    Returns:
        The extractor.

    Raises:
        HQDMError: If the name is unknown, or the package or weights of Inception or DINOv2 are
            missing.
    """
    return EXTRACTORS[name](fid_weights).eval().requires_grad_(False)


def extractor_for(data_name: str, size: int, channels: int) -> str:
    """Name of the default extractor of a data set.

    It is the extractor registered under the name of the data set, if there is one. Otherwise it is
    `cifar10` for colour images, `digits` for grey images up to 16x16, and `fashion_mnist` for
    larger grey images, whose classes differ in outline and texture rather than in strokes. Scores
    are comparable only for equal extractors, so the name is recorded with them.

    Args:
        data_name: Short name or hub name of the data set.
        size: Side of its images.
        channels: Number of channels, 1 or 3.

    Returns:
        A name for `load_extractor`.
    """
    name = canonical_name(data_name)
    if name in EXTRACTORS:
        return name
    if channels == 3:
        return "cifar10"
    return "digits" if size <= 16 else "fashion_mnist"


def weights_path(name: str) -> Path:
    """Path of the weights of a classifier in the package."""
    return Path(str(files("hqdm.metrics"))) / "weights" / f"{name}.safetensors"


def load_classifier(name: str, path: Path) -> ClassifierExtractor:
    """Load a classifier from a file of float16 weights with its arguments as JSON in the header."""
    with safe_open(path, "pt") as file:
        arguments = json.loads(file.metadata()["arguments"])
        weights = {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118
    classifier = ClassifierExtractor(name, **arguments)
    classifier.load_state_dict(weights)
    return classifier


def metadata(name: str) -> dict[str, str]:
    """The training record of a classifier in the package: test accuracy, seed, epochs, versions."""
    with safe_open(weights_path(name), "pt") as file:
        return dict(file.metadata())
