r"""Learning-rate schedule: a linear warm-up and a half period of a cosine.

lr_k = lr min(1, (k + 1) / warmup) (1 + cos(pi min(1, k / total))) / 2      in step k
"""

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from hqdm.utils.errors import HQDMError


class WarmupCosine(LRScheduler):
    """Linear warm-up and cosine decay of the learning rate to zero; one update per step.

    Args:
        optimizer: The optimiser; its learning rate is the factor lr.
        warmup: Number of warm-up steps; 0 for none.
        total: Number of steps after which the learning rate is zero.

    Raises:
        HQDMError: If a number is out of range.
    """

    def __init__(self, optimizer: Optimizer, warmup: int, total: int) -> None:
        if warmup < 0 or total < 1:
            raise HQDMError(
                f"WarmupCosine needs warmup >= 0 and total >= 1, got {warmup} and {total}"
            )
        self.warmup, self.total = warmup, total
        super().__init__(optimizer)

    def get_lr(self) -> list[float]:  # type: ignore[override]  # torch declares float | Tensor
        """The learning rates of the current step, one per parameter group."""
        k = self.last_epoch  # torch counts updates under this name
        rise = min(1.0, (k + 1) / self.warmup) if self.warmup else 1.0
        share = rise * (1 + math.cos(math.pi * min(1.0, k / self.total))) / 2
        return [float(lr) * share for lr in self.base_lrs]
