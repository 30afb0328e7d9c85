"""The file of a fitted grid: its times, and the settings and errors of the fit."""

import json
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hqdm.diffusion.schedule import Schedule, schedule_config
from hqdm.storage.digests import check_digest, plain_digest
from hqdm.utils.errors import HQDMError
from hqdm.utils.files import write_file
from hqdm.utils.versions import provenance


@dataclass(frozen=True)
class OptimisedGrid:
    """A fitted grid and the settings of the fit.

    Attributes:
        sampler: Name of the sampler.
        steps: Number of steps.
        schedule: Configuration of the noise schedule.
        times: The grid, from 1 to 0.
        before: Root mean square distance from the reference, on other noise, of the grid uniform in
            lambda.
        after: The same distance of this grid.
        n: Number of images of the fit, and of the other images on which distances are measured.
        seed: Random seed.
        trials: Number of grids tried; 1 if dynamic programming found the grid.
        method: A key of `hqdm.samplers.optimised.METHODS`; files without it are of Powell's method.
    """

    sampler: str
    steps: int
    schedule: dict[str, Any]
    times: list[float]
    before: float
    after: float
    n: int
    seed: int
    trials: int
    method: str = "powell"

    def write(self, path: Path) -> None:
        """Write a JSON file for `read_grid`."""
        content = {**asdict(self), "provenance": provenance()}
        content["sha256"] = plain_digest(content)
        write_file(path, json.dumps(content, indent=2) + "\n")


def read_grid(path: Path, sampler: str, schedule: Schedule) -> list[float]:
    """The times in a file that `OptimisedGrid.write` wrote.

    Args:
        path: The file.
        sampler: Name of the sampler; a warning is issued if the grid was fitted for another one.
        schedule: The schedule of the model, which must equal that of the file.

    Raises:
        HQDMError: If the file is missing or damaged, or the grid was fitted for another schedule.
    """
    if not path.is_file():
        raise HQDMError(f"there is no grid {path}: expected a file of `hqdm optimise-grid`")
    try:
        content = json.loads(path.read_text())
        stated, found = content.pop("sha256", None), plain_digest(content)
        content.pop("provenance", None)
        grid = OptimisedGrid(**content)
        times = [float(time) for time in grid.times]
    except (OSError, ValueError, TypeError, AttributeError):
        raise HQDMError(f"{path} is not a grid of `hqdm optimise-grid`: use another file") from None
    check_digest(stated, found, path)
    own = schedule_config(schedule)
    if grid.schedule != own:
        raise HQDMError(f"{path} was fitted for the schedule {grid.schedule}, the model has {own}")
    if grid.sampler != sampler:
        warnings.warn(
            f"{path} was fitted for {grid.sampler} and may be less accurate with {sampler}",
            UserWarning,
            stacklevel=2,
        )
    return times
