"""The order of batches as a function of the seed and the batch index."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hqdm.data.batches import ShuffledBatches


def batches(position=0, n=23, size=4, seed=1, rank=0, world=1):
    return list(ShuffledBatches(n, size, seed, lambda: position, rank, world))


@settings(deadline=None, max_examples=40)
@given(
    n=st.integers(4, 50),
    share=st.integers(1, 4),
    world=st.integers(1, 3),
    position=st.integers(0, 200),
    seed=st.integers(0, 5),
)
def test_processes_share_batches_and_epochs_resume_anywhere(n, share, world, position, seed):
    size = share * world
    if size > n:
        return
    per_epoch = n // size
    start = position // per_epoch * per_epoch
    epoch = batches(start, n, size, seed)
    assert len(epoch) == per_epoch
    rows = torch.cat(epoch)
    assert len(rows.unique()) == len(rows) == per_epoch * size
    rest = batches(position, n, size, seed)
    assert all(torch.equal(a, b) for a, b in zip(rest, epoch[position - start :], strict=True))
    shares = [batches(start, n, size, seed, rank, world) for rank in range(world)]
    for parts, whole in zip(zip(*shares, strict=True), epoch, strict=True):
        assert torch.equal(torch.cat(parts), whole)


def test_order_changes_with_epoch_and_seed():
    first, second = torch.cat(batches(0)), torch.cat(batches(5))
    assert not torch.equal(first, second)
    assert not torch.equal(first, torch.cat(batches(0, seed=2)))


def test_repeated_batches_are_the_first_of_the_first_epoch():
    first = batches(0, 23, 4)
    for position in range(7):
        kept = list(ShuffledBatches(23, 4, 1, lambda k=position: k, repeated=3))
        assert len(kept) == 3 - position % 3
        assert all(map(torch.equal, kept, first[position % 3 : 3]))
    whole = list(ShuffledBatches(23, 4, 1, lambda: 6, repeated=9))
    assert len(whole) == 4  # from the second of five batches, in the second epoch
    assert all(map(torch.equal, whole, first[1:]))
