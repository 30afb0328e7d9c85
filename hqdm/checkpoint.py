"""Trained models from disk, whichever way they were saved.

A training checkpoint (`.ckpt`, read with `weights_only=True`) holds the averaged weights, the raw
ones and everything that resumes the run; an exported folder holds one set of weights.
"""

import pickle
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch

from hqdm.denoiser import Denoiser
from hqdm.errors import HQDMError
from hqdm.storage import check_version

CHECKPOINT_KEY = "hqdm"
"""The key of a training checkpoint under which the plain configuration stands."""

# What torch.load raises for files that are cut short, foreign or unsafe.
_UNREADABLE = (
    *(RuntimeError, EOFError, OSError, KeyError, ValueError, AttributeError, IndexError, TypeError),
    *(pickle.UnpicklingError, zipfile.BadZipFile),
)

PREFIXES = {"averaged": "ema.module.", "raw": "denoiser."}


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a training checkpoint without running any code it may hold.

    Raises:
        HQDMError: If the file is missing, damaged, not ours or from a newer version.
    """
    if not path.is_file():
        raise HQDMError(f"there is no checkpoint {path}: expected a file that `hqdm fit` wrote")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is odd about a file is said below
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        unsafe = "unsupported global" in str(error).lower()
        reason = "it holds more than tensors" if unsafe else "it is damaged"
        raise HQDMError(
            f"{path} is not a whole checkpoint of `hqdm fit` ({reason}): use another one"
        ) from None
    own = checkpoint.get(CHECKPOINT_KEY) if isinstance(checkpoint, dict) else None
    check_version(own if isinstance(own, dict) else {}, path)
    return checkpoint


def load_denoiser(path: str | Path, weights: Literal["averaged", "raw"] = "averaged") -> Denoiser:
    """The denoiser in a training checkpoint or an exported folder, in evaluation mode.

    Args:
        path: A `.ckpt` file, or a folder that `hqdm export` or `save_pretrained` wrote.
        weights: Which weights of a checkpoint.

    Returns:
        The denoiser, on the CPU.

    Raises:
        HQDMError: If nothing usable is there.
    """
    path = Path(path)
    if path.is_dir():
        return Denoiser.from_folder(path).eval()
    if not path.exists():
        raise HQDMError(f"there is no model {path}: expected a .ckpt file or an exported folder")
    return denoiser_in(read_checkpoint(path), path, weights)


def denoiser_in(
    checkpoint: Mapping[str, Any], path: Path, weights: Literal["averaged", "raw"]
) -> Denoiser:
    """The denoiser in a training checkpoint that `read_checkpoint` read from `path`.

    Raises:
        HQDMError: If something is missing, or tensors do not fit the configuration.
    """
    try:
        config, state = checkpoint[CHECKPOINT_KEY]["denoiser"], checkpoint["state_dict"]
    except KeyError as error:
        raise HQDMError(f"{path} is not a whole checkpoint: it holds no {error}") from None
    denoiser = Denoiser.from_config(config)
    prefix = PREFIXES[weights]
    tensors = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    denoiser.load_tensors(tensors, path)
    return denoiser.eval()
