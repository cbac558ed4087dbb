"""Images that a trained GAN makes when it is asked for given ones."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import NamedTuple

import torch
from mmagic.models.base_models import BaseGAN
from mmagic.models.editors.biggan.biggan_modules import SelfAttentionBlock
from mmagic.models.editors.stylegan2 import StyleGAN2Generator
from mmengine.model import BaseAveragedModel, BaseModule, is_model_wrapper
from torch import Tensor, nn

from disp_plugin.models import DISPBigGANGenerator, DISPFastGANGenerator, DISPSNGANGenerator
from disp_plugin.progress import track
from disp_plugin.techniques import GLANNGenerator, MinedGenerator

from .sample_images import check_rows, choose_sample_model

__all__ = [
    'Inversion',
    'find_generator',
    'frozen',
    'generate_by_blocks',
    'invert_images',
    'list_blocks',
]


class Inversion(NamedTuple):
    """What inverting N images gave, all on the CPU.

    Attributes:
        images (Tensor): (N, 3, H, W) float32 in [-1, 1], in the GAN's channel order: of all steps,
            the image nearest to the query.
        losses (Tensor): (S + 1, N) mean squared difference of pixels, of the image as it is shown,
            to the query: of the start and after each of S steps.
        prior_embs (Tensor): (N, K, E), the projected priors of K blocks that made ``images``.
        noise (Tensor): (N, Z), the noise that was held fixed.
    """

    images: Tensor
    losses: Tensor
    prior_embs: Tensor
    noise: Tensor


def invert_images(
    gan: BaseGAN,
    images: Tensor,
    prior: Tensor | None,
    num_steps: int = 200,
    lr: float = 0.1,
    noise: Tensor | None = None,
    seed: int = 0,
    batch_size: int = 32,
    sample_model: str | None = None,
    progress: bool = True,
) -> Inversion:
    r"""Invert images: optimize the projected prior of every resolution block on its own.

    .. math:: \min_{e_1, \ldots, e_K} |x_q - G(z | e_1, \ldots, e_K)|^2,
              \quad e_k = G_{emb}(C(x_q)) \text{ at the start}

    by Adam, as in the paper's supplement ("Image inversion"). The paper says nothing of the noise
    z, which is held fixed here, nor of the number of steps. Adam minimizes the error of G's output,
    which can leave [-1, 1]; ``losses`` and the best step are of the image as it is shown, clamped
    to that range. Afterwards the GAN is as it was, and no global random numbers are drawn. An
    image's result does not depend on which others are inverted with it.

    A self-modulated baseline has no prior: what each block takes of the noise in its place is
    optimized, from that draw.

    Legend: N images, D length of a prior, E of a projected one, K blocks, Z length of the noise.

    Args:
        gan (BaseGAN): A DISP GAN.
        images (Tensor): (N, 3, H, W) queries in [-1, 1], in the GAN's channel order.
        prior (Tensor | None): (N, D) raw priors of the queries; None for a GAN without priors.
        num_steps (int): S, of Adam. Defaults to 200.
        lr (float): Learning rate. Defaults to 0.1, as in the paper.
        noise (Tensor | None): (N, Z), or (1, Z) for all. Defaults to None: one draw for all.
        seed (int): Of that draw. Defaults to 0.
        batch_size (int): Images at a time. Defaults to 32.
        sample_model (str | None): 'ema' for the EMA generator, 'orig' for the generator as it was
            trained. Defaults to None: 'ema' where there is one.
        progress (bool): Whether to draw a bar on a terminal. Defaults to True.

    Returns:
        Inversion: The best images, their losses at every step, and what made them.

    Raises:
        ValueError: The GAN's blocks take no condition; images, priors or noise have another shape
            than it makes or takes, or are not finite, or what it makes is not; or an option is out
            of range.
    """
    generator = find_generator(gan, sample_model)
    list_blocks(generator)
    _check_images(images)
    _check_options(num_steps, lr, batch_size)
    if noise is None:
        rng = torch.Generator().manual_seed(seed)
        noise = torch.randn(1, generator.noise_size, generator=rng)
    if len(noise) == 1:
        noise = noise.expand(len(images), -1)
    _check_queries(generator, images, prior, noise)
    device = next(generator.parameters()).device
    starts = range(0, len(images), batch_size)
    total = len(starts) * (num_steps + 1)
    steps = track(range(total), total, 'inverting', progress)
    parts = []
    with frozen(generator):
        for start in starts:
            rows = slice(start, start + batch_size)
            query, z = (values[rows].to(device) for values in (images, noise))
            raw = None if prior is None else prior[rows].to(device)
            with torch.no_grad():
                prior_embs = _start(gan, generator, z, raw)
            parts.append(_invert_batch(generator, query, prior_embs, z, num_steps, lr, steps))
    next(steps, None)  # the bar ends when it is asked for more
    best_images, losses, best_embs = zip(*parts, strict=True)
    return Inversion(
        torch.cat(best_images), torch.cat(losses, dim=1), torch.cat(best_embs), noise.clone()
    )


def _check_options(num_steps: int, lr: float, batch_size: int) -> None:
    for holds, name, rule, value in (
        (num_steps >= 0, 'number of steps', 'at least 0', num_steps),
        (0 < lr < float('inf'), 'learning rate', 'positive', lr),
        (batch_size >= 1, 'batch size', 'at least 1', batch_size),
    ):
        if not holds:
            raise ValueError(f'the {name} must be {rule}, but is {value}')


def _check_queries(
    generator: BaseModule, images: Tensor, prior: Tensor | None, noise: Tensor
) -> None:
    if (prior is None) == bool(generator.prior_dim):
        needs = 'needs the priors of the queries' if prior is None else 'takes no prior: give None'
        raise ValueError(f'prior is {"" if prior is None else "not "}None, but this GAN {needs}')
    if prior is not None:
        check_rows('the prior of the queries', prior, len(images), generator.prior_dim)
    check_rows('the noise of the queries', noise, len(images), generator.noise_size)


def _start(gan: BaseGAN, generator: BaseModule, noise: Tensor, prior: Tensor | None) -> Tensor:
    """Give each of K blocks its first condition, (N, K, E): of the prior, or of the noise."""
    blocks = list_blocks(generator)
    if prior is not None:
        prior_emb = generator.prior_projection(gan.normalize_prior(prior).to(prior.dtype))
        return prior_emb[:, None].repeat(1, len(blocks), 1)
    taken: list[Tensor] = []
    with ExitStack() as hooks:
        for (layer,) in blocks:
            # what follows the noise, of a BigGAN, no norm reads
            handle = layer.register_forward_pre_hook(
                lambda layer, args: taken.append(args[1][:, : generator.noise_size])
            )
            hooks.callback(handle.remove)
        generator.forward(noise)
    return torch.stack(taken, dim=1)


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Freeze a network in evaluation mode; restore it on exit."""
    modes = {module: module.training for module in network.modules()}
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    network.eval().requires_grad_(False)
    try:
        yield
    finally:
        network.train(modes[network])  # which does more than set the mode, in a StyleGAN2
        for module, mode in modes.items():
            module.training = mode
        for parameter in trained:
            parameter.requires_grad_(True)


