"""The file of a fit: tensors, and a plain header with its version and its digest (safetensors)."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from hqdm.carleman.magnus import Vector
from hqdm.diffusion.loading import checkpoint_in
from hqdm.storage.digests import check_digest, digest_of
from hqdm.storage.formats import FIT_VERSION, check_version
from hqdm.utils.errors import HQDMError
from hqdm.utils.files import write_file
from hqdm.utils.versions import provenance


def fit_path(checkpoint: Path) -> Path:
    """The file of the fit of a checkpoint, of the folder of a run, or of an exported folder."""
    name = "carleman.safetensors"
    checkpoint = checkpoint_in(checkpoint)
    return checkpoint / name if checkpoint.is_dir() else checkpoint.with_suffix(f".{name}")


def not_a_fit(path: Path, why: str) -> HQDMError:
    """The error for a file that is no fit."""
    return HQDMError(f"{path} is not a fit of `hqdm carleman fit` ({why}): fit it again")


def write_fit(path: Path, plain: Mapping[str, Any], tensors: Mapping[str, Vector]) -> None:
    """Write a file for `read_fit`.

    Args:
        path: The file.
        plain: The plain part.
        tensors: The tensors by name.
    """
    header = {"format_version": FIT_VERSION, **plain, "provenance": provenance()}
    contiguous = {key: np.ascontiguousarray(value) for key, value in tensors.items()}
    header["sha256"] = digest_of(header, contiguous)
    write_file(path, save(contiguous, metadata={"carleman": json.dumps(header)}))


def read_fit(path: Path) -> tuple[dict[str, Any], dict[str, Vector]]:
    """The plain part and the tensors of a file.

    Raises:
        HQDMError: If the file is missing, damaged or from a newer version.
    """
    if not path.is_file():
        raise HQDMError(f"there is no Carleman fit {path}: run `hqdm carleman fit` first")
    try:
        with safe_open(path, framework="numpy") as file:
            header = json.loads(file.metadata()["carleman"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, KeyError, TypeError, SafetensorError, ValueError, RecursionError) as error:
        raise not_a_fit(path, repr(error)) from None
    header = header if isinstance(header, dict) else {}
    check_version(header, FIT_VERSION, path)
    stated = header.pop("sha256", None)
    check_digest(stated, digest_of(header, tensors), path)
    return header, tensors
