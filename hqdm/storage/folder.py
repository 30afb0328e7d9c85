"""Models on disk: tensors in safetensors, and a plain, versioned configuration in JSON.

    folder/model.safetensors    every parameter and buffer
    folder/config.json          {"format_version": 3, "denoiser": {...}, "requires": [...]}
    folder/my_circuits.py       a user's file that the model needs, if any; run only on request

Reading a folder runs no code.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from hqdm.storage.formats import MODEL_VERSION, check_version, migrate_model
from hqdm.storage.requirements import check_requirements, write_requirements
from hqdm.utils.errors import HQDMError, first_line

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"


def write_folder(folder: Path, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write a model folder, including users' files that the model needs."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({k: v.detach().contiguous().cpu() for k, v in tensors.items()}, folder / WEIGHTS_FILE)
    header = {
        "format_version": MODEL_VERSION,
        "denoiser": config,
        "requires": write_requirements(config, folder, overwrite=True),
    }
    (folder / CONFIG_FILE).write_text(json.dumps(header, indent=2) + "\n")


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
            raise HQDMError(f"{folder} holds no {name}: expected a folder that `hqdm export` wrote")
    try:
        config = json.loads((folder / CONFIG_FILE).read_text())
        tensors = load_file(folder / WEIGHTS_FILE)
    except (json.JSONDecodeError, UnicodeDecodeError, SafetensorError) as error:
        raise HQDMError(f"{folder} is damaged ({first_line(error)}): export it again") from None
    version = check_version(config if isinstance(config, dict) else {}, MODEL_VERSION, folder)
    if "denoiser" not in config:
        raise HQDMError(f"{folder} is damaged (no model in {CONFIG_FILE}): export it again")
    check_requirements(config.get("requires", ()), folder, folder)
    return migrate_model(config["denoiser"], version), tensors
