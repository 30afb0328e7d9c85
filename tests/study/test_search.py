"""The search of a learning rate: the trials of Optuna, their database, and without Optuna."""

import sys

import pytest

from hqdm.study.file import Search
from hqdm.study.search import RateSearch, Trial
from hqdm.utils.errors import HQDMError

SEARCH = Search(trials=8, steps=1, low=1e-4, high=1.0)


def told(folder, name, n):
    """The rates of n trials, whose loss is least at 0.03."""
    search = RateSearch(folder, name, SEARCH)
    while len(search.trials) < n:
        rate = search.ask()
        search.tell(abs(rate / 0.03 - 1))
    return search


def test_all_models_begin_with_the_same_rates(tmp_path):
    pytest.importorskip("optuna", reason="hqdm[study]")
    first, second = (told(tmp_path, name, 4).trials for name in ("a", "b"))
    assert first == second
    assert len({trial.rate for trial in first}) == 4
    assert all(1e-4 <= trial.rate <= 1 for trial in first)


def test_an_interrupted_trial_is_asked_for_again(tmp_path):
    pytest.importorskip("optuna", reason="hqdm[study]")
    search = told(tmp_path, "a", 5)
    rate = search.ask()
    again = RateSearch(tmp_path, "a", SEARCH)
    assert again.trials == search.trials
    assert again.ask() == rate
    again.tell(0.5)
    assert again.trials[-1] == Trial(rate, 0.5)
    assert again.best(6) == min(again.trials, key=lambda trial: trial.value).rate


def test_without_optuna_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(HQDMError, match="pip install 'hqdm\\[study\\]'"):
        RateSearch(tmp_path, "a", SEARCH)
