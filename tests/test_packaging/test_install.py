"""What a user gets from the wheel: their config trains, by our tools and by mmagic's own."""

import pytest

pytestmark = [pytest.mark.install, pytest.mark.slow]

THEIRS = """
_base_ = [__import__('disp_plugin').base('disp_biggan_digits.py')]
train_cfg = dict(max_iters=2)
train_dataloader = dict(batch_size=4)
default_hooks = dict(checkpoint=dict(interval=2))
model = dict(
    generator=dict(base_channels=4), discriminator=dict(discriminator=dict(base_channels=4)))
"""

# Random weights in the form that tools/pretrain_encoder.py gives them.
WRITE_ENCODER = """
import json, sys, torch
import disp_plugin.register
from disp_plugin.encoders import CheckpointEncoder
from disp_plugin.encoders.backbone import META_KEY
from mmengine.config import Config

assert 'site-packages' in disp_plugin.__file__, disp_plugin.__file__
meta = dict(arch='timm/resnet18', arch_kwargs=dict(channels=[16, 32, 64, 128]), in_size=16)
network = CheckpointEncoder(**meta, untrained=True).network
torch.save({META_KEY: json.dumps(meta), **network.state_dict()}, 'data/digits/encoder.pth')
"""

SHRINK = [
    '--cfg-options',
    'train_cfg.max_iters=2',
    'train_dataloader.batch_size=4',
    'default_hooks.checkpoint.interval=2',
    'model.generator.base_channels=4',
    'model.discriminator.discriminator.base_channels=4',
]


def installed_file(python, path):
    return next(python.parents[1].glob(f'lib/python*/site-packages/{path}'))


def train_by_mmagic(python, clean_run, cwd, work_dir, fails=False):
    """mmagic's own script on our config as it was installed."""
    script = installed_file(python, 'mmagic/.mim/tools/train.py')
    path = installed_file(python, 'disp_plugin/.mim/configs/disp_biggan_digits.py')
    arguments = [script, path, '--work-dir', work_dir, *SHRINK]
    return clean_run(python, *arguments, cwd=cwd, fails=fails)


@pytest.fixture(scope='module')
def project(current, clean_run, tmp_path_factory):
    """A folder outside of any checkout with the digits, an encoder and a config of theirs."""
    folder = tmp_path_factory.mktemp('project')
    converter = 'disp_plugin/.mim/tools/dataset_converters/digits.py'
    clean_run(current, installed_file(current, converter), cwd=folder)
    clean_run(current, '-c', WRITE_ENCODER, cwd=folder)
    (folder / 'theirs.py').write_text(THEIRS)
    # mmagic's own script builds no bank
    clean_run(current, '-m', 'disp_plugin', 'build_prior_bank', 'theirs.py', cwd=folder)
    return folder


def test_a_config_of_theirs_that_inherits_ours_trains(current, clean_run, project):
    options = ['--cfg-options', 'bank_file=theirs.safetensors']
    text = clean_run(current, '-m', 'disp_plugin', 'train', 'theirs.py', *options, cwd=project)
    assert 'building it' in text  # the bank
    assert (project / 'work_dirs' / 'theirs' / 'iter_2.pth').is_file()


def test_mmagics_own_script_needs_the_startup_hook_and_trains_with_it(current, clean_run, project):
    died = train_by_mmagic(current, clean_run, project, 'died', fails=True)
    assert 'pkg_resources' in died or 'bool8' in died
    clean_run(current, '-m', 'disp_plugin.upstream', 'install', cwd=project)
    try:
        train_by_mmagic(current, clean_run, project, 'hooked')
    finally:
        clean_run(current, '-m', 'disp_plugin.upstream', 'remove', cwd=project)
    assert (project / 'hooked' / 'iter_2.pth').is_file()


def test_mmagics_own_script_trains_by_custom_imports_alone_on_numpy_1_26(older, clean_run, project):
    train_by_mmagic(older, clean_run, project, 'older')
    assert (project / 'older' / 'iter_2.pth').is_file()
