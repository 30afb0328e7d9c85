"""Training with Lightning: module, callbacks, run folder, transfer learning."""

from hqdm.training.module import DiffusionModule
from hqdm.training.optim import WarmupCosine
from hqdm.training.transfer import freeze, transfer

__all__ = ["DiffusionModule", "WarmupCosine", "freeze", "transfer"]
