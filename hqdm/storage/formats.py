"""Versions of the file formats, and migrations from older versions.

Version 3 of a model is version 2 with another default: HQConv is interleaved unless its options say
otherwise; in older files it is not. Version 2 names the network and the objective:

    {"network": {"name": "UNet", ...}, "schedule": {"name": "cosine", ...},
     "objective": {"name": "eps", "loss": "mse", "weight": {"name": "p2", ...}}}

Version 1 is for U-Nets only, with the keys `network`, `schedule`, `predict`, `loss`, `p2_gamma` and
`p2_k`.
"""

from collections.abc import Mapping
from typing import Any

from hqdm.utils.errors import HQDMError

MODEL_VERSION = 3
"""Format version of training checkpoints and exported folders."""

FIT_VERSION = 2
"""Format version of the fit that `hqdm carleman fit` writes; version 1 has no learned latents."""

MANIFEST_VERSION = 1
"""Format version of the manifest in the folder of a run."""


def check_version(header: Mapping[str, Any], newest: int, source: object) -> int:
    """The format version of a file.

    Args:
        header: The plain part of the file.
        newest: The newest version that can be read.
        source: The file, for messages.

    Raises:
        HQDMError: If the version is missing or below 1, or newer than `newest`.
    """
    version = header.get("format_version")
    if not isinstance(version, int) or isinstance(version, bool):
        raise HQDMError(f"{source} is not a file of hqdm: it states no format_version")
    if version < 1:
        raise HQDMError(
            f"{source} is damaged: it has format version {version}, expected 1 to {newest}"
        )
    if version > newest:
        raise HQDMError(
            f"{source} has format version {version}, this hqdm reads up to {newest}: upgrade hqdm"
        )
    return version


def migrate_model(config: Mapping[str, Any], version: int) -> dict[str, Any]:
    """Convert the configuration of a model to the newest version.

    Raises:
        HQDMError: If a key is missing.
    """
    if not isinstance(config, Mapping):
        raise HQDMError(f"the model configuration cannot be read: expected keys, got {config!r}")
    if version >= MODEL_VERSION:
        return dict(config)
    named = dict(config) if version >= 2 else _named(config)
    return {key: _not_interleaved(value) for key, value in named.items()}


def migrate_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of the training module by their names; `angle_lr_factor` was `angle_lr` at first."""
    return {"angle_lr_factor" if k == "angle_lr" else k: value for k, value in options.items()}


def _named(config: Mapping[str, Any]) -> dict[str, Any]:
    """Version 2 of a configuration of version 1.

    Raises:
        HQDMError: If a key is missing.
    """
    try:
        return {
            "network": {"name": "UNet", **config["network"]},
            "schedule": config["schedule"],
            "objective": {
                "name": config["predict"],
                "loss": config["loss"],
                "weight": {"name": "p2", "gamma": config["p2_gamma"], "k": config["p2_k"]},
            },
        }
    except (KeyError, TypeError) as error:
        raise HQDMError(f"the model configuration cannot be read: {error}") from None


def _not_interleaved(config: Any) -> Any:
    """A configuration whose quantum convolutions of HQConv state the gate order of version 2.

    The configuration of a quantum convolution is recognised by its keys `ansatz` and `groups`, in
    networks of any kind.
    """
    if not isinstance(config, Mapping):
        return config
    migrated = {key: _not_interleaved(value) for key, value in config.items()}
    if "groups" in migrated and migrated.get("ansatz") == "HQConv":
        options = migrated.get("ansatz_options") or {}
        migrated["ansatz_options"] = {"interleaved": False, **options}
    return migrated
