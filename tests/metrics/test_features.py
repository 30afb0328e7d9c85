"""Feature extractors: their inputs, their layers, and the documented accuracies."""

import copy
import os
import pickle
import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from marks import thinned
from PIL import Image
from torch import nn

from hqdm.data.images import load_images
from hqdm.metrics import features
from hqdm.metrics.features import (
    CLASSIFIERS,
    ClassifierExtractor,
    as_float,
    extractor_for,
    load_extractor,
    match_channels,
    metadata,
    weights_path,
)
from hqdm.utils.errors import HQDMError
from hqdm.utils.pixels import to_float, to_uint8

DATA_DIR = os.environ.get("HQDM_DATA_DIR")
SHAPES = {
    "digits": (1, 8, 64),
    "mnist": (1, 28, 64),
    "fashion_mnist": (1, 28, 64),
    "cifar10": (3, 32, 128),
}


def noise(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


# --- the input of an extractor --------------------------------------------------------------------


def test_as_float_maps_uint8_and_clamps_floats():
    levels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    assert torch.equal(as_float(levels), to_float(levels))
    x = torch.tensor([-3.0, -0.5, 0.25, 2.0], dtype=torch.float64).view(1, 1, 2, 2)
    assert as_float(x).dtype == torch.float32
    assert as_float(x).flatten().tolist() == [-1, -0.5, 0.25, 1]


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(1, 8, 8), "shape .1, 8, 8."),
        (torch.zeros(1, 2, 8, 8), "1 or 3"),
        (torch.zeros(1, 1, 8, 8, dtype=torch.int64), "int64"),
        (torch.full((1, 1, 8, 8), torch.nan), "finite"),
    ],
)
def test_as_float_refuses(images, message):
    with pytest.raises(HQDMError, match=message):
        as_float(images)


def test_match_channels_agrees_with_pillow():
    colour = np.random.default_rng(0).integers(0, 256, (5, 4, 3), dtype=np.uint8)
    x = to_float(torch.from_numpy(colour).permute(2, 0, 1)[None])
    grey = np.array(Image.fromarray(colour).convert("L"))
    # Pillow rounds to whole levels.
    assert (match_channels(x, 1)[0, 0] - to_float(torch.from_numpy(grey))).abs().max() < 1 / 127
    assert torch.equal(match_channels(x, 3), x)
    assert torch.equal(match_channels(x[:, :1], 3), x[:, :1].repeat(1, 3, 1, 1))


def test_prepare_resizes_as_pillow_does():
    extractor = load_extractor("digits")
    x = np.random.default_rng(0).integers(0, 256, (28, 28), dtype=np.uint8)
    expected = np.array(Image.fromarray(x).resize((8, 8), Image.Resampling.BILINEAR))
    prepared = extractor.prepare(torch.from_numpy(x)[None, None])
    # Both filter with the antialiased triangle; Pillow rounds once in each direction.
    assert (prepared[0, 0] - to_float(torch.from_numpy(expected))).abs().max() < 1.5 / 127.5
    at_home = noise(2, 1, 8, 8)
    assert torch.equal(extractor.prepare(at_home), at_home)


# --- the classifiers ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_shipped_extractor(name):
    extractor = load_extractor(name)
    channels, size, width = SHAPES[name]
    came = (extractor.name, extractor.channels, extractor.size, extractor.num_features)
    assert came == (name, channels, size, width)
    assert not extractor.training
    assert not any(p.requires_grad for p in extractor.parameters())
    assert weights_path(name).stat().st_size < 1_000_000
    for shape in ((3, 1, 28, 28), (3, 3, 32, 32), (3, 3, 8, 8)):
        x = noise(*shape)
        both = extractor.features_and_logits(x)
        assert [tuple(y.shape) for y in both] == [(3, width), (3, 10)]
        assert both[0].dtype == torch.float32
        assert torch.equal(extractor(x), both[0])
        assert torch.equal(extractor.logits(x), both[1])


@settings(deadline=None, max_examples=10)
@given(st.permutations(range(5)), st.integers(0, 1000))
def test_images_are_independent(order, seed):
    extractor = load_extractor("digits")
    x = noise(5, 1, 8, 8, seed=seed)
    # Single precision over about a thousand additions, on features of size about 1.
    assert torch.allclose(extractor(x[order]), extractor(x)[order], atol=1e-4)
    assert torch.allclose(extractor(x[:1]), extractor(x)[:1], atol=1e-4)


def test_classifier_is_the_documented_network():
    torch.manual_seed(0)
    model = ClassifierExtractor("mine", size=8, channels=1, widths=(2, 3), n_classes=4)
    x = noise(2, 1, 8, 8)
    y = x
    convolutions = [layer for layer in model.body if isinstance(layer, nn.Conv2d)]
    shapes = [(c.in_channels, c.out_channels) for c in convolutions]
    assert shapes == [(1, 2), (2, 2), (2, 3), (3, 3)]
    for i, conv in enumerate(convolutions):
        if i == 2:
            y = y.view(2, 2, 4, 2, 4, 2).amax((3, 5))
        y = torch.conv2d(y, conv.weight, conv.bias, padding=1).clamp_min(0)
    expected = y.flatten(2).mean(2)
    assert torch.allclose(model(x), expected, atol=1e-6)
    assert torch.allclose(model.logits(x), expected @ model.head.weight.T + model.head.bias)


def test_extractor_copies_and_pickles():
    extractor = load_extractor("digits")
    x = noise(2, 1, 8, 8)
    for other in (copy.deepcopy(extractor), pickle.loads(pickle.dumps(extractor))):
        assert torch.equal(other(x), extractor(x))
        assert other.name == "digits"


