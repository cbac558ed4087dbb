"""Images from a trained GAN, as files: the same seed gives the same ones, whatever the batch."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from mmagic.models.base_models import BaseGAN
from PIL import Image
from torch import Tensor

from disp_plugin.files import replace_file
from disp_plugin.models import DISPGAN, Latents

CHUNK = 64


def draw_inputs(gan: BaseGAN, num: int, seed: int, prior: Tensor | None = None) -> Latents:
    """Draw noise and priors of all images up front, from a generator of their own.

    The first images do not depend on how many follow.

    Args:
        gan (BaseGAN): A GAN of this package or of mmagic.
        num (int): N, how many images.
        seed (int): Seed of both.
        prior (Tensor | None): (1, D) raw prior that all images share. Defaults to None: priors
            come from the GAN's sampler.

    Returns:
        Latents: Noise (N, Z) and raw priors (N, D), both float32 on the CPU; no priors for a GAN
        without.

    Raises:
        ValueError: ``num`` is below 1, or the prior has another length than the GAN's.
    """
    if num < 1:
        raise ValueError(f'the number of images must be at least 1, but is {num}')
    generator = torch.Generator().manual_seed(seed)
    chunks = []
    for _ in range(0, num, CHUNK):  # whole ones, so that a longer run begins with the same
        if prior is None and isinstance(gan, DISPGAN):
            chunks.append(gan.draw_latents(CHUNK, generator))
        else:
            drawn = torch.randn(CHUNK, gan.noise_size, generator=generator)
            chunks.append(Latents(drawn, None))
    noise = torch.cat([chunk.noise.cpu() for chunk in chunks])[:num]
    priors = [chunk.prior.cpu() for chunk in chunks if chunk.prior is not None]
    if prior is None or not gan.prior_dim:
        return Latents(noise, torch.cat(priors)[:num] if priors else None)
    if prior.shape != (1, gan.prior_dim):
        raise ValueError(
            f'the encoder gives {prior.shape[-1]}-d priors but the GAN was trained with '
            f'{gan.prior_dim}-d ones; use the encoder of its training'
        )
    return Latents(noise, prior.expand(num, -1))


def check_rows(name: str, values: Tensor, num: int, length: int) -> None:
    """Raise a ValueError unless values are (num, length) and finite."""
    if values.shape != (num, length):
        raise ValueError(f'{name} must be of shape ({num}, {length}), but is {tuple(values.shape)}')
    if not values.isfinite().all():
        raise ValueError(f'{name} must be finite, but holds NaN or infinity')


def choose_sample_model(gan: BaseGAN, sample_model: str | None = None) -> str:
    """Choose the generator that samples: 'ema' where there is one, unless told otherwise.

    Raises:
        ValueError: The name is unknown, or there is no EMA generator.
    """
    if sample_model not in (None, 'ema', 'orig'):
        raise ValueError(f"sample_model is {sample_model!r}; it must be 'ema' or 'orig'")
    if sample_model == 'ema' and not gan.with_ema_gen:
        raise ValueError('this GAN has no EMA generator; use --sample-model orig')
    return sample_model or ('ema' if gan.with_ema_gen else 'orig')


@torch.no_grad()
def sample_images(
    gan: BaseGAN,
    noise: Tensor,
    prior: Tensor | None,
    batch_size: int = 32,
    truncation: float | None = None,
    sample_model: str | None = None,
) -> Iterator[np.ndarray]:
    """Generate images batch by batch.

    Args:
        gan (BaseGAN): A GAN in evaluation mode.
        noise (Tensor): (N, Z).
        prior (Tensor | None): (N, D) raw priors, or None for a GAN without.
        batch_size (int): Images at a time. Defaults to 32.
        truncation (float | None): Noise is clamped to [-truncation, truncation]; of a StyleGAN2,
            psi: styles keep this fraction of their distance from the mean. Defaults to None, which
            means not at all.
        sample_model (str | None): 'ema' for the EMA generator, 'orig' for the generator as it was
            trained. Defaults to None: 'ema' where there is one.

    Yields:
        np.ndarray: (n, H, W, 3) uint8 RGB.

    Raises:
        ValueError: An option is out of range, or there is no EMA generator.
    """
    if batch_size < 1:
        raise ValueError(f'the batch size must be at least 1, but is {batch_size}')
    if truncation is not None and truncation < 0:
        raise ValueError(f'truncation must be at least 0, but is {truncation}')
    sample_model = choose_sample_model(gan, sample_model)
    device = next(gan.parameters()).device
    for start in range(0, len(noise), batch_size):
        part = slice(start, start + batch_size)
        inputs = {'noise': noise[part].to(device), 'sample_model': sample_model}
        if prior is not None:
            inputs['prior'] = prior[part].to(device)
        if truncation is not None:
            inputs['sample_kwargs'] = {'truncation': truncation}
        samples = torch.stack([sample.fake_img for sample in gan(inputs)])
        yield to_rgb(samples, channel_order_of(gan))


def to_rgb(images: Tensor, channel_order: str = 'BGR') -> np.ndarray:
    """Turn images (n, 1 or 3, H, W) in [0, 255] into pictures (n, H, W, 3) uint8 RGB.

    ``channel_order``, 'BGR' or 'RGB', is that of the training images.
    """
    pixels = images.float().round().clamp(0, 255).to(torch.uint8)
    if pixels.shape[1] == 1:
        pixels = pixels.expand(-1, 3, -1, -1)
    elif channel_order == 'BGR':
        pixels = pixels.flip(1)
    return pixels.permute(0, 2, 3, 1).cpu().numpy()


def from_rgb(images: np.ndarray, channel_order: str = 'BGR') -> Tensor:
    """Turn pictures (n, H, W, 3) uint8 RGB into (n, 3, H, W) float32 in [-1, 1].

    ``channel_order``, 'BGR' or 'RGB', is that of the training images.
    """
    pixels = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2)
    return (pixels.flip(1) if channel_order == 'BGR' else pixels).float() / 127.5 - 1


def channel_order_of(gan: BaseGAN) -> str:
    """Find the order of colors that a GAN was trained on, 'BGR' or 'RGB'."""
    # The host takes every generated image for BGR, but it is in the order that D was shown.
    return getattr(gan.data_preprocessor, 'output_channel_order', None) or 'BGR'


def make_grid(images: np.ndarray, num_columns: int | None = None, gap: int = 2) -> np.ndarray:
    """Arrange images (N, H, W, 3), uint8, in rows on white with gaps of ``gap`` pixels.

    ``num_columns`` None makes a grid that is about square.

    Raises:
        ValueError: ``num_columns`` is below 1.
    """
    num, height, width, _ = images.shape
    if num_columns is None:
        num_columns = int(np.ceil(np.sqrt(num)))
    if num_columns < 1:
        raise ValueError(f'a row of the grid needs at least 1 image, but got {num_columns}')
    num_columns = min(num_columns, num)
    num_rows = -(-num // num_columns)
    shape = (num_rows * (height + gap) + gap, num_columns * (width + gap) + gap, 3)
    grid = np.full(shape, 255, dtype=np.uint8)
    for index, image in enumerate(images):
        row, column = divmod(index, num_columns)
        top, left = gap + row * (height + gap), gap + column * (width + gap)
        grid[top : top + height, left : left + width] = image
    return grid


def write_png(path: str | Path, image: np.ndarray) -> None:
    """Write an image (H, W, 3), uint8, RGB, as PNG; the file is either whole or absent."""
    with replace_file(path, is_durable=False) as file:
        Image.fromarray(image).save(file, format='PNG')
