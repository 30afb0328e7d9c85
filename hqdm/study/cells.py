"""The cells of a study: one training with one random seed, its scores, and the file of both.

    FOLDER/results/DIGEST.json   configuration, parameters, learning curve and scores of a cell
    FOLDER/cells/DIGEST/         the run, as `hqdm fit` writes it

The digest is that of the resolved configuration: models with the same configuration share their
cells, and a study that is changed trains only what is new.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hqdm.storage.digests import check_digest, digest_of, plain_digest
from hqdm.storage.formats import check_version
from hqdm.study.file import Layer, words
from hqdm.study.scores.protocol import Protocol, Samples
from hqdm.training.base import LR
from hqdm.utils.errors import HQDMError
from hqdm.utils.files import write_file

RESULT_VERSION = 1
NAME_LENGTH = 20  # hexadecimal digits
WITHOUT_EFFECT = ("offline", "checkpoint_every", "sample_every", "plugins")
"""Keys of `hqdm fit` on which the results do not depend."""


@dataclass(frozen=True)
class Cell:
    """One training with one random seed.

    Attributes:
        name: What it is called in messages.
        arguments: Arguments of `hqdm fit`.
        settings: The resolved configuration.
        scores: Names of the scores.
        samples: How samples are drawn.
    """

    name: str
    arguments: tuple[str, ...] = field(repr=False)
    settings: Mapping[str, Any] = field(repr=False)
    scores: tuple[str, ...]
    samples: Samples

    @property
    def key(self) -> str:
        """The name of its files, the first digits of its digest."""
        settings = {k: value for k, value in self.settings.items() if k not in WITHOUT_EFFECT}
        return digest_of(settings)[:NAME_LENGTH]

    @property
    def steps(self) -> int:
        """Number of training steps."""
        return int(self.settings["trainer"]["max_steps"])

    @property
    def protocol(self) -> Protocol:
        """The settings of its scores."""
        return Protocol(self.settings["data"], self.settings["seed_everything"], self.samples)


def training_keys(seed: int, steps: int) -> dict[str, Any]:
    """The keys of `hqdm fit` that a study sets."""
    length = {"max_steps": steps, "max_epochs": -1, "enable_progress_bar": False}
    return {"seed_everything": seed, "trainer": length, "sample_every": 0}


def rate_keys(settings: Mapping[str, Any], rate: float | None) -> dict[str, Any]:
    """The keys that set the learning rate of a configuration; none to keep it.

    Args:
        settings: The resolved configuration, whose optimiser gets the rate.
        rate: The learning rate, or None.
    """
    if rate is None:
        return {}
    optimizer = settings["model"].get("optimizer")
    if optimizer is None:
        return {"model": {"lr": rate}}
    options = {**optimizer.get("init_args", {}), "lr": rate}
    return {"model": {"optimizer": {**optimizer, "init_args": options}}}


def learning_rate(settings: Mapping[str, Any]) -> float | None:
    """The learning rate in a resolved configuration; None for the default of an optimiser."""
    model = settings["model"]
    optimizer = model.get("optimizer")
    rate = model.get("lr", LR) if optimizer is None else optimizer.get("init_args", {}).get("lr")
    return None if rate is None else float(rate)


def cell_of(
    name: str,
    layers: Sequence[Layer],
    base: Mapping[str, Any],
    keys: Sequence[Mapping[str, Any]],
    scores: Sequence[str],
    samples: Samples,
) -> Cell:
    """A cell of a model on a data set.

    Args:
        name: See `Cell`.
        layers: The configurations of the model on the data set.
        base: What they resolve to.
        keys: Keys that the study sets over them.
        scores: See `Cell`.
        samples: See `Cell`.
    """
    settings = base
    for each in keys:
        settings = merged(settings, each)
    return Cell(name, tuple(words([*layers, *keys])), settings, tuple(scores), samples)


def merged(config: Mapping[str, Any], keys: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration with other keys over it."""
    found = dict(config)
    for key, value in keys.items():
        both = isinstance(value, Mapping) and isinstance(found.get(key), Mapping)
        found[key] = merged(found[key], value) if both else value
    return found


@dataclass(frozen=True)
class Store:
    """The files of the cells of a study.

    Attributes:
        folder: The folder of the study.
    """

    folder: Path

    def run(self, cell: Cell) -> Path:
        """The folder of the run of a cell."""
        return self.folder / "cells" / cell.key

    def file(self, cell: Cell) -> Path:
        """The file of the result of a cell."""
        return self.folder / "results" / f"{cell.key}.json"

    def result(self, cell: Cell) -> dict[str, Any] | None:
        """The result of a cell, with the scores that have its settings; None if it has no file.

        Raises:
            HQDMError: If the file is damaged.
        """
        content = self._read(self.file(cell))
        if content is None:
            return None
        scores = {
            name: score["value"]
            for name, score in content["scores"].items()
            if name in cell.scores and score["settings"] == cell.protocol.settings(name)
        }
        return {**content, "scores": scores}

    def complete(self, cell: Cell) -> bool:
        """True if a cell has all its scores, or failed."""
        result = self.result(cell)
        done = result is not None and set(cell.scores) <= set(result["scores"])
        return done or failed(result)

    def write(self, cell: Cell, result: Mapping[str, Any], scores: Mapping[str, Any]) -> None:
        """Write the result of a cell; scores of other settings or names that it had are kept.

        Args:
            cell: The cell.
            result: All but the scores.
            scores: Values by name.
        """
        before = (self._read(self.file(cell)) or {}).get("scores", {})
        new = {
            name: {"value": value, "settings": cell.protocol.settings(name)}
            for name, value in scores.items()
        }
        content = {
            "format_version": RESULT_VERSION,
            "configuration": cell.settings,
            **result,
            "scores": {**before, **new},
        }
        content["sha256"] = plain_digest(content)
        write_file(self.file(cell), json.dumps(content, indent=1) + "\n")

    @staticmethod
    def _read(file: Path) -> dict[str, Any] | None:
        if not file.exists():
            return None
        try:
            content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
            stated = content["sha256"]
        except (OSError, ValueError, KeyError, TypeError):
            raise HQDMError(f"{file} is damaged: remove it, its cell is scored again") from None
        check_version(content, RESULT_VERSION, file)
        check_digest(stated, plain_digest(content), file)
        return content


def failed(result: Mapping[str, Any] | None) -> bool:
    """True if a cell has no scores because its training diverged."""
    return result is not None and "failure" in result
