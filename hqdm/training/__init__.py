"""Training with Lightning: module, callbacks, run folder, transfer learning."""

from hqdm.training.module import DiffusionModule
from hqdm.training.transfer import freeze, transfer

__all__ = ["DiffusionModule", "freeze", "transfer"]
