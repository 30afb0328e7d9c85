"""The check that the training loss is finite, which does not wait for a GPU.

Reading a loss waits until the GPU has computed it, which then has no work while the host prepares
the next step. On a GPU the loss is copied when it is known, and read at the next step or before a
checkpoint is saved: no checkpoint has weights that followed from a loss that is not finite.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from hqdm.utils.errors import HQDMError
from hqdm.utils.memory import Arriving


class Diverged(HQDMError):
    """The training loss is not finite."""


@dataclass(frozen=True)
class _Pending:
    """A loss that was not read yet."""

    loss: Arriving
    step: int
    rate: Callable[[], float]


class LossCheck:
    """Refuses losses that are not finite."""

    def __init__(self) -> None:
        self._pending: _Pending | None = None

    def __getstate__(self) -> dict[str, None]:
        """The state of a copy, which does not report the loss again."""
        return {"_pending": None}

    def add(self, loss: Tensor, step: int, rate: Callable[[], float]) -> None:
        """Check the previous loss; check this one on the CPU now, on a GPU at the next call.

        Args:
            loss: The loss, a scalar.
            step: The step.
            rate: Returns the learning rate, for the message.

        Raises:
            Diverged: If a loss is not finite.
        """
        self.end()
        self._pending = _Pending(Arriving(loss), step, rate)
        if loss.device.type == "cpu":
            self.end()

    def end(self) -> None:
        """Check the last loss.

        Raises:
            Diverged: If it is not finite.
        """
        if self._pending is None:
            return
        pending, self._pending = self._pending, None
        value = float(pending.loss.get())
        if not math.isfinite(value):
            raise Diverged(
                f"the loss is {value} at step {pending.step}: lower the learning rate "
                f"(now {pending.rate():g}), and start again or --resume a checkpoint"
            )
