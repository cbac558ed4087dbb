import pickle

import numpy as np
import pytest
import torch
from mmagic.registry import DATASETS
from mmengine.dataset import ConcatDataset, pseudo_collate
from torch.utils.data import DataLoader

from disp_plugin.datasets import SeededDraws
from disp_plugin.priors import LoadPrior, PriorBank, build_bank, find_bank, list_images


@pytest.fixture
def bank_file(image_folder, tmp_path, make_dataset, make_encoder):
    build_bank(make_dataset(image_folder), make_encoder(), tmp_path / 'bank', progress=False)
    return tmp_path / 'bank'


@pytest.fixture
def host_cfg(image_folder, bank_file):
    """A data set of mmagic, with its own steps before LoadPrior."""
    return dict(
        type='BasicImageDataset',
        data_root=str(image_folder),
        data_prefix=dict(gt=''),
        filename_tmpl={},
        recursive=True,
        pipeline=[
            dict(type='LoadImageFromFile', key='gt'),
            dict(type='Resize', keys='gt', scale=(12, 12), interpolation='bicubic',
                 backend='pillow'),
            dict(type='Flip', keys='gt', flip_ratio=0.5),
            dict(type='LoadPrior', bank_file=str(bank_file), data_root=str(image_folder)),
            dict(type='PackInputs', keys=['gt'], data_keys=['gt_prior']),
        ],
    )  # fmt: skip


def flip_info(flip=True, direction='horizontal', keys=('gt',)):
    return dict(keys=list(keys), direction=direction, ratio=0.5, flip=flip)


def test_our_data_set_carries_the_prior_of_the_view_that_it_shows(
    image_folder, bank_file, make_dataset, make_encoder
):
    dataset = make_dataset(image_folder, bank_file=str(bank_file), seed=0)
    encoder = make_encoder()
    for position in range(24):
        sample = dataset[position]['data_samples']
        image = sample.gt_img.flip(0)[None].float() / 255  # BGR to RGB
        assert sample.gt_prior.dtype == torch.float32
        torch.testing.assert_close(sample.gt_prior, encoder(image)[0], rtol=0, atol=1e-5)


def test_a_data_set_of_mmagic_does_too_by_the_paths_of_its_images(host_cfg, make_encoder):
    dataset, encoder = DATASETS.build(host_cfg), make_encoder()
    assert len(dataset) == 8
    for index in range(24):
        sample = dataset[index % 8]
        image = sample['inputs'].flip(0)[None].float() / 255
        prior = sample['data_samples'].gt_prior
        torch.testing.assert_close(prior, encoder(image)[0], rtol=0, atol=1e-5)


def test_images_and_bank_of_any_data_set_are_found(host_cfg, image_folder, bank_file, make_dataset):
    ours = make_dataset(image_folder, bank_file=str(bank_file))
    theirs = DATASETS.build(host_cfg)
    for dataset in (ours, theirs, SeededDraws(theirs), SeededDraws(ours)):
        images = list_images(dataset)
        assert sorted(images.keys) == ours.image_keys
        assert images.paths[0].endswith(images.keys[0])
        assert find_bank(dataset) == bank_file
    assert find_bank(make_dataset(image_folder)) is None
    with pytest.raises(ValueError, match='belongs to one data set .* not to a ConcatDataset'):
        list_images(ConcatDataset([ours, ours]))
    host_cfg['pipeline'] = []
    with pytest.raises(ValueError, match='BasicImageDataset have no keys .*put LoadPrior into'):
        list_images(DATASETS.build(host_cfg))


@pytest.mark.parametrize('method', ['fork', pytest.param('spawn', marks=pytest.mark.slow)])
def test_workers_open_the_bank_by_themselves(image_folder, bank_file, make_dataset, method):
    dataset = make_dataset(image_folder, bank_file=str(bank_file), flip=False)
    expected = [dataset[index]['data_samples'].gt_prior for index in range(8)]
    loader = DataLoader(
        dataset,
        batch_size=4,
        num_workers=1,
        multiprocessing_context=method,
        collate_fn=pseudo_collate,
    )
    found = [sample.gt_prior for batch in loader for sample in batch['data_samples']]
    assert torch.equal(torch.stack(found), torch.stack(expected))


def test_open_bank_does_not_travel_with_the_transform(bank_file):
    transform = LoadPrior(bank_file)
    transform(dict(image_key='a/image_0000.png'))
    assert len(pickle.dumps(transform)) < 500


@pytest.mark.parametrize(
    ('infos', 'view'),
    [
        ([], 0),
        ([flip_info()], 1),
        ([flip_info(), flip_info()], 0),
        ([flip_info(), flip_info(flip=False)], 1),
        ([flip_info(keys=['mask'])], 0),
        ([flip_info(flip=False, direction='vertical')], 0),
    ],
)
def test_flips_of_the_image_choose_the_view(bank_file, infos, view):
    results = LoadPrior(bank_file)(dict(image_key='a/image_0002.png', flip_infos=infos))
    bank = PriorBank.open(bank_file)
    expected = bank.priors[bank.keys.index('a/image_0002.png'), view]
    np.testing.assert_array_equal(results['gt_prior'], expected)


def test_vertical_flip_is_refused(bank_file):
    infos = [flip_info(direction='vertical')]
    with pytest.raises(ValueError, match="direction='vertical', but a bank has views for horizont"):
        LoadPrior(bank_file)(dict(image_key='a/image_0002.png', flip_infos=infos))


def test_missing_bank_names_the_command_that_builds_it(tmp_path):
    transform = LoadPrior(tmp_path / 'none')  # as a config may be built before its bank
    with pytest.raises(FileNotFoundError, match='build it first: python tools/build_prior_bank.py'):
        transform(dict(image_key='a'))


def test_image_without_a_prior_or_without_a_key_is_named(bank_file, image_folder):
    with pytest.raises(ValueError, match="has no prior for image 'new.png'"):
        LoadPrior(bank_file)(dict(image_key='new.png'))
    with pytest.raises(ValueError, match=r"here data_root is None, the path 'new.png'"):
        LoadPrior(bank_file)(dict(gt_path='new.png'))
    with pytest.raises(ValueError, match='does not lie below data_root'):
        LoadPrior(bank_file, image_folder)(dict(gt_path='/elsewhere/new.png'))


def test_repr_shows_the_bank():
    assert repr(LoadPrior('x.safetensors')) == "LoadPrior(bank_file='x.safetensors', key='gt')"
