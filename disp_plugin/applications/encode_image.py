"""The priors of images that the run has never seen."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from mmagic.registry import MODELS
from mmengine.config import Config, ConfigDict
from torch import Tensor

from disp_plugin.datasets import decode_image, fit_image
from disp_plugin.encoders import PriorEncoder
from disp_plugin.priors import PriorBank, check_encoder
from disp_plugin.settings import find_bank_file, find_dataset, get_value

__all__ = ['encode_image', 'encode_shown', 'show_as_training']


def encode_image(
    cfg: Config | ConfigDict,
    image: str | Path | Sequence[str | Path],
    device: str | torch.device = 'cpu',
) -> Tensor:
    """Compute an image's prior as those of the training images were computed.

    The image is cropped and resized as for training, unflipped, and goes through the run's encoder.

    Args:
        cfg (Config | ConfigDict): The run's config; ``encoder`` and ``train_dataloader`` are read.
        image (str | Path | Sequence[str | Path]): Any image file that training could read, or N of
            them, for which the encoder is built once.
        device (str | torch.device): Where the encoder runs. Defaults to 'cpu'.

    Returns:
        Tensor: (N, D) raw priors, float32, on the CPU; (1, D) for one file.

    Raises:
        FileNotFoundError: An image does not exist.
        ValueError: As :func:`encode_shown`, or an image is damaged.
    """
    images = [image] if isinstance(image, (str, Path)) else image
    return encode_shown(cfg, [show_as_training(cfg, one) for one in images], device)


def encode_shown(
    cfg: Config | ConfigDict, shown: Iterable[np.ndarray], device: str | torch.device = 'cpu'
) -> Tensor:
    """Compute raw priors (N, D), float32, on the CPU, of N images of :func:`show_as_training`.

    Raises:
        ValueError: The run has no encoder, or another one than its bank was made with.
    """
    encoder = _build_encoder(cfg).to(device)
    return torch.cat([encoder.encode(torch.from_numpy(image)[None]) for image in shown]).cpu()


def _build_encoder(cfg: Config | ConfigDict) -> PriorEncoder:
    """Build the run's encoder and compare it with that of the bank, if that is still there."""
    encoder_cfg = cfg.get('encoder')
    if not cfg['model'].get('prior_dim'):
        raise ValueError(
            'this run has no encoder (it is a baseline without priors), and no image has a prior'
        )
    if cfg['model'].get('per_image') or not encoder_cfg:
        raise ValueError(
            'this run has embeddings of training images, or of their cells, and no encoder of '
            'other images'
        )
    encoder: PriorEncoder = MODELS.build(dict(encoder_cfg))
    bank_file = find_bank_file(cfg)
    if bank_file is not None and bank_file.is_file():
        check_encoder(PriorBank.open(bank_file), encoder)
    return encoder


def show_as_training(cfg: Config | ConfigDict, image: str | Path) -> np.ndarray:
    """Crop and resize an image as in training, unflipped, to (H, W, 3) uint8 RGB.

    The run's ``train_dataloader`` is read, and ``model.image_size`` for a data set that does not
    state its view.

    Raises:
        FileNotFoundError: The image does not exist.
        ValueError: It is damaged, no image, or a folder.
    """
    path = Path(image).absolute()
    if path.is_dir():
        raise ValueError(f'{image} is a folder, not an image; name the files in it')
    if not path.is_file():
        raise FileNotFoundError(f'the image {image} does not exist')
    data = get_value(cfg, find_dataset(cfg) or 'train_dataloader.dataset')
    size = data.get('image_size') or cfg['model'].get('image_size')
    return fit_image(
        decode_image(path, data.get('white_level')), size, data.get('crop') or 'center'
    )
