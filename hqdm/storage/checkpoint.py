"""Trained models from disk, whichever way they were saved.

A training checkpoint (`.ckpt`, read with `weights_only=True`) holds the averaged weights, the raw
ones and everything that resumes the run; an exported folder holds one set of weights.
"""

import pickle
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch

from hqdm.storage.formats import check_version
from hqdm.utils.errors import HQDMError

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
