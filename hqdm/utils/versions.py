"""The versions and the machine that a measured figure depends on."""

import platform

import lightning
import pennylane
import torch

from hqdm import __version__


def versions() -> dict[str, str]:
    """The versions and the machine that a figure depends on."""
    return {
        "hqdm": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "pennylane": pennylane.__version__,
        "lightning": lightning.__version__,
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
    }
