"""Tiny GANs of all architectures, DISP's and mmagic's own, trained without a runner."""

import itertools

import torch
from mmagic.registry import MODELS
from mmagic.structures import DataSample
from mmengine.logging import MessageHub
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.runner import Runner

import disp_plugin.register  # noqa: F401

PRIOR_DIM, NOISE, WIDTH, NUM_CLASSES = 6, 16, 8, 5
# those that mmagic has, too
TYPE = {'sngan': 'SNGAN', 'biggan': 'BigGAN', 'stylegan2': 'StyleGAN2'}
ALL = (*TYPE, 'fastgan')
SIZE = {'sngan': 32, 'biggan': 32, 'stylegan2': 8}
SIZE_FIELDS = {'sngan': ('output_scale', 'input_scale'), 'stylegan2': ('out_size', 'in_size')}
SIZE_FIELDS['biggan'] = SIZE_FIELDS['sngan']
# What generators and discriminators have besides their sizes.
GENERATOR = {
    'sngan': dict(base_channels=4, noise_size=NOISE),
    'biggan': dict(base_channels=4, noise_size=NOISE),
    'stylegan2': dict(channel_max=WIDTH, style_channels=NOISE, num_mlps=2),
    'fastgan': dict(base_channels=2, noise_size=NOISE),
}
NETWORK = {
    'sngan': dict(type='ProjDiscriminator', base_channels=4),
    'biggan': dict(type='BigGANDiscriminator', base_channels=4, sn_style='torch'),
    'stylegan2': dict(type='SizedStyleGAN2Discriminator', channel_max=WIDTH),
    'fastgan': dict(type='ProjDiscriminator', base_channels=4),
}
_NUMBERS = itertools.count()


def gan_config(name, stock=False, generator=None, network=None, discriminator=None, **changes):
    """A DISP GAN, whose ``image_size`` is stated once; or mmagic's, with labels where it can.

    ``generator`` and ``network`` are options of the generator and of the discriminator,
    ``discriminator`` of what wraps it, which is None in ``changes`` for a GAN without one.
    """
    kind = TYPE.get(name, 'FastGAN')
    config = dict(
        type=kind if stock else f'DISP{kind}',
        generator=dict(GENERATOR[name], type=f'DISP{kind}Generator'),
        discriminator=dict(
            type='DiscriminatorWrapper' if stock else 'PriorProjectionDiscriminator',
            discriminator={**NETWORK[name], **(network or {})},
        ),
        data_preprocessor=dict(type='DataPreprocessor'),
    )
    if not stock:
        config.update(prior_dim=PRIOR_DIM, image_size=SIZE.get(name, 32))
        config['discriminator']['equalized_lr'] = name == 'stylegan2'
    else:
        of_generator, of_network = SIZE_FIELDS[name]
        config['generator'][of_generator] = SIZE[name]
        config['discriminator']['discriminator'][of_network] = SIZE[name]
        if name == 'stylegan2':
            config['generator'].update(prior_dim=0, update_mean_latent_with_ema=False)
            # mmagic divides by the mean of path lengths, which is 0 for a while in small ones
            paths = dict(g_reg_weight=0.0, g_reg_interval=1000)
            config['loss_config'] = {**paths, **changes.pop('loss_config', {})}
        else:
            config['generator']['type'] = f'{kind}Generator'
            config.update(num_classes=NUM_CLASSES, noise_size=NOISE)
    config['generator'].update(generator or {})
    config['discriminator'].update(discriminator or {})
    return {**config, **changes}


def make_gan(name, stock=False, seed=0, **changes):
    """Build a GAN in training mode; the arguments are those of :func:`gan_config`."""
    torch.manual_seed(seed)
    return MODELS.build(gan_config(name, stock, **changes)).train()


def draw(gan, num=3):
    """Noise and priors for a GAN's generator."""
    return torch.randn(num, gan.noise_size), torch.randn(num, gan.prior_dim)


def make_batch(images):
    """A batch of uint8 images with priors and labels as a data loader hands it over."""
    samples = [DataSample(gt_img=img, gt_prior=torch.rand(PRIOR_DIM)) for img in images]
    for number, sample in enumerate(samples):
        sample.set_gt_label(number % NUM_CLASSES)
        sample.set_field(number, 'sample_idx', field_type='metainfo')
    return dict(inputs=dict(img=list(images)), data_samples=samples)


def train_gan(
    gan,
    num_iters=1,
    images=None,
    lr=1e-3,
    optimizer=torch.optim.Adam,
    wrapper=OptimWrapper,
    **options,
):
    """Take mmagic's steps in a message hub of their own; return what each logged.

    ``options`` are those of the optimizers' wrappers.
    """
    size = SIZE['stylegan2' if 'StyleGAN2' in type(gan).__name__ else 'biggan']
    wrappers = OptimWrapperDict(
        **{
            part: wrapper(optimizer(getattr(gan, part).parameters(), lr), **options)
            for part in ('generator', 'discriminator')
        }
    )
    hub = MessageHub.get_instance(f'train_{next(_NUMBERS)}')
    logged = []
    for index in range(num_iters):
        batch = images
        if images is None:
            batch = torch.randint(0, 256, (4, 3, size, size), dtype=torch.uint8)
        hub.update_info('iter', index)
        found = gan.train_step(make_batch(batch), wrappers)
        # a value may be the tensor that the next step changes
        logged.append({key: value.detach().clone() for key, value in found.items()})
    return logged


class Images(torch.utils.data.Dataset):
    """Eight random images with priors, as mmagic's pipelines pack them."""

    metainfo = {}

    def __init__(self, size):
        images = torch.randint(0, 256, (8, 3, size, size), dtype=torch.uint8)
        self.batch = make_batch(images)

    def __len__(self):
        return 8

    def __getitem__(self, index):
        img = self.batch['inputs']['img'][index]
        return dict(inputs=dict(img=img), data_samples=self.batch['data_samples'][index])


def make_runner(gan, folder, max_iters, interval, adam=None, **options):
    """A runner that trains a DISP GAN in a folder and saves it at each interval."""
    part = dict(optimizer=dict(type='Adam', **(adam or dict(lr=1e-3))))
    return Runner(
        gan,
        str(folder),
        train_dataloader=dict(
            dataset=Images(gan.image_size),
            batch_size=4,
            num_workers=0,
            sampler=dict(type='InfiniteSampler'),
        ),
        train_cfg=dict(by_epoch=False, max_iters=max_iters),
        optim_wrapper=dict(
            constructor='MultiOptimWrapperConstructor', generator=part, discriminator=part
        ),
        default_hooks=dict(
            checkpoint=dict(type='CheckpointHook', interval=interval, by_epoch=False),
            logger=dict(type='LoggerHook', interval=1),
        ),
        default_scope='mmagic',
        log_level='ERROR',
        experiment_name=f'run_{next(_NUMBERS)}',
        **options,
    )


def assert_same_steps(plain, ours):
    """Check that two steps move one GAN's entries as they move another's that has more."""
    ours.load_state_dict(plain.state_dict(), strict=False)
    for gan in (plain, ours):
        torch.manual_seed(1)
        train_gan(gan, 2)
    expected, actual = plain.state_dict(), ours.state_dict()
    assert all(torch.equal(actual[key], value) for key, value in expected.items())
