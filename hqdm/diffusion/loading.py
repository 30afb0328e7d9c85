"""Trained models from a training checkpoint, an exported folder, this package or the hub."""

from difflib import get_close_matches
from pathlib import Path
from typing import Literal, TypeVar

from hqdm.diffusion.denoiser import Denoiser
from hqdm.diffusion.model import Model
from hqdm.storage.checkpoint import LAST, PREFIXES, Checkpoint, read_checkpoint
from hqdm.storage.digests import digest
from hqdm.storage.folder import CONFIG_FILE, WEIGHTS_FILE
from hqdm.storage.hub import HUB_NAME, check_source, download_folder
from hqdm.storage.shipped import shipped
from hqdm.utils.errors import HQDMError, about

AMPLITUDE = ("qdense_digits", "qunet_digits", "uss_digits")
SHIPPED = {"mnist": "mnist_unet", **{name: name for name in AMPLITUDE}}
"""Folders of the trained models of this package by name."""

Weights = Literal["averaged", "raw"]
ModelType = TypeVar("ModelType", bound=Model)


def load_denoiser(path: str | Path, weights: Weights = "averaged") -> Denoiser:
    """The denoiser in a training checkpoint or a folder, in evaluation mode.

    Args:
        path: A path or a name, see `find_model`.
        weights: The averaged or the raw weights of a checkpoint.

    Returns:
        The denoiser, on the CPU.

    Raises:
        HQDMError: If there is no model, it cannot be read, or it is no model of images.
    """
    return load_model(path, Denoiser, weights)


def load_any(path: str | Path, weights: Weights = "averaged") -> Model:
    """The model of any kind in a training checkpoint or a folder, see `load_model`."""
    return load_model(path, Model, weights)  # type: ignore[type-abstract]  # only its `of` is used


def load_model(path: str | Path, kind: type[ModelType], weights: Weights = "averaged") -> ModelType:
    """The model in a training checkpoint or a folder, in evaluation mode.

    Args:
        path: A path or a name, see `find_model`.
        kind: The class of the model; `Model` for any kind.
        weights: The averaged or the raw weights of a checkpoint.

    Returns:
        The model, on the CPU.

    Raises:
        HQDMError: If there is no model, it cannot be read, or it is of another kind.
    """
    path = checkpoint_in(find_model(path))
    if path.is_dir():
        if not (path / CONFIG_FILE).exists():
            raise HQDMError(
                f"{path} holds no model: neither the {LAST} of a run nor the {CONFIG_FILE} of an "
                "exported one"
            )
        if weights != "averaged":
            raise HQDMError(f"{path} has one set of weights: {weights} ones are in a checkpoint")
        return kind.from_folder(path)
    if not path.exists():
        raise HQDMError(f"{_missing(path)}: expected a .ckpt file or an exported folder")
    return model_in(read_checkpoint(path), kind, weights)


def find_model(source: str | Path) -> Path:
    """The file or folder of a model.

    Args:
        source: A `.ckpt` file, the folder of a run, a folder that `hqdm export` or
            `save_pretrained` wrote, a name in `SHIPPED`, or the name of a model on the Hugging Face
            hub (`owner/name`), which is downloaded.

    Returns:
        The path, which does not exist if there is no such model.

    Raises:
        HQDMError: If it is no path and no name, looks like a name on the hub and cannot be
            downloaded, or there is a similar name here.
    """
    check_source(source)
    path = Path(source).expanduser()
    is_model = path.is_file() or any((path / name).exists() for name in (CONFIG_FILE, LAST))
    if str(source) in SHIPPED and not is_model:  # such as the folder of the data set
        return shipped("models") / SHIPPED[str(source)]
    if path.exists() or path.suffix == ".ckpt" or not HUB_NAME.fullmatch(str(source)):
        return path
    if _similar(path):  # a misspelt path
        raise HQDMError(_missing(path))
    with about(_missing(path)):
        return download_folder(str(source))


def _missing(path: Path) -> str:
    """The beginning of the message about a path that does not exist, with a similar one."""
    close = _similar(path)
    hint = f" (did you mean {str(close)!r}?)" if close else ""
    return f"there is no model {path}: neither a file nor a folder has this name{hint}"


def _similar(path: Path) -> Path | None:
    """The file or folder beside a path with the most similar name, if any."""
    try:
        names = [file.name for file in path.parent.iterdir()]
    except OSError:
        return None
    close = get_close_matches(path.name, names, n=1)
    return path.with_name(close[0]) if close else None


def checkpoint_in(path: Path) -> Path:
    """The last checkpoint if `path` is the folder of a run; any other path unchanged."""
    run = path.is_dir() and not (path / CONFIG_FILE).exists() and (path / LAST).exists()
    return path / LAST if run else path


def model_file(source: str | Path) -> Path:
    """The file with the weights of a model: a checkpoint, or that in an exported folder.

    Args:
        source: A path or a name, see `find_model`.
    """
    path = checkpoint_in(find_model(source))
    return path / WEIGHTS_FILE if path.is_dir() else path


def model_digest(source: str | Path) -> str:
    """The SHA-256 digest of the `model_file`, by which records name a model."""
    return digest(model_file(source).read_bytes())


def model_in(checkpoint: Checkpoint, kind: type[ModelType], weights: Weights) -> ModelType:
    """The model in a training checkpoint, in evaluation mode.

    Raises:
        HQDMError: If the tensors do not match the configuration, or the model is of another kind.
    """
    prefix = PREFIXES[weights]
    tensors = {
        name.removeprefix(prefix): value
        for name, value in checkpoint.tensors.items()
        if name.startswith(prefix)
    }
    found = kind.of(checkpoint.denoiser, checkpoint.source)
    return found.from_tensors(checkpoint.denoiser, tensors, checkpoint.source)
