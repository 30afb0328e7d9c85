"""The settings of a part, and measurements on a device."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from device.record import Row, one_line

WARM_UP = 3


@dataclass(frozen=True)
class Context:
    """The settings of a part.

    Attributes:
        device: The device.
        quick: Run tiny sizes, as a test.
        seed: The random seed.
        deadline: When the part ends, as `time.monotonic`.
    """

    device: torch.device
    quick: bool
    seed: int
    deadline: float

    @property
    def left(self) -> float:
        """Seconds to the end of the part."""
        return self.deadline - time.monotonic()

    def wait(self) -> None:
        """Wait for the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def median(self, function: Callable[[], object], seconds: float = 2.0) -> float:
        """The median duration of a call, of calls within some seconds after a warm-up.

        The device is waited for after each call. A quick run measures one call.
        """
        for _ in range(1 if self.quick else WARM_UP):
            function()
        self.wait()
        durations: list[float] = []
        while not durations or (not self.quick and sum(durations) < seconds):
            started = time.perf_counter()
            function()
            self.wait()
            durations.append(time.perf_counter() - started)
        return statistics.median(durations)

    def attempt(self, row: Row, measure: Callable[[], Row]) -> Row:
        """A row with the results of a measurement, or with the reason why there are none."""
        if self.left <= 0:
            return {**row, "failure": "no time left"}
        try:
            return {**row, **measure()}
        except Exception as error:
            if self.device.type == "cuda" and isinstance(error, torch.OutOfMemoryError):
                torch.cuda.empty_cache()
            return {**row, "failure": one_line(error)}


def checked(error: float, tolerance: float) -> Row:
    """The columns of a comparison; a failure if the error is larger than the tolerance."""
    row: Row = {"error": error, "tolerance": tolerance}
    if not error <= tolerance:  # also if it is not a number
        row["failure"] = f"the error {error:.2g} is larger than {tolerance:.2g}"
    return row
