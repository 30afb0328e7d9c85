"""DINOv2 as a feature extractor: a vision transformer that was trained without labels.

The features are the class token after the last layer, as those of Stein et al. (2023, arXiv
2306.04675), who find that FID and FLD agree with people best with them; the logits are those of a
linear layer on ImageNet, for the Inception Score. Images are resized to 224x224, bicubic with
antialiasing, and normalised by ImageNet's mean and standard deviation.
"""

import importlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from hqdm.metrics.features import (
    FeatureExtractor,
    as_float,
    match_channels,
    register_extractor,
)
from hqdm.utils.errors import HQDMError, first_line

DINO = "dinov2"
PUBLISHED = "facebook/dinov2-large-imagenet1k-1-layer"
"""The model of the published scores on the Hugging Face hub."""

SIZE = 224
MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)


@register_extractor(DINO)
class DinoExtractor(FeatureExtractor):
    """DINOv2 with a linear classifier, by the package `transformers`.

    Args:
        weights: The folder of a model such as `PUBLISHED`; None is refused, since nothing is
            downloaded.

    Raises:
        HQDMError: If `transformers` or the folder is missing, or it holds another model.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, weights: str | Path | None) -> None:
        network = _load(weights)
        super().__init__(DINO, network.config.hidden_size, SIZE, channels=3)
        self.network = network
        for name, values in (("mean", MEAN), ("deviation", DEVIATION)):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1))

    def prepare(self, images: Tensor) -> Tensor:
        """The normalised images `(N, 3, 224, 224)`."""
        images = match_channels(as_float(images), self.channels)
        if images.shape[-2:] != (SIZE, SIZE):
            images = functional.interpolate(
                images, size=(SIZE, SIZE), mode="bicubic", antialias=True
            )
        return (images.clamp(-1, 1) / 2 + 0.5 - self.mean) / self.deviation

    def features_and_logits(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features `(N, D)` and logits `(N, 1000)`; D is 1,024 for `PUBLISHED`."""
        states = self.network.dinov2(self.prepare(images)).last_hidden_state
        token, patches = states[:, 0], states[:, 1:].mean(1)
        return token, self.network.classifier(torch.cat([token, patches], 1))


def _load(weights: str | Path | None) -> Any:
    try:
        transformers: Any = importlib.import_module("transformers")  # an optional dependency
    except ImportError as error:
        raise HQDMError(
            "the dinov2 extractor needs transformers: pip install 'hqdm[dino]', and give the "
            "folder of its weights with --fid-weights FOLDER"
        ) from error
    wanted = f"a folder of {PUBLISHED} (hf download {PUBLISHED} --local-dir FOLDER)"
    if weights is None or not Path(weights).is_dir():
        raise HQDMError(
            f"the dinov2 extractor needs its weights, got {weights}: give --fid-weights {wanted}"
        )
    cls = transformers.Dinov2ForImageClassification
    try:
        network, report = cls.from_pretrained(
            weights, local_files_only=True, output_loading_info=True
        )
    except (OSError, RuntimeError, ValueError) as error:
        raise HQDMError(
            f"{weights} does not hold DINOv2 ({first_line(error)}): expected {wanted}"
        ) from error
    if report["missing_keys"]:
        raise HQDMError(
            f"{weights} has no {min(report['missing_keys'])}: expected {wanted}, which has a "
            "linear classifier"
        )
    return network
