"""Trained denoisers from disk: from a training checkpoint or from an exported folder."""

from pathlib import Path
from typing import Literal

from hqdm.diffusion.denoiser import Denoiser
from hqdm.storage.checkpoint import LAST, PREFIXES, Checkpoint, read_checkpoint
from hqdm.storage.folder import CONFIG_FILE
from hqdm.utils.errors import HQDMError


def load_denoiser(path: str | Path, weights: Literal["averaged", "raw"] = "averaged") -> Denoiser:
    """The denoiser in a training checkpoint or a folder, in evaluation mode.

    Args:
        path: A `.ckpt` file, the folder of a run, or a folder that `hqdm export` or
            `save_pretrained` wrote.
        weights: The averaged or the raw weights of a checkpoint.

    Returns:
        The denoiser, on the CPU.

    Raises:
        HQDMError: If there is no model, or it cannot be read.
    """
    path = checkpoint_in(Path(path))
    if path.is_dir():
        return Denoiser.from_folder(path).eval()
    if not path.exists():
        raise HQDMError(f"there is no model {path}: expected a .ckpt file or an exported folder")
    return denoiser_in(read_checkpoint(path), weights)


def checkpoint_in(path: Path) -> Path:
    """The last checkpoint if `path` is the folder of a run; any other path unchanged."""
    run = path.is_dir() and not (path / CONFIG_FILE).exists() and (path / LAST).exists()
    return path / LAST if run else path


def denoiser_in(checkpoint: Checkpoint, weights: Literal["averaged", "raw"]) -> Denoiser:
    """The denoiser in a training checkpoint, in evaluation mode.

    Raises:
        HQDMError: If the tensors do not match the configuration.
    """
    denoiser = Denoiser.from_config(checkpoint.denoiser)
    prefix = PREFIXES[weights]
    tensors = {
        name.removeprefix(prefix): value
        for name, value in checkpoint.tensors.items()
        if name.startswith(prefix)
    }
    denoiser.load_tensors(tensors, checkpoint.source)
    return denoiser.eval()
