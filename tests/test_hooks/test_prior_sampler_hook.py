import numpy as np
import pytest
import torch
from mmengine.config import Config

from disp_plugin import distributed
from disp_plugin.hooks import PriorSamplerHook, prior_sampler_hook
from disp_plugin.models import PriorNormalizer
from disp_plugin.priors import PriorBank
from disp_plugin.samplers import VicinalMixSampler


@pytest.fixture
def make(make_runner, gan_cfg, data):
    def build(max_iters=1, bank_file=None, **options):
        model = options.pop('model', None) or gan_cfg['sngan']()
        return make_runner(
            model,
            max_iters,
            data=(data[0], bank_file or data[1]),
            custom_hooks=[{'type': 'PriorSamplerHook'}],
            checkpoint={'interval': 1},
            **options,
        )

    return build


@pytest.fixture
def fits(monkeypatch):
    """What is fitted, in order."""
    calls = []
    for cls in (PriorNormalizer, VicinalMixSampler):
        fit = cls.fit
        monkeypatch.setattr(
            cls,
            'fit',
            lambda self, source, fit=fit: calls.append(type(self).__name__) or fit(self, source),
        )
    return calls


def save_bank(tmp_path, priors, name='other.safetensors', num=10):
    keys = [f'image_{index:04d}.png' for index in range(num)]
    PriorBank(keys, priors).save(tmp_path / name)
    return tmp_path / name


def test_before_training_normalizer_and_sampler_are_fitted_to_the_bank(make, data):
    runner = make()
    assert not runner.model.sampler.is_fitted
    runner.train()
    priors = np.asarray(PriorBank.open(data[1]).priors)
    gan = runner.model
    np.testing.assert_allclose(gan.prior_normalizer.mean, priors.mean((0, 1)), atol=1e-6)
    drawn = gan.sampler.sample(5)
    assert drawn.shape == (5, 6) and torch.isfinite(drawn).all()
    assert drawn.abs().max() <= np.abs(priors[:, 0]).max()


def test_the_checkpoint_has_what_was_fitted_and_to_which_bank(make, data):
    runner = make()
    runner.train()
    checkpoint = torch.load(f'{runner.work_dir}/iter_1.pth', weights_only=False)
    bank = PriorBank.open(data[1])
    assert checkpoint['prior_bank'] == {
        'fingerprint': bank.fingerprint,
        'file': str(data[1]),
        'sampler': '{"type": "VicinalMixSampler"}',
    }
    assert any(key.startswith('sampler.') for key in checkpoint['state_dict'])


def test_nothing_is_fitted_twice_on_a_resume(make, fits):
    runner = make()
    runner.train()
    assert fits == ['PriorNormalizer', 'VicinalMixSampler']
    fits.clear()
    make(2, resume=True, load_from=f'{runner.work_dir}/iter_1.pth').train()
    assert fits == []


def test_another_bank_is_fitted_anew_and_it_is_said(make, fits, tmp_path):
    runner = make()
    runner.train()
    fits.clear()
    other = save_bank(tmp_path, torch.rand(10, 2, 6) + 5)
    resumed = make(2, other, resume=True, load_from=f'{runner.work_dir}/iter_1.pth')
    warnings = []
    resumed.logger.warning = warnings.append
    resumed.train()
    assert fits == ['PriorNormalizer', 'VicinalMixSampler']
    assert any('is another one than that of the checkpoint' in str(text) for text in warnings)
    assert resumed.model.sampler.sample(3).min() > 4
    checkpoint = torch.load(f'{resumed.work_dir}/iter_2.pth', weights_only=False)
    assert checkpoint['prior_bank']['fingerprint'] == PriorBank.open(other).fingerprint


def test_the_same_bank_under_another_name_is_not_fitted_anew(make, fits, data, tmp_path):
    runner = make()
    runner.train()
    fits.clear()
    copy = tmp_path / 'copy.safetensors'
    copy.write_bytes(data[1].read_bytes())
    make(2, copy, resume=True, load_from=f'{runner.work_dir}/iter_1.pth').train()
    assert fits == []


def test_a_bank_of_another_length_is_refused_with_both_ways_out(make, tmp_path):
    other = save_bank(tmp_path, torch.rand(10, 2, 4))
    with pytest.raises(ValueError) as caught:
        make(bank_file=other).train()
    assert str(caught.value) == (
        f'prior_dim is 6 but the bank {other} holds 4-d priors; rebuild it with '
        'tools/build_prior_bank.py or set prior_dim=4'
    )


def test_a_bank_that_lacks_an_image_is_refused_and_names_it(make, tmp_path):
    other = save_bank(tmp_path, torch.rand(9, 2, 6), num=9)
    with pytest.raises(ValueError, match=r'1 of 10 images has no prior in it \(image_0009.png\)'):
        make(bank_file=other).train()


def test_a_bank_without_flipped_views_is_refused_where_the_pipeline_flips(make, tmp_path):
    other = save_bank(tmp_path, torch.rand(10, 1, 6))
    with pytest.raises(ValueError, match='holds no priors of flipped images'):
        make(bank_file=other).train()


def test_an_encoder_that_is_not_the_banks_stops_training(make):
    with pytest.raises(ValueError, match='holds priors of another encoder'):
        make(encoder={'type': 'PixelEncoder', 'size': 2}).train()


