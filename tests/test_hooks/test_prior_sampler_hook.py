import json

import numpy as np
import pytest
import torch
from mmengine.config import Config

from disp_plugin import distributed
from disp_plugin.datasets import ImageFolderDataset
from disp_plugin.hooks import prior_sampler_hook
from disp_plugin.models import PriorNormalizer
from disp_plugin.priors import PriorBank
from disp_plugin.samplers import CellSampler, GMMPriorSampler, VicinalMixSampler
from tests.numerics import assert_close_to_scale
from tests.test_hooks.tiny_runs import (
    GMM,
    KEYS,
    assert_same,
    find_differences,
    gan_cfg,
    load,
    save_bank,
    snapshot,
    visualization,
)

LATE = gan_cfg('sngan', sampler=GMM, discriminator_steps=1)


@pytest.fixture
def fits(monkeypatch):
    """What is fitted, in order."""
    calls = []
    for cls in (PriorNormalizer, VicinalMixSampler, GMMPriorSampler):

        def fit(self, source, fit=cls.fit):
            calls.append(type(self).__name__)
            fit(self, source)

        monkeypatch.setattr(cls, 'fit', fit)
    return calls


def test_before_training_both_are_fitted_to_the_bank_and_the_checkpoint_knows_it(train, data):
    run = train()
    bank = PriorBank.open(data[1])
    priors = np.array(bank.priors)
    assert_close_to_scale(
        run.model.prior_normalizer.mean, priors.mean((0, 1), dtype=np.float64), dtype=torch.float32
    )
    assert torch.equal(run.model.sampler.priors, torch.from_numpy(priors[:, 0]))
    checkpoint = load(run, 2)
    assert checkpoint['prior_bank'] == dict(
        fingerprint=bank.fingerprint,
        file=str(data[1]),
        sampler='{"type": "VicinalMixSampler"}',
    )
    assert any(key.startswith('sampler.') for key in checkpoint['state_dict'])


def test_images_that_are_nearly_the_same_to_the_encoder_are_told_once(train, monkeypatch):
    monkeypatch.setattr(PriorBank, 'find_near_copies', lambda bank: [('a.png', 'b.png', 0.99)])
    told = train(LATE).warnings
    (line,) = [text for text in told if 'nearly the same to the encoder' in text]
    assert line.startswith('1 pairs of the ') and 'a.png and b.png (0.990); look at' in line


def test_a_resumed_run_fits_again_for_another_bank_only(train, data, fits, tmp_path):
    run = train()
    assert fits == ['PriorNormalizer', 'VicinalMixSampler']
    renamed = tmp_path / 'renamed'
    renamed.write_bytes(data[1].read_bytes())
    train('sngan', 3, renamed, resume_from=snapshot(run, 2))
    assert len(fits) == 2
    other = save_bank(tmp_path / 'other', torch.rand(10, 2, 6) + 5)
    resumed = train('sngan', 3, other, resume_from=snapshot(run, 2))
    assert fits[2:] == ['PriorNormalizer', 'VicinalMixSampler']
    assert any('is another one than that of the checkpoint' in text for text in resumed.warnings)
    assert resumed.model.sampler.sample(3).min() > 4
    assert load(resumed, 3)['prior_bank']['fingerprint'] == PriorBank.open(other).fingerprint


@pytest.mark.parametrize(
    ('priors', 'message'),
    [
        (
            torch.rand(10, 2, 4),
            'prior_dim is 6 but the bank .*bank holds 4-d priors; rebuild it with '
            r'tools/build_prior_bank.py or set prior_dim=4\Z',
        ),
        (torch.rand(9, 2, 6), r'1 of 10 images has no prior in it \(image_0009.png\)'),
        (torch.rand(10, 1, 6), 'holds no priors of flipped images'),
    ],
)
def test_a_bank_of_other_priors_is_refused(train, tmp_path, priors, message):
    with pytest.raises(ValueError, match=message):
        train(bank_file=save_bank(tmp_path / 'bank', priors))


def test_a_bank_with_an_altered_prior_is_refused(train, data, tmp_path):
    bank = tmp_path / 'altered'
    content = bytearray(data[1].read_bytes())
    start = 8 + int.from_bytes(content[:8], 'little')
    content[start + json.loads(content[8:start])['priors']['data_offsets'][0] + 9] ^= 1
    bank.write_bytes(content)
    with pytest.raises(ValueError, match='altered is damaged: it was altered'):
        train(bank_file=bank)


