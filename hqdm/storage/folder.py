"""Models on disk: tensors in safetensors, and a plain, versioned configuration in JSON.

    folder/model.safetensors    every parameter and buffer
    folder/config.json          {"format_version": 3, "denoiser": {...}, "requires": [...],
                                 "sha256": {"model.safetensors": ..., "denoiser": ...},
                                 "provenance": {...}}
    folder/my_circuits.py       a user's file that the model needs, if any; run only on request

Reading a folder runs no code.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict, get_type_hints

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from hqdm.storage.checkpoint import LAST
from hqdm.storage.digests import check_digest, digest, digest_of
from hqdm.storage.formats import MODEL_VERSION, check_version, migrate_model
from hqdm.storage.requirements import check_requirements, write_requirements
from hqdm.utils.checks import check_types
from hqdm.utils.errors import HQDMError, about, first_line
from hqdm.utils.files import together, write_file
from hqdm.utils.versions import provenance

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"


class Header(TypedDict, total=False):
    """The configuration file; `requires` and `sha256` are missing in files of earlier versions."""

    format_version: int
    denoiser: dict[str, Any]
    requires: list[dict[str, Any]]
    sha256: dict[str, str]


def write_folder(folder: Path, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write a model folder, including users' files that the model needs.

    Raises:
        HQDMError: If it is the folder of a run, or a file cannot be written.
    """
    check_no_run(folder)
    weights = save({k: v.detach().contiguous().cpu() for k, v in tensors.items()})
    with together():
        header = {
            "format_version": MODEL_VERSION,
            "denoiser": config,
            "requires": write_requirements(config, folder, overwrite=True),
            "sha256": {WEIGHTS_FILE: digest(weights), "denoiser": digest_of(config)},
            "provenance": provenance(),
        }
        write_file(folder / WEIGHTS_FILE, weights)
        write_file(folder / CONFIG_FILE, json.dumps(header, indent=2) + "\n")


def check_no_run(folder: Path) -> None:
    """Refuse the folder of a run, whose checkpoint a model in the same folder would hide.

    Raises:
        HQDMError: If it is one.
    """
    if (folder / LAST).exists():
        raise HQDMError(
            f"{folder} is the folder of a run, whose {LAST} the exported model would hide: name "
            "another folder"
        )


def read_folder(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read a model folder.

    Returns:
        The configuration of the denoiser, and the tensors.

    Raises:
        HQDMError: If a file is missing, damaged or from a newer version, or the model needs a
            user's definition that is not loaded.
    """
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        if not (folder / name).is_file():
            raise HQDMError(
                f"{folder} holds no {name}: expected a folder that `hqdm export` or "
                "save_pretrained wrote"
            )
    try:
        config = json.loads((folder / CONFIG_FILE).read_text())
        weights = (folder / WEIGHTS_FILE).read_bytes()
        tensors = load(weights)
    except (ValueError, RecursionError, SafetensorError) as error:  # digits, nesting, encoding
        raise HQDMError(f"{folder} is damaged ({first_line(error)}): export it again") from None
    version = check_version(config if isinstance(config, dict) else {}, MODEL_VERSION, folder)
    if "denoiser" not in config:
        raise HQDMError(f"{folder} is damaged (no denoiser in {CONFIG_FILE}): export it again")
    path = folder / CONFIG_FILE
    check_types(config, get_type_hints(Header), f"{path}: ")
    check_requirements(config.get("requires", ()), folder, folder)
    check_digest(config.get("sha256", {}).get(WEIGHTS_FILE), digest(weights), folder / WEIGHTS_FILE)
    with about(path):
        return migrate_model(config["denoiser"], version), tensors


def check_config(folder: Path) -> None:
    """Check the digest of the configuration in a model folder.

    It is checked after the model was built, so that an error in a changed value is named first.

    Raises:
        HQDMError: If the configuration differs from what was written.
    """
    path = folder / CONFIG_FILE
    config = json.loads(path.read_text())
    check_digest(config.get("sha256", {}).get("denoiser"), digest_of(config["denoiser"]), path)
