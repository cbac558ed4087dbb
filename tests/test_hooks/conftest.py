"""A real runner, a real GAN, everything tiny: what a hook is tested in."""

import itertools

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

import disp_plugin.register  # noqa: F401
from disp_plugin.priors import PriorBank

PRIOR_DIM = 6
SIZE = 16
ADAM = {'type': 'Adam', 'lr': 0.001, 'betas': (0.0, 0.9)}
_runs = itertools.count()


def biggan(**changes):
    """DISP-BigGAN at 32 px, with spectral norm and BatchNorm."""
    config = {
        'type': 'DISPBigGAN',
        'prior_dim': PRIOR_DIM,
        'generator': {
            'type': 'DISPBigGANGenerator',
            'output_scale': 32,
            'noise_size': 16,
            'base_channels': 4,
            'sn_style': 'torch',
        },
        'discriminator': {
            'type': 'PriorProjectionDiscriminator',
            'discriminator': {
                'type': 'BigGANDiscriminator',
                'input_scale': 32,
                'base_channels': 4,
                'sn_style': 'torch',
            },
        },
        'data_preprocessor': {'type': 'DataPreprocessor'},
        'discriminator_steps': 2,
        'ema_config': {'type': 'ExponentialMovingAverage', 'momentum': 0.1},
        'sampler': {'type': 'VicinalMixSampler'},
        'prior_norm': 'centered_l2',
    }
    return {**config, **changes}


def sngan(**changes):
    """DISP-SNGAN at 16 px, its blocks spelled out."""
    config = biggan(
        type='DISPSNGAN',
        generator={
            'type': 'DISPSNGANGenerator',
            'output_scale': SIZE,
            'noise_size': 8,
            'base_channels': 4,
            'channels_cfg': [2, 2],
            'with_spectral_norm': True,
        },
        discriminator={
            'type': 'PriorProjectionDiscriminator',
            'discriminator': {
                'type': 'ProjDiscriminator',
                'input_scale': SIZE,
                'base_channels': 4,
                'channels_cfg': [2, 2],
                'downsample_cfg': [True, False],
            },
        },
        discriminator_steps=3,
    )
    return {**config, **changes}


def stylegan2(**changes):
    """DISP-StyleGAN2 at 8 px with adaptive augmentation, regularized at every other step."""
    augmentation = {
        'type': 'ADAAug',
        'aug_pipeline': {'xflip': 1, 'rotate90': 1, 'scale': 1, 'brightness': 1},
        'update_interval': 2,
        'augment_initial_p': 0.3,
        'ada_kimg': 1,
    }
    config = biggan(
        type='DISPStyleGAN2',
        generator={
            'type': 'DISPStyleGAN2Generator',
            'out_size': 8,
            'style_channels': 8,
            'channel_max': 8,
            'num_mlps': 2,
        },
        discriminator={
            'type': 'PriorProjectionDiscriminator',
            'equalized_lr': True,
            'discriminator': {
                'type': 'SizedStyleGAN2Discriminator',
                'in_size': 8,
                'channel_max': 8,
                'data_aug': augmentation,
            },
        },
        discriminator_steps=1,
        loss_config={'r1_interval': 2, 'g_reg_interval': 2},
    )
    return {**config, **changes}


@pytest.fixture(scope='session')
def gan_cfg():
    """The configs of the GANs by name; each a function of changes."""
    return {'biggan': biggan, 'sngan': sngan, 'stylegan2': stylegan2}


@pytest.fixture(scope='session')
def data(tmp_path_factory, make_image_folder):
    """A folder of ten images and the file of its bank, with priors of both flip views."""
    folder = make_image_folder(tmp_path_factory.mktemp('data') / 'images', num=10, size=20)
    keys = [f'image_{index:04d}.png' for index in range(10)]
    priors = torch.randn(10, 2, PRIOR_DIM, generator=torch.Generator().manual_seed(0))
    bank_file = folder.parent / 'bank.safetensors'
    PriorBank(keys, priors).save(bank_file)
    return folder, bank_file


def run_cfg(folder, bank_file, model, work_dir, max_iters, **options):
    """The config of a run as users write it; options replace its parts."""
    generator, takes_priors = model['generator'], model['prior_dim'] > 0
    size = generator.get('output_scale') or generator['out_size']
    num_workers = options.pop('num_workers', 0)
    dataset = {
        'type': 'ImageFolderDataset',
        'data_root': str(folder),
        'image_size': size,
        'flip': True,
        'bank_file': str(bank_file) if takes_priors else None,
        # serializing ends in a full garbage collection: a quarter of a tiny run's time
        'serialize_data': False,
    }
    hooks = [{'type': 'PriorSamplerHook'}] if takes_priors else []
    checkpoint = {'type': 'CheckpointHook', 'interval': 100, 'by_epoch': False, 'save_last': False}
    checkpoint.update(options.pop('checkpoint', {}))
    config = {
        'default_scope': 'mmagic',
        'work_dir': str(work_dir),
        'experiment_name': f'run_{next(_runs)}',
        'model': model,
        'train_dataloader': {
            'batch_size': options.pop('batch_size', 4),
            'num_workers': num_workers,
            'persistent_workers': num_workers > 0,
            'sampler': options.pop('sampler', {'type': 'ResumableSampler'}),
            'dataset': options.pop('dataset', dataset),
        },
        'train_cfg': {'type': 'ResumableTrainLoop', 'max_iters': max_iters},
        'optim_wrapper': {
            'constructor': 'MultiOptimWrapperConstructor',
            **{network: {'optimizer': ADAM} for network in ('generator', 'discriminator')},
        },
        'default_hooks': {'checkpoint': checkpoint, 'logger': {'type': 'LoggerHook'}},
        'custom_hooks': [*hooks, {'type': 'RandomStateHook'}],
        'visualizer': {'type': 'Visualizer', 'vis_backends': [{'type': 'VisBackend'}]},
        'randomness': {'seed': 1},
        'log_level': 'WARNING',
    }
    return {**config, **options}


@pytest.fixture(scope='session')
def make_runner(data, tmp_path_factory):
    """A function (model, max_iters, **parts of the config) -> Runner in a folder of its own."""

    def make(model, max_iters=2, **options):
        folder, bank_file = options.pop('data', data)
        work_dir = tmp_path_factory.mktemp('run')
        cfg = run_cfg(folder, bank_file, model, work_dir, max_iters, **options)
        return Runner.from_cfg(Config(cfg))

    return make


@pytest.fixture(scope='session')
def visualization():
    """A function -> config of mmagic's VisualizationHook on fixed priors."""

    def make(interval, **kwargs):
        vis = {'type': 'FixedPriors', 'name': 'fake', 'target_keys': 'fake_img', **kwargs}
        return {
            'type': 'VisualizationHook',
            'interval': interval,
            'n_samples': 4,
            'n_row': 2,
            'vis_kwargs_list': vis,
        }

    return make


@pytest.fixture
def decoded(monkeypatch):
    """The names of the files that the training pipeline decodes in this process, in order."""
    from disp_plugin.datasets import image_folder_dataset

    names = []
    decode = image_folder_dataset.decode_image

    def count(path):
        names.append(path)
        return decode(path)

    monkeypatch.setattr(image_folder_dataset, 'decode_image', count)
    return names
