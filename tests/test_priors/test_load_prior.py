import pickle

import numpy as np
import pytest
import torch
from mmagic.registry import DATASETS
from mmengine.dataset import pseudo_collate
from torch.utils.data import DataLoader

from disp_plugin.priors import LoadPrior, PriorBank, build_bank


@pytest.fixture
def bank_file(image_folder, tmp_path, dataset_cfg, make_encoder):
    file = tmp_path / 'bank'
    build_bank(dataset_cfg(image_folder, file), make_encoder(), file, progress=False)
    return file


def flip_info(flip=True, direction='horizontal', keys=('gt',)):
    return dict(keys=list(keys), direction=direction, ratio=0.5, flip=flip)


@pytest.mark.parametrize('ratio', [0.0, 0.5, 1.0])
def test_sample_carries_the_prior_of_the_view_that_it_shows(
    image_folder, bank_file, dataset_cfg, make_encoder, ratio
):
    cfg = dataset_cfg(image_folder, bank_file)
    cfg['pipeline'][3]['flip_ratio'] = ratio
    dataset, encoder = DATASETS.build(cfg), make_encoder()
    for sample in dataset:
        image = sample['inputs'].flip(0)[None].float() / 255  # BGR to RGB
        prior = sample['data_samples'].gt_prior
        assert prior.dtype == torch.float32
        torch.testing.assert_close(prior, encoder(image)[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize('method', ['fork', pytest.param('spawn', marks=pytest.mark.slow)])
def test_workers_open_the_bank_by_themselves(image_folder, bank_file, dataset_cfg, method):
    cfg = dataset_cfg(image_folder, bank_file, flip=False)
    dataset = DATASETS.build(cfg)
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
        ([flip_info(flip=False)], 0),
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
    expected = bank.priors[bank.keys.find('a/image_0002.png'), view]
    np.testing.assert_array_equal(results['gt_prior'], expected)


def test_vertical_flip_is_refused(bank_file):
    infos = [flip_info(direction='vertical')]
    with pytest.raises(ValueError, match="direction='vertical', but a bank has views for horizont"):
        LoadPrior(bank_file)(dict(image_key='a/image_0002.png', flip_infos=infos))


def test_missing_bank_names_the_command_that_builds_it(tmp_path):
    transform = LoadPrior(tmp_path / 'none')  # as a config may be built before its bank
    with pytest.raises(FileNotFoundError, match='build it first: python tools/build_prior_bank.py'):
        transform(dict(image_key='a'))


def test_image_without_a_prior_or_without_a_key_is_named(bank_file):
    transform = LoadPrior(bank_file)
    with pytest.raises(ValueError, match="has no prior for image 'new.png'"):
        transform(dict(image_key='new.png'))
    with pytest.raises(ValueError, match=r"finds a prior by results\['image_key'\], which is not"):
        transform(dict(gt_path='new.png'))


def test_repr_shows_the_bank():
    assert repr(LoadPrior('x.safetensors')) == "LoadPrior(bank_file='x.safetensors', key='gt')"