def test_a_missing_bank_is_told_with_the_command_that_builds_it(train, tmp_path):
    with pytest.raises(FileNotFoundError, match='none.*build_prior_bank'):
        train(bank_file=tmp_path / 'none')


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(bank_path=None), 'set train_dataloader.dataset.bank_file'),
        (dict(image_size=8), 'image_size is 8 but model.image_size is 16; set both'),
    ],
)
def test_a_data_set_that_does_not_fit_the_model_is_refused(make, change, message):
    runner = make()
    vars(runner.train_dataloader.dataset).update(change)
    with pytest.raises(ValueError, match=message):
        runner.call_hook('before_train')


def test_an_encoder_that_is_not_the_banks_stops_training(train):
    with pytest.raises(ValueError, match='holds priors of another encoder'):
        train(encoder=dict(type='PixelEncoder', size=2))


def test_a_short_name_that_nobody_reads_is_refused(make, tmp_path):
    (tmp_path / 'base.py').write_text('')
    file = tmp_path / 'config.py'
    file.write_text("_base_ = ['base.py']\nbatch_size = 999\n")
    runner = make()
    runner.cfg = Config({**runner.cfg.to_dict(), 'batch_size': 999}, filename=str(file))
    with pytest.raises(ValueError, match='batch_size=999 at the top of .* has no effect'):
        runner.call_hook('before_train')


def test_a_per_image_baseline_needs_no_bank_but_the_right_number_of_images(make):
    changes = dict(per_image=True, prior_norm='none', sampler=dict(type='PerImageSampler'))
    runner = make(gan_cfg(prior_dim=10, **changes), bank_file='absent')
    runner.train_dataloader.dataset._load_prior = None
    runner.train()
    wrong = make(gan_cfg(prior_dim=9, **changes))
    with pytest.raises(ValueError, match='prior_dim is 9, but the data set has 10 images; set pri'):
        wrong.call_hook('before_train')


CELLS = dict(per_image=True, prior_norm='none', sampler=dict(type='CellSampler'))


def test_cells_of_priors_are_found_once_and_are_those_of_the_images(make, train, data, monkeypatch):
    """Also where the data set has another order than the bank."""
    listed = ImageFolderDataset.load_data_list
    monkeypatch.setattr(ImageFolderDataset, 'load_data_list', lambda self: listed(self)[::-1])
    cells = CellSampler(3)
    cells.fit(PriorBank.open(data[1]))
    whole = train(gan_cfg(prior_dim=3, **CELLS), 5)
    assert torch.equal(whole.model.sampler.labels, cells.labels.flip(0))
    monkeypatch.setattr(CellSampler, 'fit', None)
    resumed = train(gan_cfg(prior_dim=3, **CELLS), 5, resume_from=snapshot(whole, 3))
    for part in ('state_dict', 'optimizer', 'random_state'):
        assert_same(load(whole, 5)[part], load(resumed, 5)[part])
    with pytest.raises(ValueError, match='cannot find 11 cells of 10 images'):
        make(gan_cfg(prior_dim=11, **CELLS)).call_hook('before_train')


def test_a_model_without_priors_opens_no_bank(train):
    hooks = [dict(type='PriorSamplerHook')]
    assert 'prior_bank' not in load(train('plain', bank_file='absent', hooks=hooks), 2)


def test_a_model_without_a_sampler_has_its_normalizer_fitted(train):
    assert train(gan_cfg(sampler=None)).model.prior_normalizer.is_fitted


def test_images_of_the_bank_that_the_run_does_not_train_on_are_not_fitted_to(train, data, tmp_path):
    """A bank of all images may serve a run on a part of them, and must not leak the others."""
    priors = np.asarray(PriorBank.open(data[1]).priors)
    strangers = np.full((4, *priors.shape[1:]), 1000.0, dtype=np.float32)
    keys = [*KEYS, *(f'image_{index:04d}.png' for index in range(10, 14))]
    bank = save_bank(tmp_path / 'all', np.concatenate([priors, strangers]), keys)
    gan = train(bank_file=bank).model
    assert gan.sampler.priors.max() < 1000 and len(gan.sampler.priors) == 10
    assert gan.prior_normalizer.mean.max() < 1000


def test_the_other_processes_receive_what_the_first_one_fitted(train, make, monkeypatch):
    """Two processes, one after the other: the second gets the first one's broadcast."""
    sent = []
    monkeypatch.setattr(
        distributed, 'broadcast_object_list', lambda result: sent.append(list(result))
    )
    first = train()
    monkeypatch.setattr(PriorBank, 'open', lambda *_: pytest.fail('the second one opens the bank'))
    for module in (prior_sampler_hook, distributed):
        monkeypatch.setattr(module, 'is_main_process', lambda: False)

    def receive(result):
        result[:] = sent[0]

    monkeypatch.setattr(distributed, 'broadcast_object_list', receive)
    second = make()
    second.call_hook('before_train')
    for name in ('prior_normalizer', 'sampler'):
        assert not find_differences(
            getattr(first.model, name).state_dict(), getattr(second.model, name).state_dict()
        )
    checkpoint = {}
    second.call_hook('before_save_checkpoint', checkpoint=checkpoint)
    assert checkpoint['prior_bank'] == load(first, 2)['prior_bank']
    # a fault of the first stops the others too
    sent[0] = [None, ValueError('the bank is wrong')]
    with pytest.raises(ValueError, match='the bank is wrong'):
        make().call_hook('before_train')


class TestLateSampler:
    """A sampler that is slow to fit is fitted once, before it is first needed."""

    @pytest.fixture
    def fitted_at(self, monkeypatch):
        """A function that trains a runner -> its iterations that were done at each fit."""

        def train(runner):
            done = []
            fit = GMMPriorSampler.fit

            def noted(sampler, bank):
                done.append(runner.iter + 1)
                fit(sampler, bank)

            with monkeypatch.context() as patch:
                patch.setattr(GMMPriorSampler, 'fit', noted)
                runner.train()
            return done

        return train

    @pytest.mark.parametrize('hook', ['PriorSamplerHook', 'GMMSamplerHook'])
    def test_it_is_fitted_before_the_first_checkpoint_and_once(self, make, fitted_at, hook):
        runner = make(LATE, 6, checkpoint=dict(interval=2), custom_hooks=[dict(type=hook)])
        seen = []
        step = runner.model.train_step

        def look(*args, **kwargs):
            seen.append((runner.model.prior_normalizer.is_fitted, runner.model.sampler.is_fitted))
            return step(*args, **kwargs)

        runner.model.train_step = look
        assert fitted_at(runner) == [2]
        assert seen == [(True, False)] * 2 + [(True, True)] * 4
        means = load(runner, 2)['state_dict']['sampler.means']
        assert means.shape == (2, 6) and torch.equal(means, runner.model.sampler.means)

    def test_it_is_fitted_before_the_first_grid_or_at_the_end(self, make, fitted_at):
        never = dict(interval=100)
        grids = make(LATE, 6, checkpoint=dict(interval=5), hooks=[visualization(3)])
        assert fitted_at(grids) == [3]
        end = make(LATE, 6, checkpoint=never)
        assert fitted_at(end) == [6]
        # when it is fitted does not change training
        first, second = (run.model.generator.state_dict() for run in (grids, end))
        assert not find_differences(first, second)

    def test_a_resumed_run_fits_again_for_another_bank_or_sampler_only(
        self, make, fitted_at, tmp_path
    ):
        first = make(LATE, 2)
        assert fitted_at(first) == [1]
        resume = dict(resume_from=snapshot(first, 2), checkpoint=dict(interval=2))
        assert fitted_at(make(LATE, 4, **resume)) == []
        other = save_bank(tmp_path / 'other', torch.rand(10, 2, 6) + 50)
        resumed = make(LATE, 4, other, **resume)
        assert fitted_at(resumed) == [4]
        assert resumed.model.sampler.sample(5).min() > 40
        resumed = make({**LATE, 'sampler': {**GMM, 'num_components': 3}}, 4, **resume)
        assert fitted_at(resumed) == [4]
        assert resumed.model.sampler.means.shape == (3, 6)

    def test_what_cannot_be_fitted_is_told_before_training(self, make):
        runner = make({**LATE, 'sampler': {**GMM, 'num_components': 11}})
        with pytest.raises(ValueError, match='11 components to the 10 priors'):
            runner.train()
        assert runner.iter == 0

    def test_a_bank_that_is_rebuilt_during_the_run_is_told(self, make, data, tmp_path):
        bank = tmp_path / 'bank'
        bank.write_bytes(data[1].read_bytes())
        runner = make(LATE, 2, bank)
        step = runner.model.train_step

        def rebuild(*args, **kwargs):
            save_bank(bank, torch.rand(10, 2, 6))
            return step(*args, **kwargs)

        runner.model.train_step = rebuild
        with pytest.raises(ValueError, match='was rebuilt while this run used it'):
            runner.train()