def test_a_data_set_without_a_bank_is_told_where_to_name_it(make):
    runner = make()
    runner.train_dataloader.dataset.bank_path = None
    with pytest.raises(ValueError, match='set train_dataloader.dataset.bank_file'):
        runner.call_hook('before_train')


def test_images_of_another_size_than_the_model_makes_are_refused(make):
    runner = make()
    runner.train_dataloader.dataset.image_size = 8
    with pytest.raises(ValueError, match='image_size is 8 but model.image_size is 16; set both'):
        runner.call_hook('before_train')


def test_a_per_image_baseline_needs_no_bank_but_the_right_number_of_images(make, gan_cfg):
    changes = dict(per_image=True, prior_norm='none', sampler={'type': 'PerImageSampler'})
    runner = make(model=gan_cfg['sngan'](prior_dim=10, **changes), bank_file='absent')
    runner.train_dataloader.dataset._load_prior = None
    runner.train()
    wrong = make(model=gan_cfg['sngan'](prior_dim=9, **changes))
    with pytest.raises(ValueError, match='prior_dim is 9, but the data set has 10 images; set pri'):
        wrong.call_hook('before_train')


def test_a_missing_bank_is_told_with_the_command_that_builds_it(make, tmp_path):
    missing = tmp_path / 'none.safetensors'
    with pytest.raises(FileNotFoundError, match=r'none.safetensors.*build_prior_bank'):
        make(bank_file=missing).train()


def test_a_model_without_priors_opens_no_bank(make, gan_cfg):
    model = gan_cfg['sngan'](prior_dim=0, sampler=None)
    runner = make(model=model, bank_file='absent.safetensors')
    runner.train()
    assert runner.iter == 1
    checkpoint = torch.load(f'{runner.work_dir}/iter_1.pth', weights_only=False)
    assert 'prior_bank' not in checkpoint


def test_a_model_without_a_sampler_has_its_normalizer_fitted(make, gan_cfg):
    runner = make(model=gan_cfg['sngan'](sampler=None))
    runner.train()
    assert runner.model.prior_normalizer.is_fitted


def test_the_other_processes_receive_what_the_first_one_fitted(make, monkeypatch):
    """Two processes, one after the other: the second gets the first one's broadcast."""
    sent = []
    monkeypatch.setattr(
        distributed, 'broadcast_object_list', lambda result: sent.append(list(result))
    )
    first = make()
    first.train()
    opened = []
    monkeypatch.setattr(PriorBank, 'open', classmethod(lambda *_: opened.append('bank')))
    for module in (prior_sampler_hook, distributed):
        monkeypatch.setattr(module, 'is_main_process', lambda: False)

    def receive(result):
        result[:] = sent[0]

    monkeypatch.setattr(distributed, 'broadcast_object_list', receive)
    second = make()
    second_hook = next(hook for hook in second.hooks if isinstance(hook, PriorSamplerHook))
    second_hook.before_train(second)
    assert opened == []
    for name in ('prior_normalizer', 'sampler'):
        expected = getattr(first.model, name).state_dict()
        for key, value in getattr(second.model, name).state_dict().items():
            assert torch.equal(value, expected[key])
    checkpoint = {}
    second_hook.before_save_checkpoint(second, checkpoint)
    assert checkpoint['prior_bank']['fingerprint']


def test_a_fault_of_the_first_process_stops_the_others_too(make, monkeypatch):
    monkeypatch.setattr(distributed, 'is_main_process', lambda: False)

    def receive(result):
        result[:] = [None, ValueError('the bank is wrong')]

    monkeypatch.setattr(distributed, 'broadcast_object_list', receive)
    runner = make()
    with pytest.raises(ValueError, match='the bank is wrong'):
        runner.call_hook('before_train')


def test_images_of_the_bank_that_the_run_does_not_train_on_are_not_fitted_to(make, data, tmp_path):
    """A bank of all images may serve a run on a part of them, and must not leak the others."""
    priors = np.asarray(PriorBank.open(data[1]).priors)
    strangers = np.full((4, *priors.shape[1:]), 1000.0, dtype=np.float32)
    keys = [f'image_{index:04d}.png' for index in range(14)]
    PriorBank(keys, np.concatenate([priors, strangers])).save(tmp_path / 'all.safetensors')
    runner = make(bank_file=tmp_path / 'all.safetensors')
    runner.train()
    assert runner.model.sampler.priors.max() < 1000
    assert len(runner.model.sampler.priors) == 10
    np.testing.assert_allclose(
        runner.model.prior_normalizer.mean, priors.mean((0, 1)), rtol=1e-4, atol=1e-5
    )


def test_a_short_name_that_nobody_reads_is_refused(make, tmp_path):
    (tmp_path / 'base.py').write_text('')
    file = tmp_path / 'config.py'
    file.write_text("_base_ = ['base.py']\nbatch_size = 999\n")
    runner = make()
    runner.cfg = Config({**runner.cfg.to_dict(), 'batch_size': 999}, filename=str(file))
    with pytest.raises(ValueError, match='batch_size=999 at the top of .* has no effect'):
        runner.call_hook('before_train')
