import random

import numpy as np
import pytest
import torch
from mmagic.registry import DATASETS
from torch.utils.data import DataLoader, Dataset

from disp_plugin.datasets import (
    ImageFolderDataset,
    ResumableSampler,
    SeededDraws,
    keep_randomness,
    seed_randomness,
)


class Draws(Dataset):
    """Each sample is its index and one number from each global generator."""

    def __init__(self, num=10):
        self.num = num

    def __len__(self):
        return self.num

    def __getitem__(self, index):
        return index, random.random(), np.random.random(), torch.rand(()).item()


def test_a_draw_follows_from_seed_pass_and_index_alone():
    draws = SeededDraws(Draws(), seed=3)
    first = draws[7]
    random.seed(99), np.random.seed(99), torch.manual_seed(99)
    draws[2]
    assert draws[7] == first
    others = {draws[17], draws[8], SeededDraws(Draws(), seed=4)[7], first}
    for generator in (1, 2, 3):
        assert len({other[generator] for other in others}) == 4
    assert len({round(value, 6) for value in first[1:]}) == 3


def test_the_global_generators_do_not_notice_a_draw_even_one_that_fails():
    def outside():
        return random.random(), np.random.random(), torch.rand(()).item()

    def reset():
        random.seed(5), np.random.seed(5), torch.manual_seed(5)

    class Failing(Draws):
        def __getitem__(self, index):
            raise OSError(super().__getitem__(index))

    reset()
    undisturbed = outside()
    reset()
    SeededDraws(Draws(), seed=0)[1]
    with pytest.raises(OSError):
        SeededDraws(Failing(), seed=0)[1]
    assert outside() == undisturbed


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')
def test_cuda_does_not_notice_a_draw():
    torch.cuda.manual_seed(1)
    state = torch.cuda.get_rng_state()
    with keep_randomness():
        seed_randomness(0, 1)
        torch.rand(1)
    assert torch.equal(torch.cuda.get_rng_state(), state)


@pytest.mark.parametrize('num_workers', [0, 2])
def test_the_samples_are_the_same_with_workers_and_without(num_workers):
    dataset = SeededDraws(Draws(5))
    sampler = ResumableSampler(dataset, seed=11)
    loader = iter(DataLoader(dataset, 4, sampler=sampler, num_workers=num_workers, collate_fn=list))
    found = [sample for _ in range(4) for sample in next(loader)]
    positions = iter(sampler)
    reference = SeededDraws(Draws(5), seed=11)
    assert found == [reference[next(positions)] for _ in range(16)]
    assert len({sample[2] for sample in found}) == 16


def test_an_image_is_flipped_in_some_passes_and_not_in_others(image_folder):
    cfg = {
        'type': 'SeededDraws',
        '_scope_': 'mmagic',
        'seed': 0,
        'dataset': {
            'type': 'BasicImageDataset',
            'data_root': str(image_folder),
            'data_prefix': {'gt': ''},
            'filename_tmpl': {},
            'recursive': True,
            'pipeline': [
                {'type': 'LoadImageFromFile', 'key': 'gt'},
                {'type': 'Flip', 'keys': ['gt'], 'flip_ratio': 0.5, 'direction': 'horizontal'},
            ],
        },
    }
    draws = DATASETS.build(cfg)
    passes = [draws[epoch * 8 + 2]['gt'] for epoch in range(12)]
    flipped = [not np.array_equal(image, passes[0]) for image in passes]
    assert 0 < sum(flipped) < 12
    for image, differs in zip(passes, flipped, strict=True):
        np.testing.assert_array_equal(image[:, ::-1] if differs else image, passes[0])


def test_it_knows_what_its_data_set_knows(image_folder):
    draws = SeededDraws(ImageFolderDataset(str(image_folder)), seed=0)
    assert len(draws) == len(list(draws)) == 8
    assert draws.metainfo == draws.dataset.metainfo
    assert draws.get_data_info(8 + 3) == draws.dataset.get_data_info(3)
    with pytest.raises(IndexError, match='must not be negative'):
        draws[-1]