@torch.enable_grad()
def _invert_batch(
    generator: BaseModule,
    query: Tensor,
    prior_embs: Tensor,
    noise: Tensor,
    num_steps: int,
    lr: float,
    steps: Iterator[int],
) -> tuple[Tensor, Tensor, Tensor]:
    prior_embs = prior_embs.requires_grad_()
    optimizer = torch.optim.Adam([prior_embs], lr=lr)
    best = torch.full((len(query),), float('inf'), device=query.device)
    best_images, best_embs = torch.zeros_like(query), prior_embs.detach().clone()
    losses = []
    for step, _ in zip(range(num_steps + 1), steps, strict=False):
        made = generate_by_blocks(generator, noise, prior_embs).to(query.dtype)
        if made.shape != query.shape:
            raise ValueError(
                f'the GAN makes images of shape {tuple(made.shape[1:])}, but the queries are of '
                f'shape {tuple(query.shape[1:])}; bring them to its size first'
            )
        # StyleGAN2 can leave [-1, 1]; what is shown does not
        shown = made.detach().clamp(-1, 1)
        loss = (shown - query).square().mean(dim=(1, 2, 3))
        losses.append(loss)
        is_better = loss < best
        best = torch.where(is_better, loss, best)
        best_images[is_better] = shown[is_better]
        best_embs[is_better] = prior_embs.detach()[is_better]
        if step < num_steps:
            # a sum over images: each has its own gradient, whatever the batch
            (prior_embs.grad,) = torch.autograd.grad(
                (made - query).square().mean(dim=(1, 2, 3)).sum(), prior_embs
            )
            optimizer.step()
    if not best.isfinite().all():
        raise ValueError(
            'the GAN makes images that are not finite; take a checkpoint from before its training '
            'diverged'
        )
    return best_images.cpu(), torch.stack(losses).cpu(), best_embs.cpu()


def find_generator(gan: BaseGAN, sample_model: str | None = None) -> BaseModule:
    """Find the network that samples, out of any wrapper; see :func:`choose_sample_model`.

    Raises:
        ValueError: The name is unknown, or there is no EMA generator.
    """
    is_ema = choose_sample_model(gan, sample_model) == 'ema'
    network = gan.generator_ema if is_ema else gan.generator
    while is_model_wrapper(network) or isinstance(network, BaseAveragedModel):
        network = network.module
    return network


