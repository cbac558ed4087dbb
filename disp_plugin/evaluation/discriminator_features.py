"""D_f(x), the feature space in which a discriminator compares images with priors."""

from typing import Any

import torch
from mmagic.models.editors.stylegan2.stylegan2_modules import ModMBStddevLayer
from mmengine.model import is_model_wrapper
from torch import Tensor

from disp_plugin.applications.frozen import frozen

__all__ = ['discriminator_features']


@torch.no_grad()
def discriminator_features(gan: Any, images: Tensor, batch_size: int = 32) -> Tensor:
    """Compute what enters the last linear layer of a trained discriminator.

    The discriminator evaluates and is as it was afterwards; adaptive augmentation is left out. One
    that looks at statistics of its batch, as StyleGAN2's, is shown the images one by one, so that
    features are those of an image alone.

    Args:
        gan (nn.Module): A DISP GAN.
        images (Tensor): (N, 3, H, W) in [-1, 1], in the GAN's channel order.
        batch_size (int): Images at a time. Defaults to 32.

    Returns:
        Tensor: (N, F) float32 on the CPU.

    Raises:
        ValueError: The GAN has no discriminator whose features are known, or no images were given.
    """
    network: Any = getattr(gan, 'discriminator', None)
    while is_model_wrapper(network):
        network = network.module
    if not hasattr(network, 'extract_features'):
        raise ValueError(
            f'the discriminator is a {type(network).__name__}, but D_f is known of a '
            'PriorProjectionDiscriminator only, which the configs disp_* have'
        )
    if len(images) == 0:
        raise ValueError('there are no images to compute features of')
    if any(isinstance(module, ModMBStddevLayer) for module in network.modules()):
        batch_size = 1
    device = next(network.parameters()).device
    with frozen(network):
        parts = [network.extract_features(part.to(device)) for part in images.split(batch_size)]
    return torch.cat(parts).float().cpu()
