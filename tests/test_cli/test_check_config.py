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
            'custom_hooks': [dict(type='EarlyStoppingHook', monitor='x', min_delta=1)],
            'visualizer.vis_backends': [dict(type='LocalVisBackend')],
        }
    )
