"""A walk from the prior of one image to that of another."""

import numpy as np
import torch
from torch import Tensor

from disp_plugin.models import PriorGAN

from .sample_images import check_rows, sample_images


def interpolate_priors(
    gan: PriorGAN,
    first: Tensor,
    second: Tensor,
    noise: Tensor,
    num_steps: int = 10,
    batch_size: int = 32,
    sample_model: str | None = None,
) -> np.ndarray:
    """Generate images from priors on the line between two, all with one noise.

    Raw priors are mixed, as the vicinal sampler mixes them: (1 - t) first + t second, with t in
    equal steps from 0 to 1.

    Args:
        gan (PriorGAN): A DISP GAN in evaluation mode.
        first (Tensor): (1, D) raw prior that the walk starts from.
        second (Tensor): (1, D) raw prior that it ends at.
        noise (Tensor): (1, Z).
        num_steps (int): S, images with both ends. Defaults to 10.
        batch_size (int): Images at a time. Defaults to 32.
        sample_model (str | None): As in :func:`sample_images`. Defaults to None.

    Returns:
        np.ndarray: (S, H, W, 3) uint8 RGB.

    Raises:
        ValueError: The GAN takes no priors, priors or noise are of another shape or not finite, or
            an option is out of range.
    """
    if not gan.prior_dim:
        raise ValueError('this GAN takes no priors (it is a baseline): nothing to walk between')
    if num_steps < 2:
        raise ValueError(f'a walk needs at least 2 images, its ends, but num_steps is {num_steps}')
    check_rows('the first prior', first, 1, gan.prior_dim)
    check_rows('the second prior', second, 1, gan.prior_dim)
    check_rows('the noise', noise, 1, gan.noise_size)
    fractions = torch.linspace(0, 1, num_steps)[:, None]
    priors = torch.lerp(first.float().cpu(), second.float().cpu(), fractions)
    noises = noise.expand(num_steps, -1)
    batches = sample_images(gan, noises, priors, batch_size, sample_model=sample_model)
    return np.concatenate(list(batches))
