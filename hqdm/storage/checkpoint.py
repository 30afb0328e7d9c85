"""Training checkpoints: `.ckpt` files, read with `weights_only=True`.

A checkpoint contains the averaged weights (`ema.module.*`), the raw weights (`denoiser.*`) and the
state that resumes the run; the key "hqdm" has the plain configuration,

    {"format_version": 3, "denoiser": {...}, "requires": [...], "module": {...}, "seed": ...}.
"""

import pickle
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch

from hqdm.storage.formats import MODEL_VERSION, check_version, migrate_model
from hqdm.storage.requirements import check_requirements
from hqdm.utils.errors import HQDMError

CHECKPOINT_KEY = "hqdm"
"""The key of the plain configuration in a training checkpoint."""

# Exceptions of torch.load for files that are truncated, of another format, or unsafe.
_UNREADABLE = (
    *(RuntimeError, EOFError, OSError, KeyError, ValueError, AttributeError, IndexError, TypeError),
    *(pickle.UnpicklingError, zipfile.BadZipFile),
)

PREFIXES = {"averaged": "ema.module.", "raw": "denoiser."}

LAST = "last.ckpt"
"""Name of the checkpoint that resumes a run, in the folder of the run."""


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a training checkpoint without running code that it may contain.

    Raises:
        HQDMError: If the file is missing, damaged, not written by hqdm or from a newer version, or
            the model needs a user's definition that is not loaded.
    """
    if not path.is_file():
        raise HQDMError(f"there is no checkpoint {path}: expected a file that `hqdm fit` wrote")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # errors in the file are reported below
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        unsafe = "unsupported global" in str(error).lower()
        reason = "it holds more than tensors" if unsafe else "it is damaged"
        raise HQDMError(
            f"{path} is not a whole checkpoint of `hqdm fit` ({reason}): use another one"
        ) from None
    own = checkpoint.get(CHECKPOINT_KEY) if isinstance(checkpoint, dict) else None
    own = own if isinstance(own, dict) else {}
    version = check_version(own, MODEL_VERSION, path)
    check_requirements(own.get("requires", ()), path.parent, path)
    if "denoiser" in own:
        own["denoiser"] = migrate_model(own["denoiser"], version)
    return checkpoint
