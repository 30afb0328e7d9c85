"""The division of the time among the parts.

A part may use its limit, except for what the later parts need at least; the last part has the rest.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """A part of the run: the function `run` of the module of its name.

    Attributes:
        name: The name.
        limit: The largest number of seconds; None for the rest of the time.
        least: Seconds below which the part is not started.
    """

    name: str
    limit: float | None
    least: float


PARTS = (
    Part("correctness", 80, 20),
    Part("kernel", 70, 20),
    Part("steps", 70, 20),
    Part("compiling", 110, 20),
    Part("sampling", 45, 15),
    Part("training", None, 60),
)
"""All parts, in order. A process for each takes several seconds of the time for its start."""


def seconds_for(part: Part, left: float, later: Sequence[Part]) -> float:
    """The seconds of a part, 0 if they are fewer than it needs.

    Args:
        part: The part.
        left: Seconds to the end of the run.
        later: The parts after it.
    """
    free = left - sum(other.least for other in later)
    seconds = free if part.limit is None else min(free, part.limit)
    return seconds if seconds >= part.least else 0.0
