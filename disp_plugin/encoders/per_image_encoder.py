"""One embedding for each training image: the few-shot baseline."""

from collections.abc import Mapping
from typing import Any

import torch
from mmagic.registry import MODELS
from torch import Tensor
from torch.nn import functional as F

from .base_encoder import Preprocessing, PriorEncoder


@MODELS.register_module()
class PerImageEncoder(PriorEncoder):
    """Give every training image a one-hot prior: a learned embedding for each image.

    This is the few-shot baseline to which DISP is compared: a linear projection of a one-hot vector
    is an embedding table. It knows nothing of what the image shows.

    Args:
        num_images (int): Number of images in the bank, which is ``prior_dim``.
        scale (float): Length of every prior. Spectrally normalized projections keep the length, so
            match it to that of the priors compared with. Defaults to 1.0.
    """

    knows_unseen_images = False

    def __init__(self, num_images: int, scale: float = 1.0) -> None:
        super().__init__('one-hot', f'{num_images} rows x {scale:g}', Preprocessing())
        if num_images < 1:
            raise ValueError(f'num_images must be at least 1, but is {num_images}')
        if not scale > 0:
            raise ValueError(f'scale must be positive, but is {scale}')
        self.prior_dim = num_images
        self.scale = scale
        self.seal()

    def forward(self, img: Tensor) -> Tensor:
        """Refuse: a one-hot prior belongs to a row, not to an image.

        Args:
            img (Tensor): (N, 3, H, W).

        Raises:
            ValueError: Always.
        """
        raise ValueError(
            'PerImageEncoder knows only the images of its bank, by their rows: an unseen image has '
            'no one-hot prior. Use another encoder, or draw the prior from the bank'
        )

    @torch.no_grad()
    def encode(self, img: Tensor, rows: Tensor) -> Tensor:
        """Encode rows.

        Args:
            img (Tensor): Ignored but for its device.
            rows (Tensor): (N,) in [0, num_images).

        Returns:
            Tensor: (N, num_images) float32, ``scale`` at the row and 0 elsewhere.

        Raises:
            ValueError: A row is out of range.
        """
        if rows.numel() and (rows.min() < 0 or rows.max() >= self.prior_dim):
            raise ValueError(
                f'PerImageEncoder has num_images={self.prior_dim}, but was asked for row '
                f'{int(rows.max())}; set num_images to the number of images in the data set'
            )
        return F.one_hot(rows.to(img.device), self.prior_dim).float() * self.scale


def can_encode_new_images(encoder: Mapping[str, Any] | None) -> bool:
    """Tell from its config, without building it, whether an encoder knows unseen images.

    Args:
        encoder (Mapping[str, Any] | None): Config of the encoder.

    Returns:
        bool: False for None and for per-image embeddings; True for a type that is not registered,
        which building it will say.
    """
    if not encoder:
        return False
    kind = encoder['type']
    kind = MODELS.get(kind) if isinstance(kind, str) else kind
    return getattr(kind, 'knows_unseen_images', True)
