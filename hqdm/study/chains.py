"""The order of a study: per data set and model the trials of the search, then the random seeds.

A chain is a generator of lists of cells that can be computed at once. It goes on when the results
of a list are in the store.
"""

import json
import math
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from hqdm.storage.digests import digest_of
from hqdm.study.cells import Cell, Store, cell_of, failed, rate_keys, training_keys
from hqdm.study.file import Study, words
from hqdm.study.scores.protocol import kind_of
from hqdm.study.search import RateSearch, Trial, best_of, check_selection
from hqdm.utils.errors import HQDMError, about
from hqdm.utils.files import write_file

Resolve = Callable[[Sequence[str]], Mapping[str, Any]]
"""The resolved configuration that arguments of `hqdm fit` give; raises HQDMError."""

SELECTION = "val_loss"
Chain = Generator[list[Cell], None, None]


@dataclass(frozen=True)
class Plan:
    """A study whose configurations are resolved.

    Attributes:
        study: The study.
        store: Its files.
        bases: The resolved configuration of each data set and model.
    """

    study: Study
    store: Store
    bases: Mapping[tuple[str, str], Mapping[str, Any]]

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """The data sets and models."""
        return list(self.bases)

    @property
    def steps(self) -> int:
        """Training steps of the whole study."""
        search, study = self.study.search, self.study
        trials = search.trials * search.steps if search else 0
        return len(self.bases) * (trials + len(study.seeds) * study.steps)

    def chain(self, data: str, model: str) -> Chain:
        """The cells of a model on a data set, in the order in which they can be computed."""
        search = self.study.search
        rate = None
        if search is not None:
            trials = RateSearch(self.store.folder, self._search_name(data, model), search)
            for number in range(search.trials):
                known = trials.trials[number : number + 1]
                cell = self.trial(data, model, known[0].rate if known else trials.ask())
                yield [cell]
                if not known:
                    trials.tell(self._value(cell))
                self._record(data, model, trials)
            rate = trials.best(search.trials)
        yield self.cells(data, model, rate)

    def cells(self, data: str, model: str, rate: float | None) -> list[Cell]:
        """The cells of all random seeds; the rate None is that of the configuration."""
        study = self.study
        return [
            self._cell(f"{data}, {model}, seed {seed}", data, model, rate, seed, study.steps)
            for seed in study.seeds
        ]

    def trial(self, data: str, model: str, rate: float) -> Cell:
        """The cell of a trial of the search."""
        search = self.study.search
        assert search is not None
        name = f"{data}, {model}, learning rate {rate:.2g}"
        return self._cell(name, data, model, rate, search.seed, search.steps, (SELECTION,))

    def found_cells(self, data: str, model: str) -> list[Cell]:
        """The cells of all random seeds as far as they are known; none before the search ends."""
        if (search := self.study.search) is None:
            return self.cells(data, model, None)
        trials = self.trials(data, model)[: search.trials]
        if len(trials) < search.trials or math.isinf((best := best_of(trials)).value):
            return []
        return self.cells(data, model, best.rate)

    def trials(self, data: str, model: str) -> list[Trial]:
        """The trials that are completed."""
        file = self._search_file(data, model)
        if not file.exists():
            return []
        return [Trial(rate, float(value)) for rate, value in json.loads(file.read_text())["trials"]]

    def _cell(
        self,
        name: str,
        data: str,
        model: str,
        rate: float | None,
        seed: int,
        steps: int,
        scores: Sequence[str] | None = None,
    ) -> Cell:
        base = self.bases[data, model]
        keys = [training_keys(seed, steps)]
        keys += [rate_keys(base, rate)] if rate is not None else []
        layers, samples = self.study.layers(data, model), self.study.samples
        return cell_of(name, layers, base, keys, scores or self.study.asked, samples)

    def _search_name(self, data: str, model: str) -> str:
        """Its name, another one if the trials would be others; more trials continue a search."""
        search = self.study.search
        assert search is not None
        settings = self.trial(data, model, search.low).key, search.high
        return f"{data} {model} {digest_of(settings)[:8]}"

    def _search_file(self, data: str, model: str) -> Any:
        name = self._search_name(data, model).rpartition(" ")[2]
        return self.store.folder / "results" / f"search_{name}.json"

    def _value(self, cell: Cell) -> float:
        """The validation loss of a trial; infinite if it diverged."""
        result = self.store.result(cell)
        assert result is not None
        return math.inf if failed(result) else float(result["scores"][SELECTION])

    def _record(self, data: str, model: str, search: RateSearch) -> None:
        """Write the trials beside the results, where the report reads them."""
        content = {
            "data": data,
            "model": model,
            "trials": [[trial.rate, str(trial.value)] for trial in search.trials],
        }
        write_file(self._search_file(data, model), json.dumps(content, indent=1) + "\n")


def plan(study: Study, store: Store, resolve: Resolve, check: Resolve | None = None) -> Plan:
    """Resolve the configurations of a study.

    Args:
        study: The study.
        store: Its files.
        resolve: Resolves a configuration.
        check: The same with further checks of what is about to be trained; None without.

    Raises:
        HQDMError: If one cannot be used; the message begins with the data set and the model.
    """
    bases = {}
    search = study.search
    for data, model in product(study.data, study.models):
        with about(f"{model} on {data}"):
            layers = study.layers(data, model)
            keys = training_keys(study.seeds[0], study.steps)
            bases[data, model] = (check or resolve)(words([*layers, keys]))
            if check and search:
                check_selection(bases[data, model]["data"])
                keys = training_keys(search.seed, search.steps)
                check(words([*layers, keys, rate_keys(bases[data, model], search.low)]))
    _check_names(study)
    _check_kinds(bases)
    return Plan(study, store, bases)


def _check_kinds(bases: Mapping[tuple[str, str], Mapping[str, Any]]) -> None:
    """Refuse models of images and of states on one data set: their losses are not comparable."""
    kinds: dict[str, str] = {}
    for (data, model), base in bases.items():
        found = kind_of(base["data"])
        if kinds.setdefault(data, found) != found:
            raise HQDMError(
                f"{model} on {data} generates {found}, and other models there {kinds[data]}: "
                "compare them in studies of their own"
            )


def _check_names(study: Study) -> None:
    """Refuse names that make two cells of the same name in messages and tables."""
    for name in (*study.data, *study.models):
        if not name.strip() or "\n" in name:
            raise HQDMError(f"data sets and models need names of one line, got {name!r}")
