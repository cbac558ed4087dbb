"""Self-Conditioned GAN: which cells there are, when they change, and what they leave alone."""

import itertools
import random
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmagic.structures import DataSample
from scipy.spatial.distance import cdist

from disp_plugin.applications import load_gan
from disp_plugin.cli.config import build_training_set
from disp_plugin.techniques import SelfConditionedHook, SelfConditionedSampler
from disp_plugin.techniques.self_conditioned import extract_features
from tests.test_hooks.tiny_runs import assert_same, build_runner, gan_cfg, load, snapshot

CELLS = 3
# features of four groups, and of mirrored views in the next group
TRUTH = np.random.default_rng(0).permutation(np.arange(40) % 4)
GROUPS = np.stack([TRUTH, (TRUTH + 1) % 4], axis=1)
POINTS = np.random.default_rng(0).normal(size=(40, 2, 4)) + 30 * np.eye(4)[GROUPS]
POINTS = POINTS.astype(np.float32)


def cluster(points, old=None, **options):
    """Cells of points (N, V, F) and their centers, and what features were asked for."""
    sampler, asked = SelfConditionedSampler(4, **options), []
    if old is not None:
        sampler.set_labels(old)

    def extract(rows, flipped):
        asked.append((rows.tolist(), flipped))
        return points[rows, int(flipped)]

    return *sampler.cluster(extract, *points.shape[:2]), asked


def test_some_images_are_clustered_and_each_view_of_all_is_labeled():
    labels, centers, asked = cluster(POINTS, num_samples=12)
    assert [(len(set(rows)), flipped) for rows, flipped in asked] == [
        (12, False),
        (40, False),
        (40, True),
    ]
    chosen = np.array(asked[0][0])
    for cell in range(4):
        members = chosen[labels[chosen, 0] == cell]
        assert np.allclose(centers[cell], POINTS[members, 0].mean(0), atol=1e-4)
    # a cell is a group
    assert len(set(zip(labels.flatten(), GROUPS.flatten(), strict=True))) == 4
    assert np.array_equal(cluster(POINTS, num_samples=12)[0], labels)


def test_later_cells_keep_their_names_whatever_order_they_are_found_in(monkeypatch):
    start = SelfConditionedSampler._start
    for order in itertools.permutations(range(4)):
        monkeypatch.setattr(
            SelfConditionedSampler, '_start', lambda *args, o=list(order): start(*args)[o]
        )
        labels, centers, _ = cluster(POINTS, GROUPS)
        assert np.array_equal(labels, GROUPS)
        means = [POINTS[:, 0][group == TRUTH].mean(0) for group in range(4)]
        assert np.allclose(centers, means, atol=1e-4)


def test_the_names_are_those_by_which_most_images_keep_theirs():
    rng = np.random.default_rng(3)
    for _ in range(10):
        points, old = rng.normal(size=(30, 1, 2)).astype(np.float32), rng.integers(0, 4, (30, 1))
        labels, centers, _ = cluster(points, old)
        best = max((np.array(n)[labels] == old).sum() for n in itertools.permutations(range(4)))
        assert (labels == old).sum() == best
        assert set(labels.flatten()) == {0, 1, 2, 3}  # renamed one to one
        assert np.array_equal(labels[:, 0], cdist(points[:, 0], centers).argmin(1))


