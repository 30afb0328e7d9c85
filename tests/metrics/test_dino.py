"""DINOv2: its inputs, its features, and what is refused; a small network stands in for it."""

import sys

import numpy as np
import pytest
import torch
from PIL import Image

from hqdm.metrics.cache import extractor_digest
from hqdm.metrics.dino import DEVIATION, MEAN, SIZE
from hqdm.metrics.features import load_extractor
from hqdm.utils.errors import HQDMError
from hqdm.utils.pixels import to_float

HIDDEN = 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A DINOv2 of random weights with two layers, as `transformers` saves it."""
    from transformers import Dinov2Config, Dinov2ForImageClassification

    config = Dinov2Config(
        hidden_size=HIDDEN,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=SIZE,
        patch_size=56,
        num_labels=5,
    )
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("dinov2")
    Dinov2ForImageClassification(config).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def images():
    return torch.rand(3, 1, 28, 28, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_features_are_the_class_token(folder, images):
    extractor = load_extractor("dinov2", folder)
    features, logits = extractor.features_and_logits(images)
    found = extractor.network(extractor.prepare(images), output_hidden_states=True)
    token = extractor.network.dinov2.layernorm(found.hidden_states[-1])[:, 0]
    assert features.shape == (3, HIDDEN) == (3, extractor.num_features)
    torch.testing.assert_close(features, token)
    torch.testing.assert_close(logits, found.logits)
    assert not any(p.requires_grad for p in extractor.parameters())
    assert extractor_digest(extractor) is not None  # so that features are kept


def test_input_is_that_of_imagenet(folder):
    # Levels of which no interpolated one is clipped, as Pillow does after each direction.
    colour = np.random.default_rng(0).integers(80, 176, (32, 32, 3), dtype=np.uint8)
    smooth = Image.fromarray(colour).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    expected = torch.from_numpy(np.array(smooth) / 255).permute(2, 0, 1)
    expected = (expected - torch.tensor(MEAN)[:, None, None]) / torch.tensor(DEVIATION)[
        :, None, None
    ]
    x = to_float(torch.from_numpy(colour).permute(2, 0, 1)[None])
    prepared = load_extractor("dinov2", folder).prepare(x)[0].double()
    # Pillow rounds to whole levels in each direction, 1 / 255 by a deviation from 0.224.
    assert (prepared - expected).abs().max() < 1.5 / 255 / min(DEVIATION)


def test_refuses_other_weights(tmp_path, folder):
    with pytest.raises(HQDMError, match="got None: give --fid-weights a folder of facebook/dino"):
        load_extractor("dinov2")
    with pytest.raises(HQDMError, match="needs its weights, got /nowhere"):
        load_extractor("dinov2", "/nowhere")
    with pytest.raises(HQDMError, match="does not hold DINOv2"):
        load_extractor("dinov2", tmp_path)


def test_refuses_a_model_without_classifier(tmp_path, folder):
    from transformers import Dinov2ForImageClassification

    Dinov2ForImageClassification.from_pretrained(folder).dinov2.save_pretrained(tmp_path)
    with pytest.raises(HQDMError, match="classifier"):
        load_extractor("dinov2", tmp_path)


def test_names_the_extra(monkeypatch, folder):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(HQDMError, match=r"pip install 'hqdm\[dino\]'"):
        load_extractor("dinov2", folder)
