from collections import Counter
from itertools import islice

import pytest
from mmagic.registry import DATA_SAMPLERS

from disp_plugin.datasets import (
    ImageFolderDataset,
    ResumableSampler,
    SeededDraws,
    resumable_sampler,
)


def take(sampler, num):
    return list(islice(sampler, num))


@pytest.fixture
def dataset():
    return SeededDraws(list(range(10)))


def test_each_pass_draws_every_image_once_in_an_order_of_its_own(dataset):
    drawn = take(ResumableSampler(dataset, seed=0), 1000)
    passes = [drawn[start : start + 10] for start in range(0, 1000, 10)]
    for epoch, positions in enumerate(passes):
        assert sorted(positions) == list(range(epoch * 10, epoch * 10 + 10))
    orders = {tuple(position % 10 for position in positions) for positions in passes}
    assert len(orders) == 100
    # Every image comes first about as often as any other.
    assert max(Counter(order[0] for order in orders).values()) < 25


@pytest.mark.parametrize('start', [0, 1, 9, 10, 37, 1234])
def test_it_can_be_entered_anywhere(dataset, start):
    whole = take(ResumableSampler(dataset, seed=5), start + 25)
    sampler = ResumableSampler(dataset, seed=5)
    sampler.start = start
    assert take(sampler, 25) == whole[start:]


def test_entering_it_late_computes_one_order_only(dataset, monkeypatch):
    sampler = ResumableSampler(dataset, seed=5)
    sampler.start = 10**12 + 5
    computed = []
    order_of = ResumableSampler._order_of
    monkeypatch.setattr(
        ResumableSampler, '_order_of', lambda *args: computed.append(args[1]) or order_of(*args)
    )
    take(sampler, 5)
    assert computed == [10**11]


@pytest.mark.parametrize('world_size', [2, 3])
def test_the_processes_share_the_stream_of_one(dataset, monkeypatch, world_size):
    single = take(ResumableSampler(dataset, seed=5), 60)
    streams = []
    for rank in range(world_size):
        monkeypatch.setattr(resumable_sampler, 'get_dist_info', lambda r=rank: (r, world_size))
        sampler = ResumableSampler(dataset, seed=5)
        sampler.start = 12
        streams.append(take(sampler, 48 // world_size))
    together = [position for draws in zip(*streams, strict=True) for position in draws]
    assert together == single[12:]


def test_neighboring_seeds_share_no_order(dataset):
    starts = {tuple(take(ResumableSampler(dataset, seed=seed), 10)) for seed in range(200)}
    assert len(starts) == 200


def test_without_shuffle_the_order_is_that_of_the_data(dataset):
    assert take(ResumableSampler(dataset, shuffle=False, seed=0), 25) == list(range(25))


def test_another_data_set_gets_plain_indices():
    drawn = take(ResumableSampler(list(range(4)), seed=0), 12)
    assert Counter(drawn) == dict.fromkeys(range(4), 3)


def test_the_seed_of_the_run_reaches_the_draws_unless_they_have_their_own(dataset):
    build = {'type': 'ResumableSampler', '_scope_': 'mmagic'}
    sampler = DATA_SAMPLERS.build(build, default_args={'dataset': dataset, 'seed': 7})
    assert dataset.seed == 7
    sampler.seed = 8
    assert dataset.seed == 8
    own = SeededDraws(list(range(3)), seed=1)
    ResumableSampler(own, seed=7)
    assert own.seed == 1


def test_no_image_is_refused_and_one_is_where_priors_are_drawn(tmp_path, make_image_folder):
    with pytest.raises(ValueError, match='the data set is empty'):
        ResumableSampler([])
    dataset = ImageFolderDataset(str(make_image_folder(tmp_path / 'lonely', num=1)))
    for one in (dataset, SeededDraws(dataset)):
        with pytest.raises(ValueError, match=r"1 image: the data set '.*lonely' needs at least 2"):
            ResumableSampler(one)


def test_its_length_is_one_pass_of_this_process(dataset, monkeypatch):
    assert len(ResumableSampler(dataset, seed=0)) == 10
    monkeypatch.setattr(resumable_sampler, 'get_dist_info', lambda: (0, 4))
    assert len(ResumableSampler(dataset, seed=0)) == 3
