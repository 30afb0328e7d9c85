"""The search of a learning rate for one model on one data set, by Optuna.

Trial k trains with the learning rate that Optuna's tree-structured Parzen estimator suggests from
the results of the trials before it, with a random seed that follows from k: a study that was
interrupted makes the same trials. They are in `search.db` (SQLite) in the folder of the study.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch

from hqdm.data.images import load_images, split_part
from hqdm.study.file import Search
from hqdm.study.scores.names import STATES
from hqdm.study.scores.protocol import kind_of
from hqdm.utils.errors import HQDMError

DATABASE = "search.db"
SPLITS = {"split": "train", "val_split": "test"}  # the keys of `data`, and their defaults
TEST = "test"
STARTUP = 4  # trials at random, in logarithms, before the estimator


class Trial(NamedTuple):
    """A completed trial.

    Attributes:
        rate: Learning rate.
        value: Validation loss; infinite if the training diverged.
    """

    rate: float
    value: float


@dataclass
class RateSearch:
    """The trials of one model on one data set.

    Args:
        folder: Folder of the study.
        name: Name of the search in the database; another name is another search.
        search: Its settings.

    Raises:
        HQDMError: If Optuna is not installed.
    """

    folder: Path
    name: str
    search: Search
    _study: Any = field(init=False, repr=False)
    _asked: Any = field(init=False, repr=False, default=None)

    def __post_init__(self) -> None:
        optuna = _optuna()
        self.folder.mkdir(parents=True, exist_ok=True)
        self._study = optuna.create_study(
            storage=f"sqlite:///{(self.folder / DATABASE).absolute()}",
            study_name=self.name,
            load_if_exists=True,
        )
        for trial in self._study.trials:  # of a process that was killed
            if not trial.state.is_finished():
                self._study.tell(trial.number, state=optuna.trial.TrialState.FAIL)

    @property
    def trials(self) -> list[Trial]:
        """The completed trials in their order."""
        done = [trial for trial in self._study.trials if trial.value is not None]
        return [Trial(trial.params["lr"], trial.value) for trial in done]

    def ask(self) -> float:
        """The learning rate of the next trial."""
        optuna = _optuna()
        seed = self.search.seed + len(self.trials)
        self._study.sampler = optuna.samplers.TPESampler(n_startup_trials=STARTUP, seed=seed)
        rates = optuna.distributions.FloatDistribution(self.search.low, self.search.high, log=True)
        self._asked = self._study.ask({"lr": rates})
        return float(self._asked.params["lr"])

    def tell(self, value: float) -> None:
        """Complete the trial that was asked for.

        Args:
            value: Its validation loss; infinite if the training diverged.
        """
        self._study.tell(self._asked, value)

    def best(self, n: int) -> float:
        """The learning rate of the least validation loss of the first n trials.

        Raises:
            HQDMError: If all trials diverged.
        """
        best = best_of(self.trials[:n])
        if math.isinf(best.value):
            raise HQDMError(
                f"{self.name}: the training diverged with every learning rate from "
                f"{self.search.low:g} to {self.search.high:g}: lower search.low"
            )
        return best.rate


def best_of(trials: Sequence[Trial]) -> Trial:
    """The trial of the least validation loss, of equal ones the first."""
    return min(trials, key=lambda trial: trial.value)


def check_selection(data: Mapping[str, Any]) -> None:
    """Refuse to select learning rates on test images or training images.

    Args:
        data: The keys of `data` in a resolved configuration.

    Raises:
        HQDMError: If `val_split` is the test split, or may share images with `split`.
    """
    if kind_of(data) == STATES:  # drawn with random numbers of their own
        return
    split, val_split = (data.get(key, default) for key, default in SPLITS.items())
    (name, part), (val_name, val_part) = map(split_part, (split, val_split))
    advice = (
        "set data.split to train[:-N] and data.val_split to train[-N:], the last N training "
        "images, or data.val_split to a split of its own"
    )
    if val_name == TEST or (name != val_name and _same(data, val_name)):
        raise HQDMError(
            f"the search would select learning rates on test images, those of data.val_split "
            f"{val_split}: {advice}"
        )
    before = part.stop is not None and part.stop == val_part.start
    after = part.start is not None and part.start == val_part.stop
    if name == val_name and not (before or after):
        raise HQDMError(
            f"the search would select on images of data.val_split {val_split} that may be "
            f"training images of data.split {split}: {advice}"
        )


def _same(data: Mapping[str, Any], split: str) -> bool:
    """True if a split is the test split by another name, by its first image."""
    keys = {key: data[key] for key in ("offline", "skip_bad") if key in data}
    first, test = (load_images(data["name"], s, limit=1, **keys).images for s in (split, TEST))
    return torch.equal(first, test)


def _optuna() -> Any:
    """The module Optuna, without its lines about each trial.

    Raises:
        HQDMError: If it is not installed.
    """
    try:
        import optuna
    except ImportError:
        raise HQDMError(
            "a search of learning rates needs Optuna: pip install 'hqdm[study]', or leave the key "
            "search out"
        ) from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna
