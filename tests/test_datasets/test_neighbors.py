"""IC-GAN: which images are shown with a prior, how often, and that nothing else changes."""

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.neighbors import NearestNeighbors
from torch.utils.data import DataLoader

import disp_plugin.register  # noqa: F401
from disp_plugin.cli.config import load_config
from disp_plugin.datasets import ImageFolderDataset, ResumableSampler
from disp_plugin.priors import PriorBank
from tests.test_models.test_two_processes import run_in_two_processes

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
NUM = 12
ENCODER = (
    "dict(type='CheckpointEncoder', arch='timm/resnet18', untrained=True, in_size=16, "
    'arch_kwargs=dict(channels=[4, 8, 8, 16]))'
)


@pytest.fixture(scope='module')
def images(tmp_path_factory, make_image_folder):
    """Images with priors of both views that are nearly parallel, and a function: a data set."""
    folder = make_image_folder(tmp_path_factory.mktemp('images'), num=NUM)
    priors = torch.randn(NUM, 2, 8) + 3
    # a bank may hold more than is trained on; lengths have no part in a cosine
    keys = [*(f'image_{index:04}.png' for index in range(NUM)), 'a.png', 'z.png']
    priors = torch.cat([priors, priors[:2] * 1.01]) * torch.rand(NUM + 2, 1, 1).add(0.1)
    PriorBank(keys, priors).save(folder / 'bank')

    def make(**options):
        options = dict(image_size=16, bank_file='bank', seed=3) | options
        return ImageFolderDataset(str(folder), **options)

    make.priors, make.folder = priors[:NUM], folder
    return make


def read(dataset, position):
    """The row that is shown, whether it is mirrored, and row and view of the prior."""
    data = dataset[position]['data_samples']
    img = np.ascontiguousarray(data.gt_img.permute(1, 2, 0).numpy()[..., ::-1])
    flip = not np.array_equal(img, dataset.view(data.sample_idx))
    assert np.array_equal(img, dataset.view(data.sample_idx, flip))
    assert data.gt_path == dataset.image_paths[data.sample_idx]
    bank = PriorBank.open(dataset.bank_path)
    places = [
        (row, view)
        for row in range(NUM)
        for view in range(bank.num_views)
        if torch.equal(data.gt_prior, bank.lookup([dataset.image_keys[row]], bool(view))[0])
    ]
    assert len(places) == 1
    return data.sample_idx, flip, *places[0]


def test_neighbors_are_those_of_scikit_learn_by_cosine_without_the_image_itself(images):
    priors = images.priors[:, 0].double().numpy()
    near = NearestNeighbors(n_neighbors=4, metric='cosine', algorithm='brute').fit(priors)
    assert images(num_neighbors=4).find_neighbors().tolist() == near.kneighbors()[1].tolist()
    others = images(num_neighbors=NUM - 1).find_neighbors()
    assert all({*row, index} == set(range(NUM)) for index, row in enumerate(others.tolist()))


def test_every_neighbor_is_shown_alike_often_whatever_the_flips_are(images):
    dataset = images(num_neighbors=3, flip=True)
    near = dataset.find_neighbors().tolist()
    counts = np.zeros((NUM, 3, 2, 2))
    for position in range(NUM * 400):
        row, flip, prior_flip = dataset._draw(*divmod(position, NUM))
        index = position % NUM
        counts[index, near[index].index(row), int(flip), int(prior_flip)] += 1
    # one seed, so one outcome: a right law passes with probability 0.999
    assert stats.chisquare(counts.ravel()).pvalue > 1e-3


def test_a_prior_is_that_of_the_image_that_was_drawn(images):
    dataset = images(num_neighbors=3, flip=True)
    for position in range(3 * NUM):
        row, flip, prior_flip = dataset._draw(*divmod(position, NUM))
        assert row != position % NUM
        assert read(dataset, position) == (row, flip, position % NUM, prior_flip)


def test_with_itself_as_only_neighbor_an_image_is_drawn_as_by_disp(images):
    plain, own = images(), images(num_neighbors=1)
    own._neighbors = np.arange(NUM)[:, None]
    for position in range(2 * NUM):
        one, other = (dataset[position]['data_samples'] for dataset in (plain, own))
        assert torch.equal(one.gt_img, other.gt_img) and torch.equal(one.gt_prior, other.gt_prior)
        assert one.sample_idx == other.sample_idx


