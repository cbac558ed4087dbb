"""A real runner, a real GAN, everything tiny: configs of the runs that hooks are tested in."""

import itertools
from copy import deepcopy

import torch
from mmengine.config import Config
from mmengine.runner import Runner
from torch.utils._pytree import tree_flatten

import disp_plugin.register  # noqa: F401
from disp_plugin.priors import PriorBank

KEYS = [f'image_{index:04d}.png' for index in range(10)]
RANDOM_STATE = dict(type='RandomStateHook')
EMA_BATCH_NORM = dict(type='EMABatchNormHook', num_batches=2, batch_size=4)
GMM = dict(type='GMMPriorSampler', num_components=2, pca_variance=None)

_EMA = dict(type='ExponentialMovingAverage', momentum=0.1)
_AUGMENTATION = dict(
    type='ADAAug',
    aug_pipeline=dict(xflip=1, rotate90=1, scale=1, brightness=1),
    update_interval=2,
    augment_initial_p=0.3,
    ada_kimg=1,
)
# name -> generator, discriminator, the rest: 32, 16 and 8 px; spectral norm and BatchNorm in the
# first two, adaptive augmentation and regularizers at every other step in the third; the fourth,
# of 16 px, has averages and a weight that changes
_GANS = {
    'biggan': (
        dict(output_scale=32, noise_size=16, base_channels=4, sn_style='torch'),
        dict(type='BigGANDiscriminator', input_scale=32, base_channels=4, sn_style='torch'),
        dict(type='DISPBigGAN', discriminator_steps=2),
    ),
    'sngan': (
        dict(
            output_scale=16,
            noise_size=8,
            base_channels=4,
            channels_cfg=[2, 2],
            with_spectral_norm=True,
        ),
        dict(
            type='ProjDiscriminator',
            input_scale=16,
            base_channels=4,
            channels_cfg=[2, 2],
            downsample_cfg=[True, False],
        ),
        dict(type='DISPSNGAN', discriminator_steps=3),
    ),
    'stylegan2': (
        dict(out_size=8, style_channels=8, channel_max=8, num_mlps=2),
        dict(type='SizedStyleGAN2Discriminator', in_size=8, channel_max=8, data_aug=_AUGMENTATION),
        dict(type='DISPStyleGAN2', loss_config=dict(r1_interval=2, g_reg_interval=2)),
    ),
}
_GANS['fastgan'] = (
    dict(output_scale=16, noise_size=8, base_channels=2),
    _GANS['sngan'][1],
    dict(
        type='DISPFastGAN',
        loss='relativistic',
        disc_losses=dict(
            lecam=dict(type='LeCamLoss', start=2),
            r2=dict(
                type='R1GradientPenalty', images='fake', interval=2, final_weight=8, decay_steps=5
            ),
        ),
    ),
)
_runs = itertools.count()


def gan_cfg(name='sngan', **changes):
    """The config of a GAN; 'plain' is an SNGAN without priors."""
    if name == 'plain':
        return gan_cfg(prior_dim=0, sampler=None, **changes)
    generator, discriminator, rest = deepcopy(_GANS[name])
    wrapper = dict(type='PriorProjectionDiscriminator', discriminator=discriminator)
    if name == 'stylegan2':
        wrapper['equalized_lr'] = True
    config = dict(
        prior_dim=6,
        generator=dict(type=f'{rest["type"]}Generator', **generator),
        discriminator=wrapper,
        data_preprocessor=dict(type='DataPreprocessor'),
        ema_config=_EMA,
        sampler=dict(type='VicinalMixSampler'),
        prior_norm='centered_l2',
    )
    return {**config, **rest, **changes}


def save_bank(file, priors, keys=KEYS):
    """Write a bank of priors (N, V, D) of the first N keys; give its file."""
    PriorBank(keys[: len(priors)], priors).save(file)
    return file


def run_cfg(folder, bank_file, model, work_dir, max_iters, resume_from=None, **options):
    """The config of a run as users write it; options replace its parts."""
    generator, takes_priors = model['generator'], model['prior_dim'] > 0
    num_workers = options.pop('num_workers', 0)
    dataset = dict(
        type='ImageFolderDataset',
        data_root=str(folder),
        image_size=generator.get('output_scale') or generator['out_size'],
        flip=True,
        bank_file=str(bank_file) if takes_priors else None,
        # serializing ends in a full garbage collection: a quarter of a tiny run's time
        serialize_data=False,
    )
    optimizer = dict(optimizer=dict(type='Adam', lr=0.001, betas=(0.0, 0.9)))
    checkpoint = dict(type='CheckpointHook', interval=1, by_epoch=False, save_last=False)
    hooks = [dict(type='PriorSamplerHook')] if takes_priors else []
    config = dict(
        default_scope='mmagic',
        work_dir=str(work_dir),
        experiment_name=f'run_{next(_runs)}',
        model=model,
        train_dataloader=dict(
            batch_size=options.pop('batch_size', 4),
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            sampler=options.pop('sampler', dict(type='ResumableSampler')),
            dataset=options.pop('dataset', dataset),
        ),
        train_cfg=dict(type='ResumableTrainLoop', max_iters=max_iters),
        optim_wrapper=dict(
            constructor='MultiOptimWrapperConstructor',
            generator=optimizer,
            discriminator=optimizer,
        ),
        default_hooks=dict(
            checkpoint={**checkpoint, **options.pop('checkpoint', {})},
            logger=dict(type='LoggerHook'),
        ),
        custom_hooks=[*hooks, RANDOM_STATE, *options.pop('hooks', ())],
        visualizer=dict(type='Visualizer', vis_backends=[dict(type='VisBackend')]),
        randomness=dict(seed=1),
        log_level='WARNING',
        resume=resume_from is not None,
        load_from=resume_from and str(resume_from),
    )
    return {**config, **options}


def build_runner(*args, **options):
    """A runner, with the warnings that it logs in ``runner.warnings``."""
    runner = Runner.from_cfg(Config(run_cfg(*args, **options)))
    runner.warnings = []
    runner.logger.warning = lambda text, *args: runner.warnings.append(str(text))
    return runner


def snapshot(runner, iteration):
    """The file of a checkpoint."""
    return f'{runner.work_dir}/iter_{iteration}.pth'


def load(runner, iteration):
    """The content of a checkpoint."""
    return torch.load(snapshot(runner, iteration), weights_only=False)


def visualization(interval, **options):
    """The config of mmagic's VisualizationHook on fixed priors."""
    kwargs = dict(type='FixedPriors', name='fake', target_keys='fake_img')
    return dict(
        type='VisualizationHook',
        interval=interval,
        n_samples=4,
        n_row=2,
        vis_kwargs_list=kwargs,
        **options,
    )


def find_differences(first, second):
    """The names of what is not equal, bit for bit, in two state dicts."""
    assert first.keys() == second.keys()
    return {name for name, value in first.items() if not torch.equal(value, second[name])}


def assert_same(first, second):
    """Compare nested tensors and numbers, bit for bit."""
    (first, names), (second, same_names) = tree_flatten(first), tree_flatten(second)
    assert names == same_names
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other
