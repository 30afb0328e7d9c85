"""The order of a study, with the search of learning rates by Optuna."""

import json
import math

import pytest
from marks import thinned
from studies import MadeUp, plan_of, resolve, study_of

from hqdm.study.cells import Store, learning_rate
from hqdm.study.chains import plan
from hqdm.study.engine import Engine
from hqdm.utils.errors import HQDMError
from hqdm.utils.progress import silent

pytest.importorskip("optuna", reason="hqdm[study]")
SEARCH = {"trials": 5, "steps": 2, "low": 1e-4, "high": 1e-2}


def finish(plan, most=1000):
    workers = MadeUp(plan.store, most)
    try:
        Engine(plan, workers, silent).run()
    except KeyboardInterrupt:
        return workers.done, False
    return workers.done, True


def test_each_model_has_as_many_trials_and_trains_with_its_best_rate(tmp_path):
    found = plan_of(tmp_path, search=SEARCH)
    done, _ = finish(found)
    assert len(done) == 2 * (5 + 3)
    assert found.steps == 2 * (5 * 2 + 3 * 4)
    for model in ("circuits", "classical"):
        trials = found.trials("digits", model)
        assert len(trials) == 5
        assert all(1e-4 <= rate <= 1e-2 for rate, _ in trials)
        best = min(trials, key=lambda trial: trial[1])[0]
        cells = found.found_cells("digits", model)
        assert {learning_rate(cell.settings) for cell in cells} == {best}
        assert abs(best - 2e-3) == min(abs(rate - 2e-3) for rate, _ in trials)  # least loss there
    assert (tmp_path / "search.db").exists()


@pytest.mark.parametrize("most", thinned([1, 6], every=2))
def test_a_search_that_was_killed_makes_the_same_trials(tmp_path, most):
    whole, parts = (plan_of(tmp_path / name, search=SEARCH) for name in ("whole", "parts"))
    everything, _ = finish(whole)
    first, ended = finish(parts, most)
    assert not ended
    second, _ = finish(plan_of(tmp_path / "parts", search=SEARCH))
    assert sorted(first + second) == sorted(everything)
    assert whole.trials("digits", "circuits") == parts.trials("digits", "circuits")
    assert finish(parts) == ([], True)


@pytest.mark.slow
def test_more_trials_continue_a_search_and_other_limits_begin_one(tmp_path):
    finish(plan_of(tmp_path, search=SEARCH, controls=...))
    more = plan_of(tmp_path, search={**SEARCH, "trials": 6}, controls=...)
    done, _ = finish(more)
    assert 1 <= len(done) <= 1 + 3
    assert len(more.trials("digits", "circuits")) == 6
    wider = plan_of(tmp_path, search={**SEARCH, "high": 0.1}, controls=...)
    assert wider.trials("digits", "circuits") == []
    assert wider.found_cells("digits", "circuits") == []


@pytest.mark.slow
def test_a_trial_that_diverged_counts_and_is_not_chosen(tmp_path):
    found = plan_of(tmp_path, search=SEARCH, controls=...)

    class Diverging(MadeUp):
        def submit(self, cell):
            future = super().submit(cell)
            if (learning_rate(cell.settings) or 0) > 1e-3:
                self.store.file(cell).unlink()
                self.store.write(cell, {"failure": "the loss is nan"}, {})
            return future

    Engine(found, Diverging(found.store), silent).run()
    trials = found.trials("digits", "circuits")
    assert len(trials) == 5
    assert {math.isinf(value) for rate, value in trials if rate > 1e-3} == {True}
    (rate,) = {learning_rate(c.settings) for c in found.found_cells("digits", "circuits")}
    assert rate <= 1e-3


@pytest.mark.slow
def test_if_all_trials_diverge_the_search_has_no_rate(tmp_path):
    found = plan_of(tmp_path, search=SEARCH, controls=...)

    class Diverging(MadeUp):
        def submit(self, cell):
            future = super().submit(cell)
            self.store.file(cell).unlink()
            self.store.write(cell, {"failure": "the loss is nan"}, {})
            return future

    with pytest.raises(HQDMError, match="diverged with every learning rate from 0.0001 to 0.01"):
        Engine(found, Diverging(found.store), silent).run()


def test_without_a_search_the_rates_are_those_of_the_configurations(tmp_path):
    found = plan_of(tmp_path)
    assert found.found_cells("digits", "circuits") == found.cells("digits", "circuits", None)
    assert found.steps == 2 * 3 * 4


def test_configurations_are_checked_with_the_steps_of_the_study_and_of_its_search(tmp_path):
    seen = []

    def check(words):
        settings = resolve(words)
        seen.append((settings["trainer"]["max_steps"], settings["model"].get("lr")))
        return settings

    plan(study_of(search=SEARCH, controls=...), Store(tmp_path), resolve, check)
    assert seen == [(4, None), (2, 1e-4)]

    def refuse(words):
        raise HQDMError("unknown key dimm")

    with pytest.raises(HQDMError, match="^circuits on digits: unknown key dimm"):
        plan(study_of(), Store(tmp_path), refuse)


def test_a_study_that_runs_selects_on_images_of_its_own(tmp_path):
    """Without a search nothing is selected, and a report is of what was computed."""
    data = {"digits": {"data": {"name": "digits", "val_split": "test"}}}
    content = {"search": SEARCH, "controls": ..., "data": data}
    with pytest.raises(HQDMError, match="^circuits on digits: .* select learning rates on test"):
        plan(study_of(**content), Store(tmp_path), resolve, resolve)
    plan(study_of(**content), Store(tmp_path), resolve)
    plan(study_of(**{**content, "search": ...}), Store(tmp_path), resolve, resolve)


def test_names_of_several_lines_are_refused(tmp_path):
    with pytest.raises(HQDMError, match="need names of one line"):
        plan_of(tmp_path, models={"a\nb": {}}, controls=...)


def test_the_record_of_a_search_is_plain(tmp_path):
    found = plan_of(tmp_path, search={**SEARCH, "trials": 1}, seeds=[0], controls=...)
    finish(found)
    (file,) = (tmp_path / "results").glob("search_*.json")
    content = json.loads(file.read_text())
    assert content["data"] == "digits"
    assert content["model"] == "circuits"