def _check_images(images: Tensor) -> None:
    if images.dim() != 4 or not len(images):
        raise ValueError(f'queries must be (N, 3, H, W), N at least 1; got {tuple(images.shape)}')
    low, high = (value.item() for value in torch.aminmax(images))
    if not (low >= -1.001 and high <= 1.001):  # also true for NaN
        raise ValueError(
            f'queries must be in [-1, 1], but lie in [{low:.3g}, {high:.3g}]; turn 8-bit images '
            'into them by img / 127.5 - 1'
        )


def list_blocks(generator: BaseModule) -> list[list[nn.Module]]:
    """List the layers that take a condition by resolution block, the smallest first.

    Blocks of SNGAN, BigGAN and FastGAN are one such layer each, those of StyleGAN2 the convolutions
    and the layer to RGB of one resolution.

    Raises:
        ValueError: The generator takes no prior, and is not self-modulated.
    """
    host = _find_host(generator)
    is_self_modulated = isinstance(host, DISPSNGANGenerator | DISPFastGANGenerator) or (
        isinstance(host, DISPBigGANGenerator) and host.split_noise
    )
    takes_prior = getattr(host, 'prior_dim', 0) and not isinstance(host, GLANNGenerator)
    if not takes_prior and not is_self_modulated:
        raise ValueError(
            f'{type(host).__name__} takes no prior (it is a baseline), and its blocks have none to '
            'be given; use a checkpoint of a config disp_*'
        )
    if isinstance(host, StyleGAN2Generator):
        doubled = zip(host.convs[::2], host.convs[1::2], host.to_rgbs, strict=True)
        return [[host.conv1, host.to_rgb1], *map(list, doubled)]
    # mmagic's self-attention stands among the blocks and takes no condition
    return [[block] for block in host.conv_blocks if not isinstance(block, SelfAttentionBlock)]


def generate_by_blocks(generator: BaseModule, noise: Tensor, prior_embs: Tensor) -> Tensor:
    """Generate images, each resolution block conditioned by its own projected prior.

    The same projected prior for all blocks gives G(z | p). The noise inside a StyleGAN2 is held
    fixed, as where images are sampled.

    Legend: N images, K blocks, E length of a projected prior, Z of the noise.

    Args:
        generator (BaseModule): A DISP generator, in evaluation mode.
        noise (Tensor): (N, Z).
        prior_embs (Tensor): (N, K, E), what ``generator.prior_projection`` makes of a prior. It
            reaches a BigGAN's block beside that block's chunk of the noise, and a StyleGAN2's as
            the style that the mapping makes of it and of the noise. Of a self-modulated baseline,
            what its blocks take of the noise.

    Returns:
        Tensor: (N, 3, H, W) images, about [-1, 1], in the channel order of training; differentiable
        with respect to ``prior_embs``.

    Raises:
        ValueError: The generator takes no prior, and is not self-modulated.
    """
    host = _find_host(generator)
    if host is not generator:
        noise = generator.mine(noise)
    conditions, options = prior_embs, {}
    if isinstance(host, StyleGAN2Generator):
        conditions, options = _make_styles(host, noise, prior_embs), {'randomize_noise': False}
    # stands for the prior; no block sees it
    prior = noise.new_zeros(len(noise), host.prior_dim) if host.prior_dim else None
    with ExitStack() as hooks:
        for layers, condition in zip(list_blocks(host), conditions.unbind(1), strict=True):
            for layer in layers:
                handle = layer.register_forward_pre_hook(partial(_replace, condition))
                hooks.callback(handle.remove)
        # not by a call: code that torch has compiled does not look for new hooks
        return host.forward(noise, prior, **options)


def _find_host(generator: BaseModule) -> BaseModule:
    """Find the generator behind a miner, if there is one."""
    return generator.generator if isinstance(generator, MinedGenerator) else generator


def _replace(condition: Tensor, layer: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Put a condition in the place of the one that a layer is called with, (N, E) or longer."""
    features, given, *others = args
    noise_chunk = given[:, condition.shape[1] :]
    return features, torch.cat([condition, noise_chunk], dim=1), *others


def _make_styles(generator: BaseModule, noise: Tensor, prior_embs: Tensor) -> Tensor:
    """Map noise and each block's projected prior to that block's style, (N, K, W)."""
    num_blocks = prior_embs.shape[1]
    latent = StyleGAN2Generator.forward(
        generator,
        noise.repeat_interleave(num_blocks, dim=0),
        label=prior_embs.flatten(0, 1),
        return_latent_only=True,
    )
    return latent[:, 0].unflatten(0, (-1, num_blocks))
