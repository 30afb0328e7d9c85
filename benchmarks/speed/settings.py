"""The settings of a run of the benchmark."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

SEED = 0

Report = Callable[[str], None]  # called with a description of each measurement
Save = Callable[[dict[str, Any]], None]  # called with the results of a section so far


@dataclass(frozen=True)
class Settings:
    """The settings of a run.

    Attributes:
        quick: Run tiny sizes once, as a test.
        threads: Number of threads of each contestant.
        contestants: Names in `speed.contestants.CONTESTANTS`.
    """

    quick: bool
    threads: int
    contestants: tuple[str, ...]

    def turn(self, seconds: float) -> float:
        """The duration of a turn; 0 is a single step."""
        return 0.0 if self.quick else seconds
