"""Versions of the file formats, and what reads the older ones."""

from collections.abc import Mapping
from typing import Any

from hqdm.utils.errors import HQDMError

FORMAT_VERSION = 1


def check_version(config: Mapping[str, Any], source: object) -> None:
    """Refuse what this version cannot read.

    Raises:
        HQDMError: If the version is missing or newer than `FORMAT_VERSION`.
    """
    version = config.get("format_version")
    if not isinstance(version, int):
        raise HQDMError(f"{source} is not an hqdm model: it states no format_version")
    if version > FORMAT_VERSION:
        raise HQDMError(
            f"{source} has format version {version}, this hqdm reads up to {FORMAT_VERSION}: "
            "upgrade hqdm"
        )
