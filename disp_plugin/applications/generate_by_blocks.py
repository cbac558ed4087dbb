"""Images from a generator whose resolution blocks each get a projected prior of their own."""

from contextlib import ExitStack
from typing import Any

import torch
from mmagic.models.editors.biggan.biggan_modules import SelfAttentionBlock
from mmagic.models.editors.stylegan2 import StyleGAN2Generator
from torch import Tensor, nn

from disp_plugin.techniques import MinedGenerator

__all__ = ['generate_by_blocks', 'list_blocks']


def list_blocks(generator: nn.Module) -> list[list[nn.Module]]:
    """List the resolution blocks of a generator by their layers that take a condition.

    Args:
        generator (nn.Module): A DISP generator; SNGAN's and BigGAN's blocks are one such layer
            each, those of StyleGAN2 the convolutions and the layer to RGB of one resolution.

    Returns:
        list[list[nn.Module]]: K blocks, from the smallest resolution on.

    Raises:
        ValueError: The generator takes no prior.
    """
    host: Any = generator.generator if isinstance(generator, MinedGenerator) else generator
    if not getattr(host, 'prior_dim', 0):
        raise ValueError(
            f'{type(host).__name__} takes no prior (it is a baseline), so that its blocks have '
            'none to be given; use a checkpoint of a config disp_*'
        )
    if isinstance(host, StyleGAN2Generator):
        doubled = zip(host.convs[::2], host.convs[1::2], host.to_rgbs, strict=True)
        return [[host.conv1, host.to_rgb1], *map(list, doubled)]
    # mmagic's self-attention stands among the blocks and takes no condition
    return [[block] for block in host.conv_blocks if not isinstance(block, SelfAttentionBlock)]


def generate_by_blocks(generator: nn.Module, noise: Tensor, prior_embs: Tensor) -> Tensor:
    """Generate images, each resolution block conditioned by its own projected prior.

    The same projected prior for all blocks gives G(z | p). The noise inside a StyleGAN2 is held
    fixed, as where images are sampled.

    Legend: N images, K blocks, E length of a projected prior, Z of the noise.

    Args:
        generator (nn.Module): A DISP generator, in evaluation mode.
        noise (Tensor): (N, Z).
        prior_embs (Tensor): (N, K, E), what ``generator.prior_projection`` makes of a prior. It
            reaches a BigGAN's block beside that block's chunk of the noise, and a StyleGAN2's as
            the style that the mapping makes of it and of the noise.

    Returns:
        Tensor: (N, 3, H, W) images, about [-1, 1], in the channel order of training; differentiable
        with respect to ``prior_embs``.

    Raises:
        ValueError: The generator takes no prior.
    """
    host: Any = generator
    if isinstance(host, MinedGenerator):
        host, noise = host.generator, host.mine(noise)
    blocks = list_blocks(host)
    is_styled = isinstance(host, StyleGAN2Generator)
    conditions = _make_styles(host, noise, prior_embs) if is_styled else prior_embs
    options = {'randomize_noise': False} if is_styled else {}
    # no block sees it
    prior = noise.new_zeros(len(noise), host.prior_dim)
    with ExitStack() as hooks:
        for layers, condition in zip(blocks, conditions.unbind(1), strict=True):
            for layer in layers:
                handle = layer.register_forward_pre_hook(_Replace(condition))
                hooks.callback(handle.remove)
        # not by a call: code that torch has compiled does not look for new hooks
        return host.forward(noise, prior, **options)


class _Replace:
    """Put a condition in the place of the one that a layer is called with, (N, E) or longer."""

    def __init__(self, condition: Tensor) -> None:
        self.condition = condition

    def __call__(self, layer: nn.Module, args: tuple) -> tuple:
        features, given, *others = args
        noise_chunk = given[:, self.condition.shape[1] :]
        return features, torch.cat([self.condition, noise_chunk], dim=1), *others


def _make_styles(generator: Any, noise: Tensor, prior_embs: Tensor) -> Tensor:
    """Map noise and each block's projected prior to that block's style, (N, K, W)."""
    num_blocks = prior_embs.shape[1]
    latent = StyleGAN2Generator.forward(
        generator,
        noise.repeat_interleave(num_blocks, dim=0),
        label=prior_embs.flatten(0, 1),
        return_latent_only=True,
    )
    return latent[:, 0].unflatten(0, (-1, num_blocks))
