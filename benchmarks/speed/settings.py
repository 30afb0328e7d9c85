"""What applies to a whole run of the benchmark."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

SEED = 0

Report = Callable[[str], None]  # is told what is being measured
Save = Callable[[dict[str, Any]], None]  # is given the results of a section so far


@dataclass(frozen=True)
class Settings:
    """The settings of a run.

    Attributes:
        quick: Whether to run tiny sizes once, to see that everything works.
        threads: How many cores each contestant may use.
        contestants: Who takes part, names in `speed.contestants.CONTESTANTS`.
    """

    quick: bool
    threads: int
    contestants: tuple[str, ...]

    def turn(self, seconds: float) -> float:
        """How long a turn lasts; 0 is a single step."""
        return 0.0 if self.quick else seconds
