"""A config is refused for what no run can have, by the field's name, before anything is built."""

import pytest

from disp_plugin.cli.check_config import check_config
from disp_plugin.cli.config import load_config

OPTIMIZER = 'optim_wrapper.generator.optimizer'


@pytest.fixture
def check(repo_root):
    """A function: options of the digits' config -> the check of it."""

    def run(options):
        check_config(load_config(repo_root / 'configs/disp_biggan_digits.py', options))

    return run


@pytest.mark.parametrize(
    ('field', 'value', 'words'),
    [
        ('batch_size', 0, 'train_dataloader.batch_size of .* must be a number from 1, but is 0'),
        ('batch_size', None, 'must be a number, but is None'),
        ('max_iters', 'many', "train_cfg.max_iters of .* a whole number, but is 'many'"),
        ('max_iters', -5, 'must be a number from 1, but is -5'),
        ('image_size', [16, 16], r'model.image_size of .* a whole number, but is \[16, 16\]'),
        ('image_size', 0, 'must be a number from 1'),
        ('model.generator.noise_size', [1, 2], r'noise_size .* must be a number, but is \[1, 2\]'),
        ('image_size', 16.5, 'a whole number, but is 16.5'),
        ('flip', 'often', "dataset.flip of .* must be True or False, but is 'often'"),
        ('data_root', ['a', 'b'], r"data_root of .* must be text, but is \['a', 'b'\]"),
        ('default_hooks.logger.interval', 0, 'logger.interval .* must be a number from 1'),
        ('default_hooks.checkpoint.interval', 0, 'checkpoint.interval .* from 1, but is 0'),
        ('train_cfg.val_interval', -1, 'val_interval of .* must be a number from 1'),
        (f'{OPTIMIZER}.lr', -0.1, 'optimizer.lr of .* must be a number from 0, but is -0.1'),
        (f'{OPTIMIZER}.lr', float('nan'), 'optimizer.lr of .* but is nan'),
        (f'{OPTIMIZER}.type', 'Adm', "optimizer.type of .* is 'Adm'.* did you mean 'Adam"),
        ('model.sampler.type', 'VicinalMixSampler2', "did you mean 'VicinalMixSampler'"),
        ('encoder', dict(type='CheckpointEncoder', chekpoint='x'), 'did you mean checkpoint?'),
        ('custom_hooks', [dict(type='CheckpointHook', intrval=1)], 'custom_hooks.0.intrval of'),
        ('visualizer.vis_backends', [dict(type='WandbVisBackend')], 'pip install wandb'),
        ('visualizer.vis_backends', [dict(type='TensorboardVisBackend')], 'install tensorboard'),
        ('randomness', dict(sed=1), 'randomness.sed of .* is read by nothing; did you mean seed?'),
        ('randomness.seed', 'abc', "randomness.seed of .* must be a whole number, but is 'abc'"),
        ('randomness.seed', 2**32, 'must be a number from 0 to 4.29497e.09, but is 4294967296'),
        ('env_cfg.cudnn_benchmrk', True, 'read by nothing; did you mean cudnn_benchmark?'),
        ('env_cfg.mp_cfg.mp_start_method', 'spwan', 'one of fork, spawn, forkserver, but is'),
        ('log_level', 'INFOO', "log_level of .* must be one of DEBUG, INFO, .* but is 'INFOO'"),
        ('resume', 'yes', "resume of .* must be True or False, but is 'yes'"),
        ('default_hooks.logger', 5, 'default_hooks.logger of .* a dict with a type, but is 5'),
        ('default_hooks.runtime_info', None, 'runtime_info of .* a dict with a type, but is None'),
        ('custom_hooks', [dict(interval=1)], 'custom_hooks.0 of .* must be a dict with a type'),
        ('optim_wrapper.generator.clip_grad', dict(max_nrm=1), 'did you mean max_norm?'),
        ('train_cfg.dynamic_intervals', 5, r'a list of \(iteration, interval\), but is 5'),
        (
            'train_cfg',
            dict(_delete_=True, type='EpochBasedTrainLoop', max_epochs=2),
            'counts epochs, but ResumableSampler .* never ends one',
        ),
        ('model.generator.sn_style', 'toch', "one of torch, ajbrock, but is 'toch'"),
        ('model.generator.init_cfg', dict(type='orto'), 'init_cfg.type .* one of ortho, N02, x'),
        ('model.generator.out_norm_cfg', dict(type='BNN'), "is 'BNN', which no registry knows"),
        ('custom_hooks', [dict(type='X', sample_model='emma')], 'custom_hooks.0.type of'),
    ],
)
def test_what_no_run_can_have_is_named_with_the_way_out(check, monkeypatch, field, value, words):
    monkeypatch.setattr('disp_plugin.cli.check_config.find_spec', lambda name: None)
    with pytest.raises(ValueError, match=words):
        check({field: value})


def test_what_a_run_can_have_passes(check):
    check(
        {
            'default_hooks.checkpoint.interval': -1,
            f'{OPTIMIZER}.lr': 1,
            'flip': 1,
            'bank_file': None,
            'custom_hooks': [
                dict(type='EarlyStoppingHook', monitor='x', min_delta=1),
                dict(type='FiniteHook', priority='HIGH'),
            ],
            'visualizer.vis_backends': [dict(type='LocalVisBackend')],
        }
    )


@pytest.mark.parametrize(
    ('gan', 'field', 'value', 'words'),
    [
        ('sngan', 'init_cfg', dict(type='bigann'), 'one of BigGAN, Studio'),
        ('sngan', 'blocks_cfg', dict(type='SNGANGenResBlok'), "did you mean 'SNGANGenResBlock'"),
        (
            'sngan',
            'blocks_cfg',
            dict(type='SNGANGenResBlock', conv_cfg=dict(padding_mode='reflekt')),
            'conv_cfg.padding_mode .* one of zeros, circular',
        ),
        ('stylegan2', 'default_style_mode', 'mixx', 'default_style_mode .* one of mix, single'),
        ('stylegan2', 'eval_style_mode', 'sngle', 'eval_style_mode .* one of mix, single'),
        ('stylegan2', 'mix_prob', 2, 'mix_prob .* must be a number from 0 to 1, but is 2'),
        ('stylegan2', 'blur_kernel', [], r'a list of numbers such as \[1, 3, 3, 1\], but is \[\]'),
        ('stylegan2', 'blur_kernel', 'abc', 'a list of numbers'),
    ],
)
def test_words_that_mmagic_takes_without_looking_are_refused(repo_root, gan, field, value, words):
    with pytest.raises(ValueError, match=words):
        load_config(
            repo_root / f'configs/disp_{gan}_digits.py', {f'model.generator.{field}': value}
        )


@pytest.mark.slow
def test_every_config_of_ours_passes_its_parts_too(repo_root):
    files = [f for f in (repo_root / 'configs').rglob('*.py') if 'techniques' not in f.parts]
    for file in files:
        load_config(file)
