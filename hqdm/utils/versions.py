"""The version of this package, and the versions and the machine behind a measured figure."""

import platform

VERSION = "0.1.0"


def versions() -> dict[str, str]:
    """The versions and the machine, for reports."""
    import lightning  # slow to import, and `hqdm --version` does not need it
    import pennylane
    import torch

    return {
        "hqdm": VERSION,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "pennylane": pennylane.__version__,
        "lightning": lightning.__version__,
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
    }
