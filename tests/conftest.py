"""What several tests share."""

import os

import pytest
import torch

# Rich and the progress bars of libraries would fill the logs.
os.environ.setdefault("TQDM_DISABLE", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")


@pytest.fixture(autouse=True)
def _seeded():
    """Every test starts from the same random state."""
    torch.manual_seed(0)


@pytest.fixture
def data_dir():
    """The folder of real data sets; tests that need it are skipped where there is none."""
    folder = os.environ.get("HQDM_DATA_DIR")
    if not folder or not os.path.isdir(folder):
        pytest.skip("HQDM_DATA_DIR names no folder of data sets")
    return folder
