"""The search of a learning rate: the trials of Optuna, their database, and without Optuna."""

import re
import sys

import pytest
from PIL import Image

from hqdm.study.file import Search
from hqdm.study.search import RateSearch, Trial, best_of, check_selection
from hqdm.utils.errors import HQDMError

SEARCH = Search(trials=8, steps=1, low=1e-4, high=1.0)


def told(folder, name, n):
    """The rates of n trials, whose loss is least at 0.03."""
    search = RateSearch(folder, name, SEARCH)
    while len(search.trials) < n:
        rate = search.ask()
        search.tell(abs(rate / 0.03 - 1))
    return search


@pytest.mark.slow
def test_all_models_begin_with_the_same_rates(tmp_path):
    pytest.importorskip("optuna", reason="hqdm[study]")
    first, second = (told(tmp_path, name, 4).trials for name in ("a", "b"))
    assert first == second
    assert len({trial.rate for trial in first}) == 4
    assert all(1e-4 <= trial.rate <= 1 for trial in first)


@pytest.mark.slow
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


def test_of_equal_trials_the_first_is_the_best():
    """Also of those that were completed in another order."""
    trials = [Trial(0.1, 2.0), Trial(0.3, 1.0), Trial(0.2, 1.0), Trial(0.4, 1.0)]
    assert best_of(trials) == trials[1]
    assert best_of(trials[::-1]) == trials[3]


def selection(split, val_split, name="digits"):
    check_selection({"name": name, "split": split, "val_split": val_split})


def test_learning_rates_are_not_selected_on_test_images(tmp_path):
    """Of the test split, of a part of it, of the split that stands for it, and by default."""
    for split in ("test", "test[:9]"):
        message = f"on test images, those of data.val_split {split}: "
        with pytest.raises(HQDMError, match=re.escape(message)):
            selection("train", split)
    with pytest.raises(HQDMError, match=r"set data.split to train\[:-N\]"):
        check_selection({"name": "digits"})
    for split, value in (("train", 1), ("validation", 2)):
        folder = tmp_path / "two" / split
        folder.mkdir(parents=True)
        Image.new("L", (4, 4), value).save(folder / "a.png")
    with pytest.raises(HQDMError, match="on test images, those of data.val_split validation"):
        selection("train", "validation", str(tmp_path / "two"))
    (tmp_path / "two" / "test").mkdir()
    Image.new("L", (4, 4), 3).save(tmp_path / "two" / "test" / "a.png")
    selection("train", "validation", str(tmp_path / "two"))


@pytest.mark.parametrize(
    ("split", "val_split"),
    [
        *(("train", "train"), ("train", "train[-9:]"), ("train[:-8]", "train[-9:]")),
        *(("train[:-9]", "train"), ("train[-9:]", "train[-9:]"), ("train[9:]", "train[10:]")),
    ],
)
def test_learning_rates_are_not_selected_on_training_images(split, val_split):
    with pytest.raises(HQDMError, match="that may be training images"):
        selection(split, val_split)


def test_slices_that_meet_are_disjoint():
    selection("train[:-9]", "train[-9:]")
    selection("train[9:]", "train[:9]")


def test_without_optuna_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(HQDMError, match="pip install 'hqdm\\[study\\]'"):
        RateSearch(tmp_path, "a", SEARCH)