@pytest.mark.parametrize("name", thinned(CLASSIFIERS, every=4))
def test_shipped_accuracy(name):
    if name != "digits" and (DATA_DIR is None or not Path(DATA_DIR, name).is_dir()):
        pytest.skip(f"HQDM_DATA_DIR holds no {name}")
    n = 2000
    data = load_images(name, "test", limit=n, offline=True)
    extractor = load_extractor(name)
    logits = torch.cat([extractor.logits(x) for x in data.images.split(250)])
    accuracy = (logits.argmax(1) == data.labels).double().mean().item()
    stated, n_test = float(metadata(name)["test_accuracy"]), int(metadata(name)["n_test"])
    if n_test <= n:
        # All images: one may fall on the other side of a tie on another machine.
        assert abs(accuracy - stated) < 1.5 / n_test
    else:
        # A part of the images: four standard deviations of the sampled accuracy.
        assert abs(accuracy - stated) < 4 * (stated * (1 - stated) / n) ** 0.5


def test_accuracies_are_high_enough_to_be_a_yardstick():
    least = {"digits": 0.97, "mnist": 0.99, "fashion_mnist": 0.9, "cifar10": 0.7}
    assert all(float(metadata(name)["test_accuracy"]) > least[name] for name in CLASSIFIERS)


def test_documented_accuracies_are_those_of_the_files():
    docs = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
    for name in CLASSIFIERS:
        row = re.search(rf"^\| `{name}` \|(.*)\|$", docs, re.MULTILINE)
        assert row is not None
        assert f"{float(metadata(name)['test_accuracy']):.2%}" in row[1]


# --- choosing one ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "size", "channels", "expected"),
    [
        ("digits", 8, 1, "digits"),
        ("digits", 28, 1, "digits"),
        ("mnist", 8, 1, "mnist"),
        ("ylecun/mnist", 28, 1, "mnist"),
        ("zalando-datasets/fashion_mnist", 8, 1, "fashion_mnist"),
        ("cifar10", 28, 1, "cifar10"),
        ("someone/birds", 64, 3, "cifar10"),
        ("someone/birds", 64, 1, "fashion_mnist"),
        ("someone/birds", 8, 1, "digits"),
    ],
)
def test_extractor_for(data, size, channels, expected):
    assert extractor_for(data, size, channels) == expected


def test_unknown_extractor():
    with pytest.raises(HQDMError, match=r"unknown extractor 'mnits'.*did you mean 'mnist'"):
        load_extractor("mnits")


# --- Inception ------------------------------------------------------------------------------------


class FakeInception(nn.Module):
    """Stands in for torch-fidelity's network, which is not installed for tests."""

    def __init__(self, name, features_list, feature_extractor_weights_path):
        super().__init__()
        assert (name, features_list) == ("inception-v3-compat", ["2048", "logits_unbiased"])
        if Path(feature_extractor_weights_path).read_text() != "good":
            raise RuntimeError("size mismatch\nfor many layers")
        self.seen = None

    def forward(self, x):
        self.seen = x
        return torch.ones(len(x), 2048), torch.zeros(len(x), 1008)


@pytest.fixture
def torch_fidelity(monkeypatch):
    module = types.ModuleType("torch_fidelity.feature_extractor_inceptionv3")
    module.FeatureExtractorInceptionV3 = FakeInception
    monkeypatch.setitem(sys.modules, "torch_fidelity", types.ModuleType("torch_fidelity"))
    monkeypatch.setitem(sys.modules, module.__name__, module)


def test_inception_without_its_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    with pytest.raises(HQDMError, match=r"pip install 'hqdm\[fid\]'.*--fid-weights PATH"):
        load_extractor("inception")


@pytest.mark.usefixtures("torch_fidelity")
def test_inception_without_its_weights(tmp_path):
    with pytest.raises(HQDMError, match="--fid-weights PATH"):
        load_extractor("inception")
    with pytest.raises(HQDMError, match=f"nowhere.*{features.INCEPTION_FILE}"):
        load_extractor("inception", tmp_path / "nowhere")
    (tmp_path / "other").write_text("bad")
    with pytest.raises(HQDMError, match=r"other does not hold the weights[^\n]*$"):
        load_extractor("inception", tmp_path / "other")


@pytest.mark.usefixtures("torch_fidelity")
def test_inception_receives_uint8_colour_in_the_original_size(tmp_path):
    (tmp_path / "weights").write_text("good")
    extractor = load_extractor("inception", tmp_path / "weights")
    x = noise(2, 1, 28, 28)
    both = extractor.features_and_logits(x)
    assert [tuple(y.shape) for y in both] == [(2, extractor.num_features), (2, 1008)]
    assert torch.equal(extractor.network.seen, to_uint8(x).repeat(1, 3, 1, 1))


def test_a_registered_extractor_is_loaded_by_name(monkeypatch):
    monkeypatch.setattr(features.EXTRACTORS, "_entries", dict(features.EXTRACTORS))

    @features.register_extractor("means")
    class Means(features.FeatureExtractor):
        """The mean of each row, and of the whole, as logits."""

        def __init__(self, weights):
            super().__init__("means", num_features=4, size=4, channels=1)

        def features_and_logits(self, images):
            rows = self.prepare(images).mean(dim=(1, 3))
            return rows, rows.mean(dim=1, keepdim=True)

    extractor = load_extractor("means")
    x = torch.linspace(-1, 1, 16).view(1, 1, 4, 4)
    torch.testing.assert_close(extractor(x), x.mean(dim=(1, 3)))
    assert features.extractor_for("means", 28, 1) == "means"
    assert not extractor.training
