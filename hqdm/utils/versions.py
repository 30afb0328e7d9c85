"""The software versions and the machine on which a measurement was made."""

import platform

import lightning
import pennylane
import torch

from hqdm import __version__


def versions() -> dict[str, str]:
    """The software versions and the machine, by name."""
    return {
        "hqdm": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "pennylane": pennylane.__version__,
        "lightning": lightning.__version__,
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
    }