def draw(dataset, num_workers=0, rank=0, world_size=1, start=0, num=30):
    sampler = ResumableSampler(dataset, seed=1)
    sampler.rank, sampler.world_size, sampler.start = rank, world_size, start
    options = dict(num_workers=num_workers, collate_fn=list)
    batches = DataLoader(dataset, 5, sampler=sampler, **options)
    samples = [sample['data_samples'] for batch in islice(batches, num // 5) for sample in batch]
    return [(s.sample_idx, s.gt_img.sum().item(), *s.gt_prior.tolist()) for s in samples]


def test_workers_processes_and_a_resume_draw_the_same(images):
    options = dict(num_neighbors=3, flip=True, seed=None)
    drawn = draw(images(**options))
    assert draw(images(**options), num_workers=2) == drawn
    assert draw(images(**options), start=10, num=20) == drawn[10:]
    ranks = [draw(images(**options), rank=rank, world_size=2, num=15) for rank in range(2)]
    assert [sample for pair in zip(*ranks, strict=True) for sample in pair] == drawn
    torch.manual_seed(9), np.random.seed(9)
    assert draw(images(**options)) == drawn
    np.random.seed(9)
    unseeded = images(num_neighbors=3, seed=None)
    assert len({read(unseeded, 0)[0] for _ in range(30)}) == 3


@pytest.mark.parametrize('num', [0, NUM, 50])
def test_as_many_neighbors_as_images_are_refused(images, num):
    with pytest.raises(
        ValueError, match=rf'num_neighbors is {num}, .* must be from 1 to {NUM - 1}'
    ):
        images(num_neighbors=num)


def test_without_a_bank_the_first_draw_is_refused(images):
    with pytest.raises(ValueError, match='num_neighbors=2 looks for .*; set bank_file'):
        images(num_neighbors=2, bank_file=None)[0]


@pytest.mark.parametrize('model', ['sngan', 'biggan', 'stylegan2'])
def test_the_method_conditions_on_unit_priors_and_never_mixes(model):
    from mmagic.registry import MODELS

    file = CONFIGS / f'disp_{model}_digits.py'
    gan = MODELS.build(load_config(file, {}, 'icgan', []).model)
    priors = torch.randn(20, 128)
    bank = PriorBank([f'{index}.png' for index in range(20)], priors)
    gan.sampler.fit(bank)
    drawn = gan.draw_latents(9).prior
    assert (drawn[:, None] == priors).all(2).sum(1).tolist() == [1] * 9
    expected = drawn.double() / drawn.double().square().sum(1, keepdim=True).sqrt()
    # a unit vector is rounded by some 2^-24
    torch.testing.assert_close(gan.normalize_prior(drawn).double(), expected, rtol=0, atol=5e-7)
    centers = {'model.sampler.type': 'KMeansPriorSampler', 'model.sampler.num_components': 10}
    sampler = MODELS.build(load_config(file, centers, 'icgan', []).model.sampler)
    assert type(sampler).__name__ == 'KMeansPriorSampler' and sampler.num_components == 10


@pytest.mark.slow
def test_a_resumed_run_and_two_processes_end_as_one_run_does(
    digits_folder, repo_root, tool, tmp_path
):
    options = [
        'encoder=' + ENCODER,
        *('prior_dim=16', f'bank_file={tmp_path}/bank', f'data_root={digits_folder}'),
        *('train_dataloader.dataset.num_neighbors=3', 'max_iters=8', 'train_cfg.val_begin=100'),
        *('model.generator.base_channels=8', 'default_hooks.checkpoint.interval=4'),
        # Adam's first steps are signs of gradients; a large epsilon keeps them continuous.
        *(f'optim_wrapper.{part}.optimizer.eps=0.01' for part in ('generator', 'discriminator')),
    ]
    config = str(CONFIGS / 'disp_sngan_digits.py')

    def arguments(name, batch_size, *flags):
        changes = ['--cfg-options', *options, f'batch_size={batch_size}']
        return ['--method', 'icgan', '--work-dir', str(tmp_path / name), *flags, *changes]

    def weights(name, iteration=8):
        file = tmp_path / name / f'iter_{iteration}.pth'
        return torch.load(file, weights_only=False)['state_dict']

    tool('train.py').main([config, *arguments('one', 4)])
    expected, start = weights('one'), weights('one', 4)
    resumed = arguments('resumed', 4, '--resume-from', str(tmp_path / 'one/iter_4.pth'))
    tool('train.py').main([config, *resumed])
    assert all(torch.equal(weights('resumed')[name], value) for name, value in expected.items())
    run_in_two_processes(repo_root, tmp_path, config, arguments('two', 2))
    for name, value in weights('two').items():
        torch.testing.assert_close(value, expected[name], rtol=1e-3, atol=2e-5, msg=name)
    weight = next(name for name in start if name.startswith('generator.') and 'weight' in name)
    assert (expected[weight] - start[weight]).abs().max() > 2e-4
