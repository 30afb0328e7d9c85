"""Cells: their digest, and their results in files."""

import json

import pytest
from studies import plan_of, write

from hqdm.study.cells import Store, learning_rate, merged, rate_keys
from hqdm.utils.errors import HQDMError

ADAMW = {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.1, "eps": 1e-6}}


@pytest.fixture
def cell(tmp_path):
    return plan_of(tmp_path).cells("digits", "circuits", None)[0]


def key_with(folder, **changes):
    return plan_of(folder, **changes).cells("digits", "circuits", None)[0].key


def test_the_digest_follows_what_the_result_depends_on(tmp_path, cell):
    assert key_with(tmp_path / "other") == cell.key
    same = {"circuits": {"model": {"network": {"dim": 8}}, "checkpoint_every": 7, "offline": True}}
    assert key_with(tmp_path, models=same) == cell.key
    assert key_with(tmp_path, steps=5) != cell.key
    assert key_with(tmp_path, seeds=[4]) != cell.key
    assert key_with(tmp_path, models={"circuits": {"model": {"network": {"dim": 9}}}}) != cell.key
    assert len({c.key for c in plan_of(tmp_path).cells("digits", "circuits", None)}) == 3


def test_a_learning_rate_goes_to_the_optimiser_of_the_configuration():
    assert rate_keys({"model": {}}, None) == {}
    plain, own = {"model": {"lr": 0.3}}, {"model": {"optimizer": ADAMW}}
    for settings in (plain, own):
        changed = merged(settings, rate_keys(settings, 0.01))
        assert learning_rate(changed) == 0.01
    assert changed["model"]["optimizer"]["init_args"] == {"lr": 0.01, "eps": 1e-6}
    assert learning_rate({"model": {}}) == 1e-3  # that of Adam in hqdm
    assert learning_rate({"model": {"optimizer": {"class_path": "x"}}}) is None


def test_merged_keys():
    assert merged({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 4}, "d": {"e": 5}}) == {
        "a": {"b": 4, "c": 2},
        "d": {"e": 5},
    }


def test_a_result_is_read_as_it_was_written(tmp_path, cell):
    store = Store(tmp_path)
    assert store.result(cell) is None
    assert not store.complete(cell)
    write(store, cell)
    assert store.complete(cell)
    assert store.result(cell)["scores"] == {"loss": pytest.approx(0.901)}
    assert json.loads(store.file(cell).read_text())["configuration"] == cell.settings


def test_scores_of_other_settings_are_missing_and_kept(tmp_path):
    few = plan_of(tmp_path, scores=["fid"], samples={"n": 16})
    many = plan_of(tmp_path, scores=["fid", "loss"], samples={"n": 32})
    store = Store(tmp_path)
    first, second = (p.cells("digits", "circuits", None)[0] for p in (few, many))
    assert first.key == second.key  # the training is the same
    write(store, first)
    assert store.result(second)["scores"] == {}
    assert not store.complete(second)
    store.write(second, {}, {"loss": 2.0})
    assert store.result(second)["scores"] == {"loss": 2.0}
    assert store.complete(first)


def test_a_training_that_diverged_is_complete(tmp_path, cell):
    Store(tmp_path).write(cell, {"failure": "the loss is nan"}, {})
    assert Store(tmp_path).complete(cell)


@pytest.mark.parametrize(("old", "new"), [("0.9", "0.8"), ("{", "["), ("sha256", "sha")])
def test_a_damaged_result_is_refused(tmp_path, cell, old, new):
    store = Store(tmp_path)
    write(store, cell)
    file = store.file(cell)
    file.write_text(file.read_text().replace(old, new))
    with pytest.raises(HQDMError, match="is damaged"):
        store.result(cell)
