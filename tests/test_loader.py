"""How batches are shared among training processes; tests/test_dataset.py holds the rest of the loader."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_utils.loader import ALONE, EpochBatches, Shard


def batches(n: int, size: int, shard: Shard = ALONE, shuffle: bool = True, epoch: int = 0) -> list[list[int]]:
    order = EpochBatches(n, size, shuffle, 5, shard, even=shuffle, drop_last=False)
    order.epoch = epoch
    listed = list(order)
    assert len(listed) == len(order)
    return listed


@given(n=st.integers(1, 40), size=st.integers(1, 9), world=st.integers(1, 4), shuffle=st.booleans())
def test_the_shares_make_up_the_batches_of_one_process(n: int, size: int, world: int, shuffle: bool) -> None:
    size = max(size, world)  # Trainer sees to it
    whole = batches(n, size, shuffle=shuffle)
    shares = [batches(n, size, Shard(rank, world), shuffle) for rank in range(world)]
    if shuffle:  # every process has as many batches, none of them empty, but for one that not all could have
        assert len({len(share) for share in shares}) == 1
        assert all(batch for share in shares for batch in share)
        whole = [batch for batch in whole if len(batch) >= world]
    for number, batch in enumerate(whole):
        parts = [share[number] for share in shares if number < len(share)]
        assert sorted(i for part in parts for i in part) == sorted(batch)
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
    if not shuffle:
        assert sorted(i for share in shares for batch in share for i in batch) == list(range(n))


def test_the_order_is_drawn_from_seed_and_epoch() -> None:
    assert batches(20, 4, epoch=1) == batches(20, 4, epoch=1) != batches(20, 4, epoch=2)
    assert batches(5, 2, shuffle=False) == [[0, 1], [2, 3], [4]]


@pytest.mark.parametrize(("n", "expected"), [(7, 2), (6, 2), (2, 0)])
def test_a_last_batch_that_is_not_full_can_be_left_out(n: int, expected: int) -> None:
    assert len(EpochBatches(n, 3, False, 0, ALONE, even=False, drop_last=True)) == expected
