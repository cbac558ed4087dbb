"""The priors of images that the run has never seen."""

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmagic.registry import DATASETS, MODELS
from torch import Tensor, nn

from disp_plugin.datasets.decode_image import BadImageError, decode_image
from disp_plugin.encoders import can_encode_new_images
from disp_plugin.priors import PriorBank, TrainingView, check_encoder, view_config

__all__ = ['encode_image', 'encode_shown', 'show_as_training']


def encode_image(
    cfg: Mapping[str, Any],
    image: str | Path | Sequence[str | Path],
    device: str | torch.device = 'cpu',
) -> Tensor:
    """Compute an image's prior as those of the training images were computed.

    The image goes through the training pipeline's crop and resize, unflipped, and then through the
    run's encoder.

    Args:
        cfg (Mapping[str, Any]): The run's config; ``encoder`` and ``train_dataloader`` are read.
        image (str | Path | Sequence[str | Path]): Any image file that training could read, or N of
            them, for which the encoder is built once.
        device (str | torch.device): Where the encoder runs. Defaults to 'cpu'.

    Returns:
        Tensor: (N, D) raw priors, float32, on the CPU; (1, D) for one file.

    Raises:
        FileNotFoundError: An image does not exist.
        ValueError: The run has no encoder, its encoder knows training images only, it is not the
            one that the run's bank was made with, or an image is damaged.
    """
    images = [image] if isinstance(image, (str, Path)) else image
    return encode_shown(cfg, [show_as_training(cfg, one) for one in images], device)


def encode_shown(
    cfg: Mapping[str, Any], shown: Iterable[np.ndarray], device: str | torch.device = 'cpu'
) -> Tensor:
    """Compute the priors of images that are as training would show them.

    Args:
        cfg (Mapping[str, Any]): The run's config; ``encoder`` is read.
        shown (Iterable[np.ndarray]): N images (H, W, 3) uint8 RGB of :func:`show_as_training`.
        device (str | torch.device): Where the encoder runs. Defaults to 'cpu'.

    Returns:
        Tensor: (N, D) raw priors, float32, on the CPU.

    Raises:
        ValueError: The run has no encoder, its encoder knows training images only, or it is not the
            one that the run's bank was made with.
    """
    encoder = _build_encoder(cfg).to(device)
    with torch.no_grad():
        priors = [
            encoder(torch.from_numpy(image).permute(2, 0, 1)[None].to(device).float() / 255)
            for image in shown
        ]
    return torch.cat(priors).float().cpu()


def _build_encoder(cfg: Mapping[str, Any]) -> nn.Module:
    """Build the run's encoder and compare it with that of the bank."""
    encoder_cfg = cfg.get('encoder')
    if not encoder_cfg or not cfg['model'].get('prior_dim'):
        raise ValueError(
            'this run has no encoder (it is a baseline without priors), so that there is no prior '
            'of an image'
        )
    if not can_encode_new_images(encoder_cfg):
        raise ValueError(
            'this run has an embedding for each training image and no encoder, so that there is no '
            'prior of any other image'
        )
    encoder = MODELS.build(dict(encoder_cfg))
    bank_file = cfg.get('bank_file')
    if bank_file and Path(bank_file).is_file():
        check_encoder(PriorBank.open(bank_file), encoder)
    return encoder


def show_as_training(cfg: Mapping[str, Any], image: str | Path) -> np.ndarray:
    """Crop and resize an image as the training images were, unflipped.

    Args:
        cfg (Mapping[str, Any]): The run's config; ``train_dataloader`` is read.
        image (str | Path): Any image file that training could read.

    Returns:
        np.ndarray: (H, W, 3) uint8 RGB.

    Raises:
        FileNotFoundError: The image does not exist.
        ValueError: It is damaged, no image, or a folder.
    """
    path = Path(image).absolute()
    if path.is_dir():
        raise ValueError(f'{image} is a folder, not an image; name the files in it')
    if not path.is_file():
        raise FileNotFoundError(f'the image {image} does not exist')
    with tempfile.TemporaryDirectory() as folder:
        manifest = Path(folder) / 'one_image.txt'
        manifest.write_text(f'{path.name}\n', encoding='utf-8')
        one_image = view_config(
            cfg['train_dataloader']['dataset'],
            flips=False,
            data_root=str(path.parent),
            ann_file=str(manifest),
        )
        try:
            return TrainingView(DATASETS.build(one_image))[0][0]
        except BadImageError:
            decode_image(path)  # says what is wrong, without the advice on a training set
            raise