def test_a_starved_cell_is_refilled():
    labels, _, _ = cluster(POINTS, GROUPS // 2)  # 2 and 3 are empty
    assert set(labels[:, 0]) == {0, 1, 2, 3}


def test_what_cannot_be_clustered_is_refused():
    with pytest.raises(ValueError, match='cannot find 4 cells of 3 images'):
        SelfConditionedSampler(4, num_samples=3)
    with pytest.raises(ValueError, match='interval of SelfConditionedSampler is 0'):
        SelfConditionedSampler(4, interval=0)


@pytest.fixture
def make(make_image_folder, tmp_path_factory):
    """A function: iterations, name of a GAN -> a runner on ten images, without a bank."""
    folder = make_image_folder(tmp_path_factory.mktemp('images'), num=10, size=20)

    def make(max_iters, name='sngan', cells=CELLS, **options):
        sampler = dict(type='SelfConditionedSampler', interval=2, num_samples=max(8, cells))
        rest = dict(prior_dim=cells, per_image=True, prior_norm='none', sampler=sampler)
        work_dir = tmp_path_factory.mktemp('run')
        hooks = [dict(type='SelfConditionedHook')]
        model = gan_cfg(name, **rest)
        runner = build_runner(folder, 'x', model, work_dir, max_iters, hooks=hooks, **options)
        runner.train_dataloader.dataset._load_prior = None
        return runner

    return make


def watch(runner):
    """Train; give the cells of all views at each iteration, and the iterations of clusterings."""
    labels, done, sampler = [], [], runner.model.sampler
    step, cluster = runner.model.train_step, sampler.cluster
    sampler.cluster = lambda *args: done.append(runner.iter) or cluster(*args)
    runner.model.train_step = lambda *a, **k: labels.append(sampler.labels.clone()) or step(*a, **k)
    runner.train()
    return labels, done


def test_cells_change_at_intervals_of_the_generator_only(make):
    runner = make(13)
    before = {name: value.clone() for name, value in runner.model.discriminator.named_parameters()}
    labels, done = watch(runner)
    assert done == [0, 6, 12]  # every 2 steps of G, one in 3 iterations
    for start, end in ((0, 6), (6, 12)):
        assert all(torch.equal(labels[start], each) for each in labels[start:end])
    after = dict(runner.model.discriminator.named_parameters())
    assert not all(torch.equal(after[name], value) for name, value in before.items())
    state = load(runner, 13)['state_dict']
    assert labels[12].shape == (10, 2) and torch.equal(state['sampler.labels'], labels[12])
    assert state['sampler.counts'].tolist() == labels[12].flatten().bincount(minlength=3).tolist()
    assert state['sampler.centers'].shape == (CELLS, runner.model.discriminator.feature_dim)


@pytest.mark.parametrize('stop', [6, 8])
def test_a_resumed_run_is_the_uninterrupted_one(make, stop):
    """It stops where new cells are due, or between."""
    whole = make(10)
    labels, _ = watch(whole)
    torch.manual_seed(stop)
    resumed = make(10, resume_from=snapshot(whole, stop))
    again, done = watch(resumed)
    assert done == ([6] if stop == 6 else [])
    assert all(torch.equal(*pair) for pair in zip(labels[stop:], again, strict=True))
    for part in ('state_dict', 'optimizer', 'random_state'):
        assert_same(load(whole, 10)[part], load(resumed, 10)[part])


@pytest.mark.parametrize('name', ['biggan', 'sngan', 'stylegan2'])
def test_clustering_leaves_the_discriminator_and_random_numbers_alone(make, name):
    runner = make(1, name)
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    gan = runner.model.train()
    modes = {key: part.training for key, part in gan.named_modules()}
    weights = {key: value.clone() for key, value in gan.discriminator.state_dict().items()}
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    (hook,) = (hook for hook in runner.hooks if isinstance(hook, SelfConditionedHook))
    hook.before_train(runner)
    hook.before_train_iter(runner)
    assert gan.sampler.is_fitted
    assert {key: part.training for key, part in gan.named_modules()} == modes
    assert_same(weights, dict(gan.discriminator.state_dict()))
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.array_equal(np.random.get_state()[1], states[1]) and random.getstate() == states[2]


def test_features_are_those_of_the_images_as_training_shows_them(make):
    runner, rows = make(1, 'stylegan2'), np.array([3, 1, 2, 0])
    gan, dataset = runner.model, runner.train_dataloader.dataset
    found = extract_features(gan, dataset, rows, True)
    images = np.stack([dataset.view(row, flipped=True) for row in rows])
    pixels = torch.from_numpy(images[..., ::-1].copy()).permute(0, 3, 1, 2)  # BGR
    with torch.no_grad():
        expected = gan.discriminator.eval().extract_features((pixels.float() - 127.5) / 127.5)
    assert np.allclose(found, expected.numpy(), rtol=1e-4, atol=1e-5)
    assert extract_features(gan, dataset, rows[:3], False).shape == (3, expected.shape[1])


def test_a_batch_is_conditioned_on_the_cells_of_its_views(make):
    runner = make(1)
    gan, dataset = runner.model, runner.train_dataloader.dataset
    labels = np.arange(20).reshape(10, 2) % CELLS
    gan.sampler.set_labels(labels)
    gan.sampler.set_buffer('centers', torch.zeros(CELLS, 1))
    samples = [sample['data_samples'] for sample in dataset.__getitems__(list(range(30)))]
    flips = [int(sample.flipped) for sample in samples]
    cells = labels[[sample.sample_idx for sample in samples], flips]
    assert set(flips) == {0, 1}
    assert torch.equal(gan.data_sample_to_prior(DataSample.stack(samples)), torch.eye(CELLS)[cells])


def test_images_that_cannot_be_clustered_are_refused_before_the_first_step(make, monkeypatch):
    with pytest.raises(ValueError, match='cannot find 11 cells of 10 images'):
        make(1, cells=11).train()
    runner = make(1)
    loop = SimpleNamespace(dataloader=SimpleNamespace(dataset=[1]))
    monkeypatch.setattr(type(runner), 'train_loop', loop)
    with pytest.raises(ValueError, match='needs an ImageFolderDataset'):
        runner.call_hook('before_train')


def count_pure(cells, digits):
    """Images whose digit is the most frequent one of their cell."""
    return sum(np.bincount(digits[cells == cell]).max() for cell in np.unique(cells))


@pytest.mark.slow
def test_cells_of_digits_are_purer_than_any_chance(digits_folder, tool, tmp_path):
    options = ['prior_dim=5', 'model.sampler.interval=25', 'max_iters=160']
    options += [f'data_root={digits_folder}']
    command = ['configs/disp_sngan_digits.py', '--method', 'self_conditioned']
    tool('train.py').main([*command, '--work-dir', str(tmp_path), '--cfg-options', *options])
    gan, cfg = load_gan(tmp_path)
    digits = np.array([int(Path(key).name[0]) for key in build_training_set(cfg).image_keys])
    cells, rng = gan.sampler.labels[:, 0].numpy(), np.random.default_rng(0)
    chance = [count_pure(rng.permutation(cells), digits) for _ in range(1000)]
    assert count_pure(cells, digits) > max(chance)
