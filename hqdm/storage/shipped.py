"""Files that belong to the package: configurations and trained models.

They are folders of the repository, and folders inside the package where it was installed from a
wheel.
"""

from pathlib import Path

_IN_REPOSITORY = {"configs": "configs", "models": "benchmarks/models"}


def shipped(kind: str) -> Path:
    """The folder of the configurations ("configs") or of the trained models ("models")."""
    package = Path(__file__).parents[1]
    installed = package / kind
    return installed if installed.is_dir() else package.parent / _IN_REPOSITORY[kind]
