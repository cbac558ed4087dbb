"""A config of mmagic's with its own data set and pipeline, to which only DISP is added."""

import os
import subprocess
import sys
from pathlib import Path

import mmagic
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

import disp_plugin.register  # noqa: F401
from disp_plugin.datasets import ImageFolderDataset
from disp_plugin.priors import PriorBank, build_bank

CONFIG = """
_base_ = ['mmagic::styleganv2/stylegan2_c2_8xb4-800kiters_lsun-cat-256x256.py']

custom_imports = dict(imports=['disp_plugin.register'], allow_failed_imports=False)
encoder = dict(type='PixelEncoder', size=4)
data_root = {folder!r}

model = dict(
    type='DISPStyleGAN2',
    prior_dim=16,
    prior_norm='centered_l2',
    sampler=dict(type='GMMPriorSampler', num_components=2, pca_variance=None),
    generator=dict(
        type='DISPStyleGAN2Generator', out_size=8, style_channels=8, channel_max=8, num_mlps=2),
    discriminator=dict(
        _delete_=True,
        type='PriorProjectionDiscriminator',
        equalized_lr=True,
        discriminator=dict(type='SizedStyleGAN2Discriminator', in_size=8, channel_max=8)))

train_dataloader = dict(
    batch_size=4,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        data_root=data_root,
        recursive=True,
        pipeline=[
            dict(type='LoadImageFromFile', key='gt'),
            dict(type='Resize', keys='gt', scale=(8, 8), interpolation='bicubic',
                 backend='pillow'),
            dict(type='Flip', keys=['gt'], direction='horizontal'),
            dict(type='LoadPrior', bank_file={bank!r}, data_root=data_root),
            dict(type='PackInputs', data_keys=['gt_prior']),
        ]))

train_cfg = dict(max_iters=2)
val_cfg = test_cfg = val_dataloader = test_dataloader = val_evaluator = test_evaluator = None
custom_hooks = [dict(type='GMMSamplerHook')]
default_hooks = dict(checkpoint=dict(interval=2, save_best=None))
"""


@pytest.fixture
def config(image_folder, tmp_path):
    """The config's file; the bank is built of a stated view, as --images FOLDER does."""
    dataset = ImageFolderDataset(str(image_folder), image_size=8, flip=True)
    bank = tmp_path / 'bank.safetensors'
    build_bank(dataset, dict(type='PixelEncoder', size=4), bank, progress=False)
    file = tmp_path / 'config.py'
    file.write_text(CONFIG.format(folder=str(image_folder), bank=str(bank)))
    return file


def check_trained(work_dir, bank):
    checkpoint = torch.load(Path(work_dir, 'iter_2.pth'), weights_only=False)
    assert checkpoint['state_dict']['sampler.means'].shape == (2, 16)
    assert checkpoint['prior_bank']['fingerprint'] == PriorBank.open(bank).fingerprint


def test_it_trains_in_a_runner(config, tmp_path):
    cfg = Config.fromfile(config)
    cfg.work_dir = str(tmp_path / 'run')
    runner = Runner.from_cfg(cfg)
    runner.train()
    assert type(runner.train_dataloader.dataset).__name__ == 'BasicImageDataset'
    check_trained(cfg.work_dir, tmp_path / 'bank.safetensors')


@pytest.mark.slow
def test_it_trains_by_the_tool_of_mmagic(config, tmp_path, repo_root):
    tool = Path(mmagic.__file__).parent / '.mim' / 'tools' / 'train.py'
    # what the start-up hook of disp_plugin.upstream does in an environment that has it installed
    start = 'import runpy, sys, disp_plugin.upstream as up; up.apply_patches(); '
    start += 'up.patch_config_reading(); sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], '
    start += "run_name='__main__')"
    options = [str(config), '--work-dir', str(tmp_path / 'run')]
    command = [sys.executable, '-c', start, str(tool), *options]
    paths = os.pathsep.join([str(repo_root), os.environ.get('PYTHONPATH', '')])
    subprocess.run(command, check=True, env={**os.environ, 'PYTHONPATH': paths}, cwd=tmp_path)
    check_trained(tmp_path / 'run', tmp_path / 'bank.safetensors')
