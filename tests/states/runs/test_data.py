"""States for training: their batches, and options that are refused."""

import pytest
import torch

from hqdm import HQDMError
from hqdm.states.density import density
from hqdm.states.runs.data import StateDataModule, data_of_run
from hqdm.storage.checkpoint import Checkpoint


def batches(data):
    data.setup()
    return list(data.train_dataloader())


def test_batches_hold_every_state_once():
    data = StateDataModule("cluster", n_states=10, batch_size=4)
    first = batches(data)
    assert [len(batch) for batch in first] == [4, 4]
    rows = {tuple(row.tolist()) for row in torch.cat(first)}
    assert len(rows) == 8
    assert rows <= {tuple(row.tolist()) for row in data.train_set}


def test_splits_differ_and_follow_from_the_seed():
    one, again, other = (StateDataModule(seed=seed) for seed in (0, 0, 1))
    for data in (one, again, other):
        data.setup()
    assert torch.equal(one.train_set, again.train_set)
    assert not torch.equal(one.train_set, other.train_set)
    assert not torch.equal(one.train_set, one.val_set)


def test_fresh_states_are_of_no_other_sample():
    data = StateDataModule(n_states=100)
    data.setup()
    one, again, other = data.fresh(50, 0), data.fresh(50, 0), data.fresh(50, 0, part=1)
    assert torch.equal(one, again)
    groups = [data.train_set, data.val_set, one, other, data.fresh(50, 1)]
    rows = [tuple(ket.tolist()) for ket in torch.cat(groups)]
    assert len(set(rows)) == len(rows)


def test_kets_become_density_matrices_with_a_share_of_noise():
    kets = StateDataModule(n_states=5, batch_size=5)
    mixed = StateDataModule(n_states=5, batch_size=5, as_density=True, depolarised=0.1)
    for data in (kets, mixed):
        data.setup()
    assert kets.pure
    assert not mixed.pure
    eye = torch.eye(2, dtype=torch.complex128)
    expected = 0.9 * density(kets.train_set) + 0.1 * eye / 2
    torch.testing.assert_close(mixed.train_set, expected, atol=1e-14, rtol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depolarised": 0.1}, "set data.as_density to true"),
        ({"depolarised": 1.5, "as_density": True}, "a share in"),
        ({"ensemble": "sphere"}, "ensemble 'sphere'"),
        ({"n_states": 0}, "n_states"),
        ({"batch_size": 0}, "batch_size"),
    ],
)
def test_options_that_cannot_be_used_are_refused(options, message):
    with pytest.raises(HQDMError, match=message):
        StateDataModule(**options)


def test_too_few_states_are_refused():
    with pytest.raises(HQDMError, match=r"data.n_states is 3, fewer than batch_size 4"):
        StateDataModule(n_states=3, batch_size=4).setup()


def test_the_data_of_a_run_are_in_its_checkpoint():
    data = StateDataModule("cluster", options={"scale": 0.3}, as_density=True, seed=4)
    contents = {"StateDataModule": data.state_dict()}
    found = data_of_run(checkpoint(contents, seed=4))
    assert found.identity == data.identity
    assert torch.equal(found.fresh(3, 0), data.fresh(3, 0))


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ({}, "does not name the ensemble of its run: name the configuration"),
        ({"StateDataModule": {"n_states": "ten"}}, "n_states: expected a whole number"),
        ({"StateDataModule": {"sphere": 1}}, "'sphere'"),
    ],
)
def test_checkpoints_without_data_are_refused(contents, message):
    with pytest.raises(HQDMError, match=message):
        data_of_run(checkpoint(contents, seed=0))


def checkpoint(contents, seed):
    return Checkpoint("last.ckpt", contents, {}, {}, {}, seed, 0, ())
