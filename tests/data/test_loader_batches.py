from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from ssdet_cli.data.loader import TrainingBatches, ValidationBatches

some = settings(deadline=None, max_examples=50)


@some
@given(st.integers(1, 40), st.integers(1, 6), st.integers(1, 3), st.integers(0, 20), st.integers(0, 5))
def test_starting_later_continues_the_same_batches(size, batch, world, start, seed):
    def batches(first):
        return list(TrainingBatches(size, batch, total=25, start=first, seed=seed, rank=world - 1, world_size=world))

    assert batches(start) == batches(0)[start:]


@some
@given(st.integers(1, 40), st.integers(1, 6), st.integers(1, 3))
def test_an_epoch_shows_no_sample_twice_and_ranks_share_none(size, batch, world):
    per_rank = [TrainingBatches(size, batch, total=41, rank=rank, world_size=world) for rank in range(world)]
    per_epoch = per_rank[0].per_epoch
    first_epoch = [index for rank in per_rank for keys in list(rank)[:per_epoch] for _, index in keys]
    assert len(first_epoch) == per_epoch * batch * world
    if size >= batch * world:
        assert max(Counter(first_epoch).values()) == 1
        assert len(first_epoch) > size - batch * world


@some
@given(st.integers(2, 40))
def test_epochs_differ_and_runs_with_one_seed_do_not(size):
    def order(seed):
        return [key for keys in TrainingBatches(size, 1, total=2 * size, seed=seed) for key in keys]

    assert order(1) == order(1)
    first, second = order(1)[:size], order(1)[size:]
    assert {epoch for epoch, _ in first} == {0}
    assert {epoch for epoch, _ in second} == {1}
    assert sorted(index for _, index in first) == sorted(index for _, index in second) == list(range(size))


@some
@given(st.integers(0, 40), st.integers(1, 6), st.integers(1, 4))
def test_validation_shows_every_sample_once_in_batches_that_do_not_depend_on_the_ranks(size, batch, world):
    alone = [tuple(keys) for keys in ValidationBatches(size, batch)]
    together = [
        tuple(keys) for rank in range(world) for keys in ValidationBatches(size, batch, rank=rank, world_size=world)
    ]
    assert sorted(alone) == sorted(together)
    assert [index for keys in alone for _, index in keys] == list(range(size))
