"""The prior of an image that the run has never seen."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmagic.registry import DATASETS, MODELS
from torch import Tensor

from disp_plugin.priors import PriorBank, TrainingView, view_config

__all__ = ['encode_image', 'show_as_training']


def encode_image(cfg: Mapping[str, Any], image: str | Path) -> Tensor:
    """Compute an image's prior as those of the training images were computed.

    The image goes through the training pipeline's crop and resize, unflipped, and then through the
    run's encoder.

    Args:
        cfg (Mapping[str, Any]): The run's config; ``encoder`` and ``train_dataloader`` are read.
        image (str | Path): Any image file that training could read.

    Returns:
        Tensor: (1, D) raw prior, float32.

    Raises:
        FileNotFoundError: The image does not exist.
        ValueError: The run has no encoder, its encoder knows training images only, it is not the
            one that the run's bank was made with, or the image is damaged.
    """
    path = Path(image).absolute()
    if not path.is_file():
        raise FileNotFoundError(f'the image {image} does not exist')
    encoder_cfg = cfg.get('encoder')
    if not encoder_cfg or not cfg['model'].get('prior_dim'):
        raise ValueError(
            'this run has no encoder (it is a baseline without priors), so that there is '
            f'no prior of {image}'
        )
    if encoder_cfg['type'] == 'PerImageEncoder':
        raise ValueError(
            'this run has an embedding for each training image and no encoder, so that '
            f'there is no prior of {image}'
        )
    encoder = MODELS.build(dict(encoder_cfg))
    bank_file = cfg.get('bank_file')
    if bank_file and Path(bank_file).is_file():
        PriorBank.open(bank_file).check_encoder(encoder)
    pixels = torch.from_numpy(show_as_training(cfg, path)).permute(2, 0, 1)
    with torch.no_grad():
        return encoder(pixels[None].float() / 255).float()


def show_as_training(cfg: Mapping[str, Any], image: str | Path) -> np.ndarray:
    """Crop and resize an image as the training images were, unflipped.

    Args:
        cfg (Mapping[str, Any]): The run's config; ``train_dataloader`` is read.
        image (str | Path): Any image file that training could read.

    Returns:
        np.ndarray: (H, W, 3) uint8 RGB.

    Raises:
        FileNotFoundError: The image does not exist.
        ValueError: It is damaged.
    """
    path = Path(image).absolute()
    if not path.is_file():
        raise FileNotFoundError(f'the image {image} does not exist')
    pipeline = view_config(cfg['train_dataloader']['dataset'])['pipeline']
    steps = [step for step in pipeline if step['type'] != 'Flip']
    with tempfile.TemporaryDirectory() as folder:
        manifest = Path(folder) / 'one_image.txt'
        manifest.write_text(f'{path.name}\n', encoding='utf-8')
        one_image = dict(
            type='ImageFolderDataset',
            data_root=str(path.parent),
            ann_file=str(manifest),
            pipeline=steps,
        )
        return TrainingView(DATASETS.build(one_image))[0][0]
