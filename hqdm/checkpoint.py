"""Trained models from disk, whichever way they were saved.

A training checkpoint (`.ckpt`, read with `weights_only=True`) holds the averaged weights, the raw
ones and everything that resumes the run; an exported folder holds one set of weights.
"""

import pickle
import zipfile
from pathlib import Path
from typing import Any, Literal

import torch

from hqdm.denoiser import Denoiser
from hqdm.errors import HQDMError
from hqdm.storage import check_version

CHECKPOINT_KEY = "hqdm"
"""The key of a training checkpoint under which the plain configuration stands."""

PREFIXES = {"averaged": "ema.module.", "raw": "denoiser."}


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a training checkpoint without running any code it may hold.

    Raises:
        HQDMError: If the file is missing, damaged, not ours or from a newer version.
    """
    if not path.is_file():
        raise HQDMError(f"there is no checkpoint {path}: expected a .ckpt file or an export folder")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError, zipfile.BadZipFile, KeyError) as error:
        reason = str(error).splitlines()[0][:80] if str(error) else type(error).__name__
        raise HQDMError(
            f"{path} is not a whole checkpoint ({reason}): use another, such as best.ckpt"
        ) from None
    own = checkpoint.get(CHECKPOINT_KEY, {}) if isinstance(checkpoint, dict) else {}
    check_version(own, path)
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
    checkpoint = read_checkpoint(path)
    denoiser = Denoiser.from_config(checkpoint[CHECKPOINT_KEY]["denoiser"])
    prefix = PREFIXES[weights]
    state = checkpoint["state_dict"]
    tensors = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    denoiser.load_tensors(tensors, path)
    return denoiser.eval()
