"""The three GANs with priors, and mmagic's own, each small, and training steps without a runner."""

import itertools

import pytest
import torch
from mmagic.registry import MODELS
from mmagic.structures import DataSample
from mmengine.logging import MessageHub
from mmengine.optim import OptimWrapper, OptimWrapperDict

import disp_plugin.register  # noqa: F401

PRIOR_DIM = 4
NUM_CLASSES = 5
SIZE = {'sngan': 32, 'biggan': 32, 'stylegan2': 8}
NETWORK = {
    'sngan': dict(type='ProjDiscriminator', input_scale=32, base_channels=4),
    'biggan': dict(type='BigGANDiscriminator', input_scale=32, base_channels=4, sn_style='torch'),
    'stylegan2': dict(type='SizedStyleGAN2Discriminator', in_size=8, channel_max=8),
}
GENERATOR = {
    'sngan': dict(type='SNGANGenerator', output_scale=32, base_channels=4, noise_size=16),
    'biggan': dict(type='BigGANGenerator', output_scale=32, base_channels=4, noise_size=16),
    'stylegan2': dict(
        type='DISPStyleGAN2Generator', out_size=8, style_channels=8, num_mlps=1, channel_max=8
    ),
}
TYPE = {'sngan': 'SNGAN', 'biggan': 'BigGAN', 'stylegan2': 'StyleGAN2'}
# mmagic's own StyleGAN2 divides by the mean of path lengths, which is 0 for a while in small ones
NO_PATHS = dict(g_reg_weight=0.0, g_reg_interval=1000)


_NUMBERS = itertools.count()


@pytest.fixture(autouse=True)
def hub_of_its_own():
    """A message hub refuses to be told of a value as resumed here and as not resumed there."""
    MessageHub.get_instance(f'techniques_{next(_NUMBERS)}')


def disp_config(name, discriminator, **changes):
    """A DISP GAN; ``discriminator`` is what its PriorProjectionDiscriminator is given besides."""
    generator = dict(GENERATOR[name], type=f'DISP{TYPE[name]}Generator')
    wrapper = dict(type='PriorProjectionDiscriminator', equalized_lr=name == 'stylegan2')
    return dict(
        type=f'DISP{TYPE[name]}',
        prior_dim=PRIOR_DIM,
        generator=generator,
        discriminator={**wrapper, 'discriminator': NETWORK[name], **discriminator},
        data_preprocessor=dict(type='DataPreprocessor'),
        **changes,
    )


def stock_config(name, discriminator, **changes):
    """One of mmagic's GANs, with labels where it can, its D in a DiscriminatorWrapper."""
    config = dict(
        type=TYPE[name],
        generator=dict(GENERATOR[name]),
        discriminator=dict(
            type='DiscriminatorWrapper', discriminator=NETWORK[name], **discriminator
        ),
        data_preprocessor=dict(type='DataPreprocessor'),
    )
    if name == 'stylegan2':
        config['generator'].update(prior_dim=0, update_mean_latent_with_ema=False)
        config['loss_config'] = dict(NO_PATHS, **changes.pop('loss_config', {}))
    else:
        config.update(num_classes=NUM_CLASSES, noise_size=16)
    return {**config, **changes}


@pytest.fixture(scope='session')
def make_gan():
    """A function (name, stock=False, discriminator={}, **parts of the config) -> GAN."""

    def make(name, stock=False, discriminator=None, **changes):
        torch.manual_seed(0)
        config = (stock_config if stock else disp_config)(name, discriminator or {}, **changes)
        return MODELS.build(config).train()

    return make


@pytest.fixture
def train_gan():
    """A function (gan, num_iters, images=None, lr=1e-3) -> what each of mmagic's steps logged."""
    hub = MessageHub.get_current_instance()

    def train(gan, num_iters=1, images=None, lr=1e-3):
        size = SIZE['stylegan2' if 'StyleGAN2' in type(gan).__name__ else 'biggan']
        wrappers = OptimWrapperDict(
            **{
                part: OptimWrapper(torch.optim.Adam(getattr(gan, part).parameters(), lr))
                for part in ('generator', 'discriminator')
            }
        )
        logged = []
        for index in range(num_iters):
            batch = images
            if images is None:
                batch = torch.randint(0, 256, (4, 3, size, size), dtype=torch.uint8)
            samples = [DataSample(gt_img=img, gt_prior=torch.rand(PRIOR_DIM)) for img in batch]
            for number, sample in enumerate(samples):
                sample.set_gt_label(number % NUM_CLASSES)
            hub.update_info('iter', index)
            data = dict(inputs=dict(img=list(batch)), data_samples=samples)
            found = gan.train_step(data, wrappers)
            # a value may be the tensor that the next step changes
            logged.append({key: value.detach().clone() for key, value in found.items()})
        return logged

    return train
