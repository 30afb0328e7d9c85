"""Results of reference images that are computed once and kept on disk.

    CACHE/features/KEY.safetensors

CACHE is that of the compiled code, see `hqdm.simulators.program.cache_folder`. KEY is a digest of
everything on which a result depends: the images, the weights, options and source of the feature
extractor, the version of torch, and `CACHE_VERSION`. If the content of a file is not what was
written, it is computed anew; where no folder can be written, every process computes anew. The
folder may be removed at any time.
"""

import inspect
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

import hqdm.utils.pixels
from hqdm.metrics.distribution import Extracted, extract
from hqdm.metrics.features import FeatureExtractor
from hqdm.metrics.memorisation import training_distances
from hqdm.simulators.program.cache_folder import cache_folder
from hqdm.storage.digests import digest, digest_of
from hqdm.utils.errors import HQDMError
from hqdm.utils.files import write_file
from hqdm.utils.progress import Progress, silent

CACHE_VERSION = 1
"""Version of the results; increased if the same inputs give other ones."""

FOLDER = "features"
LIBRARIES = ("torch", "torchvision", "builtins", "abc", "typing")
"""Packages whose versions stand for their sources."""


def reference_features(
    images: Tensor, extractor: FeatureExtractor, progress: Progress = silent
) -> Extracted:
    """The features and logits of `extract`, from the disk if they are there.

    Args:
        images: Real images `(N, C, H, W)`.
        extractor: The feature extractor.
        progress: Reports the images, unless the features are on disk.
    """
    of_extractor = extractor_digest(extractor)
    key = of_extractor and _key("features", of_extractor, images=images)

    def compute() -> dict[str, Tensor]:
        features, logits = extract(images, extractor, progress, "reference features")
        return {"features": _compact(features), "logits": _compact(logits)}

    found = remembered(key, compute)
    return found["features"].double(), found["logits"].double()


def reference_distances(images: Tensor, train: Tensor, progress: Progress = silent) -> Tensor:
    """The distances of `training_distances`, from the disk if they are there.

    Args:
        images: Held-out real images `(K, C, H, W)`.
        train: Training images `(M, C, H, W)`.
        progress: Reports the training images, unless the distances are on disk.
    """

    def compute() -> dict[str, Tensor]:
        return {"distances": training_distances(images, train, progress, "held-out images")}

    return remembered(_key("distances", images=images, train=train), compute)["distances"]


def remembered(key: str | None, compute: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """The tensors that are kept under a key, or else computed and kept.

    Args:
        key: The key; None computes without keeping.
        compute: Computes the tensors.
    """
    folder = cache_folder(FOLDER) if key else None
    if folder is None:
        return compute()
    file = folder / f"{key}.safetensors"
    found = _read(file)
    if found is None:
        found = compute()
        stated = {"sha256": digest_of(None, _arrays(found))}
        with suppress(HQDMError, OSError):  # such as a full disk
            write_file(file, save(found, metadata=stated))
    return found


def _read(file: Path) -> dict[str, Tensor] | None:
    """The tensors in a file; None if there is none, or its content is not what was written."""
    try:
        with safe_open(file, "pt") as content:
            stated = content.metadata()["sha256"]
            tensors = {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118
        found = digest_of(None, _arrays(tensors))  # some dtypes have no arrays
    except (OSError, SafetensorError, KeyError, TypeError):
        return None
    return tensors if stated == found else None


def extractor_digest(extractor: FeatureExtractor) -> str | None:
    """A digest of the weights, the options and the source of an extractor.

    Returns:
        The digest; None if the source is not in a file, or an option has no value that outlasts the
        process.
    """
    options = {name: _options(module) for name, module in extractor.named_modules()}
    sources = _sources(extractor)
    if sources is None or any(" at 0x" in repr(values) for values in options.values()):
        return None
    weights = {**dict(extractor.named_parameters()), **dict(extractor.named_buffers())}
    return digest_of([repr(extractor), options, sources], _arrays(weights))


def _options(module: nn.Module) -> dict[str, str]:
    """The attributes of a module that are not those of every module."""
    common = vars(nn.Module())
    own = {key: value for key, value in vars(module).items() if key not in common}
    return {key: _text(value) for key, value in own.items()}


def _text(value: Any) -> str:
    """A value in words, without abbreviation for tensors and arrays."""
    if isinstance(value, Tensor):
        value = value.detach().cpu().numpy()
    return digest_of(None, {"": value}) if isinstance(value, np.ndarray) else repr(value)


def _sources(extractor: FeatureExtractor) -> dict[str, str] | None:
    """Digests of the files that define the classes of an extractor and convert images for it."""
    classes = {kind for module in extractor.modules() for kind in type(module).__mro__}
    names = {kind.__module__: kind for kind in classes}
    found = {"pixels": digest(inspect.getsource(hqdm.utils.pixels).encode())}
    for name, kind in sorted(names.items()):
        if name.partition(".")[0] in LIBRARIES:
            continue
        try:
            file = inspect.getsourcefile(kind)
            found[name] = digest(Path(file or "").read_bytes())
        except (OSError, TypeError):  # defined in an interactive session
            return None
    return found


def _key(kind: str, *parts: str, **images: Tensor) -> str:
    """The key of a result of images."""
    plain = [CACHE_VERSION, kind, torch.__version__, *parts]
    return digest_of(plain, _arrays(images))


def _arrays(tensors: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    """The tensors as arrays of numpy, which has no bfloat16."""
    on_cpu = {name: tensor.detach().cpu() for name, tensor in tensors.items()}
    return {
        name: (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
        for name, tensor in on_cpu.items()
    }


def _compact(values: Tensor) -> Tensor:
    """The values in single precision, if that is exact."""
    single = values.float()
    return single if torch.equal(single.double(), values) else values
